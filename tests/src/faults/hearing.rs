//! What passes between two sides, piece by piece, and what it is.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Kinds of messages (docs/migration.md), and of what is none.
pub mod kind {
    /// Of messages on a connection by which memory follows its machine.
    pub const FOLLOWING: u16 = 0x100;
    /// The connection itself, before anything passes.
    pub const CALL: u16 = 0x200;
    /// The first record of TLS.
    pub const GREETING: u16 = 0x201;
    /// The source's certificate.
    pub const VOUCHING: u16 = 0x202;
    /// A record that nobody can tell from others.
    pub const UNKNOWN: u16 = 0x2FF;
    /// `Hello`
    pub const HELLO: u16 = 1;
    /// `Welcome`
    pub const WELCOME: u16 = 2;
    /// `Pages`
    pub const PAGES: u16 = 4;
    /// `Round`
    pub const ROUND: u16 = 5;
    /// `RoundTaken`
    pub const ROUND_TAKEN: u16 = 6;
    /// `State`
    pub const STATE: u16 = 7;
    /// `Ready`
    pub const READY: u16 = 8;
    /// `Go`
    pub const GO: u16 = 9;
    /// `Running`
    pub const RUNNING: u16 = 10;
    /// `Join`
    pub const JOIN: u16 = 15;
    /// `Joined`
    pub const JOINED: u16 = 16;
    /// `Holds`
    pub const HOLDS: u16 = 20;
    /// `Lacks`
    pub const LACKS: u16 = 21;
    /// `Want`
    pub const WANT: u16 = 22;
    /// `Complete`
    pub const COMPLETE: u16 = 23;
    /// `Behind`
    pub const BEHIND: u16 = 28;
    /// `Serve`
    pub const SERVE: u16 = 29;
    /// `Devices`
    pub const DEVICES: u16 = 30;
    /// `DevicesTaken`
    pub const DEVICES_TAKEN: u16 = 31;
    /// `Blocks`
    pub const BLOCKS: u16 = 32;
}

/// Bytes of a frame's header (docs/migration.md), and where it has the length of the rest.
const HEADER: usize = 24;
const LENGTH: usize = 16;
/// Bytes of the header of a record of TLS, and its kinds.
const RECORD: usize = 5;
const HANDSHAKE: u8 = 22;
const APPLICATION: u8 = 23;
/// What TLS adds to what is in a record: the kind, and the sign by which a record is known to be whole.
const SEAL: usize = 17;
/// A message without a payload; one of a round with a number of one digit.
const EMPTY: usize = HEADER + SEAL;
const ROUND: usize = EMPTY + r#"{"number":1}"#.len();
/// Bytes of a page.
const PAGE: usize = 4096;

/// What can be told apart of what passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hearing {
    /// All messages.
    Frames,
    /// Records of TLS: some messages show by their lengths, and by which of that length they are.
    Records {
        /// Memory follows the machine, on the last of the connections.
        follows: bool,
    },
}

/// From the source to the destination, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Forth,
    Back,
}

/// Something that passes.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) kind: u16,
    pub(super) header: Vec<u8>,
    pub(super) payload: Vec<u8>,
}

/// Listens to one direction of a connection.
#[derive(Debug)]
pub(super) struct Ear {
    hearing: Hearing,
    direction: Direction,
    /// It is the first of all connections.
    is_first: bool,
    /// Memory follows by this connection.
    is_following: Arc<AtomicBool>,
    has_vouched: bool,
    /// Messages without a payload, so far.
    empty: u32,
}

impl Ear {
    pub(super) fn new(
        hearing: Hearing,
        direction: Direction,
        is_first: bool,
        is_following: Arc<AtomicBool>,
    ) -> Self {
        Self { hearing, direction, is_first, is_following, has_vouched: false, empty: 0 }
    }

    /// What passes next.
    pub(super) fn next(&mut self, from: &mut impl Read) -> io::Result<Piece> {
        match self.hearing {
            Hearing::Frames => {
                let (header, payload) = piece(from, HEADER, |header| {
                    let length = header.get(LENGTH..).and_then(<[u8]>::first_chunk).copied();
                    u32::from_le_bytes(length.unwrap_or_default()).into()
                })?;
                let kind = header.get(4..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
                Ok(Piece { kind: self.frame(u16::from_le_bytes(kind)), header, payload })
            }
            Hearing::Records { follows } => {
                let (header, payload) = piece(from, RECORD, |header| {
                    let length = header.get(RECORD - 2..).and_then(<[u8]>::first_chunk).copied();
                    u16::from_be_bytes(length.unwrap_or_default()).into()
                })?;
                let of = header.first().copied().unwrap_or_default();
                Ok(Piece { kind: self.record(of, payload.len(), follows), header, payload })
            }
        }
    }

    fn frame(&self, of: u16) -> u16 {
        if of == kind::SERVE && self.direction == Direction::Forth {
            self.is_following.store(true, Ordering::SeqCst);
        }
        if self.is_following.load(Ordering::SeqCst) { of | kind::FOLLOWING } else { of }
    }

    fn record(&mut self, of: u8, length: usize, follows: bool) -> u16 {
        let forth = self.direction == Direction::Forth;
        match (of, length) {
            (HANDSHAKE, _) if forth => kind::GREETING,
            (APPLICATION, _) if forth && !std::mem::replace(&mut self.has_vouched, true) => kind::VOUCHING,
            (APPLICATION, EMPTY) => self.empty_record(forth, follows),
            (APPLICATION, ROUND) => {
                if forth {
                    kind::ROUND
                } else {
                    kind::ROUND_TAKEN
                }
            }
            (APPLICATION, _) if forth && length > PAGE => {
                if follows && !self.is_first {
                    kind::PAGES | kind::FOLLOWING
                } else {
                    kind::PAGES
                }
            }
            _ => kind::UNKNOWN,
        }
    }

    fn empty_record(&mut self, forth: bool, follows: bool) -> u16 {
        self.empty += 1;
        match (self.is_first, forth, self.empty) {
            (true, true, 1) if follows => kind::BEHIND,
            (true, true, nth) if nth == 1 + u32::from(follows) => kind::GO,
            (true, false, 1) => kind::READY,
            (true, false, 2) => kind::RUNNING,
            (false, false, 1) if follows => kind::COMPLETE | kind::FOLLOWING,
            _ => kind::UNKNOWN,
        }
    }
}

fn piece(from: &mut impl Read, head: usize, length: impl Fn(&[u8]) -> u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut header = vec![0; head];
    from.read_exact(&mut header)?;
    let length = length(&header);
    let mut payload = Vec::new();
    let come = from.take(length).read_to_end(&mut payload)?;
    if come as u64 == length { Ok((header, payload)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(hearing: Hearing, direction: Direction, is_first: bool, bytes: &[u8]) -> Vec<u16> {
        let mut ear = Ear::new(hearing, direction, is_first, Arc::default());
        let mut from = bytes;
        std::iter::from_fn(|| ear.next(&mut from).ok().map(|piece| piece.kind)).collect()
    }

    fn frames(kinds: &[u8]) -> Vec<u8> {
        let frame = |kind: &u8| {
            let mut frame = vec![0; HEADER + 3];
            (frame[4], frame[LENGTH]) = (*kind, 3);
            frame
        };
        kinds.iter().flat_map(frame).collect()
    }

    fn records(all: &[(u8, usize)]) -> Vec<u8> {
        let record = |(kind, length): &(u8, usize)| {
            let mut record = vec![*kind, 3, 3];
            record.extend(u16::try_from(*length).unwrap().to_be_bytes());
            record.resize(RECORD + length, 0);
            record
        };
        all.iter().flat_map(record).collect()
    }

    #[test]
    fn frames_are_told_apart_by_their_kinds_and_connections() {
        let first = kinds(Hearing::Frames, Direction::Forth, true, &frames(&[1, 4, 9]));
        assert_eq!(first, [kind::HELLO, kind::PAGES, kind::GO]);
        let other = kinds(Hearing::Frames, Direction::Forth, false, &frames(&[29, 20, 4]));
        let wanted = [kind::SERVE, kind::HOLDS, kind::PAGES].map(|of| of | kind::FOLLOWING);
        assert_eq!(other, wanted);
        let torn = frames(&[1, 4]);
        assert_eq!(kinds(Hearing::Frames, Direction::Forth, true, &torn[..torn.len() - 1]), [kind::HELLO]);
    }

    #[test]
    fn records_are_told_apart_by_their_lengths_and_order() {
        let forth = [
            (HANDSHAKE, 300),
            (20, 1),
            (APPLICATION, 700),
            (APPLICATION, 400),
            (APPLICATION, 16401),
            (APPLICATION, ROUND),
            (APPLICATION, EMPTY),
            (APPLICATION, EMPTY),
        ];
        let wanted = |behind, go| {
            let (unknown, pages) = (kind::UNKNOWN, kind::PAGES);
            [kind::GREETING, unknown, kind::VOUCHING, unknown, pages, kind::ROUND, behind, go]
        };
        let heard = |follows| kinds(Hearing::Records { follows }, Direction::Forth, true, &records(&forth));
        assert_eq!(heard(true), wanted(kind::BEHIND, kind::GO));
        assert_eq!(heard(false), wanted(kind::GO, kind::UNKNOWN));
        let back = records(&[(APPLICATION, ROUND), (APPLICATION, EMPTY), (APPLICATION, EMPTY)]);
        let hearing = Hearing::Records { follows: true };
        let wanted = [kind::ROUND_TAKEN, kind::READY, kind::RUNNING];
        assert_eq!(kinds(hearing, Direction::Back, true, &back), wanted);
        let complete = kinds(hearing, Direction::Back, false, &records(&[(APPLICATION, EMPTY)]));
        assert_eq!(complete, [kind::COMPLETE | kind::FOLLOWING]);
    }
}
