//! Frames out of a stream of bytes, directly into a guest's buffers.

use std::io;
use std::os::fd::BorrowedFd;

use super::sys::{self, PREFIX};
use crate::{HEADER_LEN, IoBuf, MAX_BUFS, gather, scatter};

/// Shortest and longest frame: an Ethernet header; 64 KiB of payload, a header and a VLAN tag or two.
pub(super) const FRAMES: std::ops::RangeInclusive<usize> = 14..=65_535 + 14 + 8;
/// The virtio header in front of each, which a peer of this kind does not have.
const HEADER: usize = HEADER_LEN as usize;
/// Bytes of a frame nobody wants that are thrown away at once.
const WASTE: usize = 2048;

/// Where in the stream the connection is.
#[derive(Debug)]
pub(super) struct Receiving {
    place: Place,
    /// Frames that were no frames.
    pub(super) dropped: u64,
    pieces: Vec<IoBuf>,
}

#[derive(Debug)]
enum Place {
    /// So many bytes of the next frame's length are there.
    Length { bytes: [u8; PREFIX], have: usize },
    /// In front of a frame.
    Frame { len: usize },
    /// In a frame of which the first part came alone. It is put together here, since the guest may take its buffers away.
    Middle { frame: Vec<u8>, have: usize },
    /// In something that is no frame.
    Waste { left: usize },
}

impl Default for Receiving {
    fn default() -> Self {
        Self { place: Place::Length { bytes: [0; PREFIX], have: 0 }, dropped: 0, pieces: Vec::new() }
    }
}

/// The peer sends what cannot be the beginning of a frame.
fn nonsense() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(count) }
}

impl Receiving {
    /// Receives one frame behind an empty header; its length with the header, of which as much is in `bufs` as fits.
    ///
    /// # Errors
    /// `WouldBlock` while no whole frame is there; anything else ends the connection.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, bufs: &[IoBuf]) -> io::Result<usize> {
        loop {
            match &mut self.place {
                Place::Length { bytes, have } => {
                    if let Some(rest) = bytes.get_mut(*have..).filter(|rest| !rest.is_empty()) {
                        *have += some(sys::receive_into(socket, rest)?)?;
                    } else {
                        let bytes = *bytes;
                        self.place = self.after_length(bytes)?;
                    }
                }
                Place::Waste { left } => {
                    let mut waste = [0; WASTE];
                    let len = WASTE.min(*left);
                    *left -= some(sys::receive_into(socket, waste.get_mut(..len).unwrap_or_default())?)?;
                    if *left == 0 {
                        self.place = Place::Length { bytes: [0; PREFIX], have: 0 };
                    }
                }
                Place::Frame { len } => {
                    let len = *len;
                    if self.begin(socket, bufs, len)? {
                        scatter(bufs, 0, &[0; HEADER]);
                        return Ok(HEADER + len);
                    }
                }
                Place::Middle { frame, have } => {
                    *have += some(sys::receive_into(socket, frame.get_mut(*have..).unwrap_or_default())?)?;
                    if *have == frame.len() {
                        scatter(bufs, 0, &[0; HEADER]);
                        let fitted = scatter(bufs, HEADER, frame);
                        self.place = Place::Length { bytes: [0; PREFIX], have: 0 };
                        return Ok(HEADER + fitted);
                    }
                }
            }
        }
    }

    fn after_length(&mut self, bytes: [u8; PREFIX]) -> io::Result<Place> {
        let len = usize::try_from(u32::from_be_bytes(bytes)).map_err(|_| nonsense())?;
        if FRAMES.contains(&len) {
            return Ok(Place::Frame { len });
        }
        self.dropped += 1;
        match len {
            0 => Ok(Place::Length { bytes: [0; PREFIX], have: 0 }),
            _ if len < *FRAMES.start() => Ok(Place::Waste { left: len }),
            // Whatever it is, frames are not found again behind it.
            _ => Err(nonsense()),
        }
    }

    /// Receives a frame and the length behind it in one go; whether the frame is whole.
    fn begin(&mut self, socket: BorrowedFd<'_>, bufs: &[IoBuf], len: usize) -> io::Result<bool> {
        let mut pieces = std::mem::take(&mut self.pieces);
        pieces.clear();
        let fits = take_pieces(bufs, HEADER, len, &mut pieces);
        if !fits {
            self.pieces = pieces;
            self.place = Place::Middle { frame: vec![0; len], have: 0 };
            return Ok(false);
        }
        let mut bytes = [0; PREFIX];
        let received = sys::receive(socket, &mut pieces, &mut bytes);
        self.pieces = pieces;
        let received = some(received?)?;
        if let Some(have) = received.checked_sub(len) {
            self.place = Place::Length { bytes, have };
            return Ok(true);
        }
        let mut frame = vec![0; len];
        gather(bufs, HEADER, frame.get_mut(..received).unwrap_or_default());
        self.place = Place::Middle { frame, have: received };
        Ok(false)
    }
}

/// Appends the pieces of `bufs` that hold `len` bytes behind the first `skip`; whether there are so many, in so few
/// pieces that another can be added.
fn take_pieces(bufs: &[IoBuf], skip: usize, len: usize, pieces: &mut Vec<IoBuf>) -> bool {
    let (mut skip, mut left) = (skip, len);
    for buf in bufs {
        let rest = buf.skip(skip).first(left);
        skip = skip.saturating_sub(buf.len());
        if !rest.is_empty() {
            pieces.push(rest);
            left -= rest.len();
        }
        if left == 0 {
            break;
        }
    }
    left == 0 && pieces.len() < MAX_BUFS
}
