//! Somebody between source and destination who does harm when a certain message passes.

use std::fmt;
use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crc32fast::Hasher;

use super::hearing::{Direction, Ear, Hearing, Piece, kind};
use super::socket::{Place, Socket};
use crate::failure::{Doing, Failure};

/// Where a frame's header has the length of the rest, and the checksum (docs/migration.md).
const LENGTH: usize = 16;
const CHECKSUM: usize = 20;
/// How often those who wait look whether it is over.
const LOOK: Duration = Duration::from_millis(20);
/// A version that nobody speaks.
const NO_VERSION: &str = "4000000";
/// Connections that get to somebody else when one was cut for that.
const MISLED: u32 = 3;

/// A message, by its kind and how many of that kind there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its kind ([`kind`]).
    pub kind: u16,
    /// The first is 1.
    pub nth: u32,
}

/// Before a message has arrived, or when it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// It does not arrive, or later than what happens.
    Before,
    /// It arrives first.
    Behind,
}

/// What happens.
pub enum Deed {
    /// The connection breaks. Nothing that is said because of a message that arrived comes back.
    Cut(Side),
    /// The connection breaks, and nobody gets through any more.
    CutForGood(Side),
    /// The connection breaks, and the next ones get to somebody else.
    Mislead(Side),
    /// A bit of the message is another one: that of the byte with this number, counted round and round.
    Alter(u64),
    /// Nothing moves on this connection any more, in either direction.
    Stall,
    /// The message speaks of a version that there is not.
    OtherVersion,
    /// This; the connection stays as it is.
    Do(Side, Box<dyn FnOnce() + Send>),
}

impl fmt::Debug for Deed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cut(_) => "Cut",
            Self::CutForGood(_) => "CutForGood",
            Self::Mislead(_) => "Mislead",
            Self::Alter(_) => "Alter",
            Self::Stall => "Stall",
            Self::OtherVersion => "OtherVersion",
            Self::Do(..) => "Do",
        })
    }
}

/// Where a link is.
#[derive(Clone, Debug)]
pub struct Ends {
    /// Where it listens.
    pub near: Place,
    /// Where it passes on to.
    pub far: Place,
    /// Where those get to who are misled.
    pub astray: Option<Place>,
}

impl Ends {
    /// A link from one place to another.
    #[must_use]
    pub fn between(near: Place, far: Place) -> Self {
        Self { near, far, astray: None }
    }
}

/// Passes on what two sides say to each other; dropping it ends all connections.
#[derive(Debug)]
pub struct Link {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ends: Ends,
    hearing: Hearing,
    /// What is to happen yet.
    trip: Mutex<Option<(Moment, Deed)>>,
    /// So many connections get to somebody else.
    misled: Mutex<u32>,
    /// Connections after the first are late by so much.
    late: Duration,
    /// Nobody gets through any more.
    is_dead: AtomicBool,
    /// The link is to end.
    is_over: AtomicBool,
}

impl Link {
    /// Listens, and passes on; at `moment`, `deed` is done once. Connections after the first are late by `late`: a question that
    /// overtakes `Go` is answered as if that had not come, and then it is of no effect.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn open(
        mut ends: Ends,
        hearing: Hearing,
        (moment, deed): (Moment, Deed),
        late: Duration,
    ) -> Result<Self, Failure> {
        let (listener, near) = ends.near.listen().doing("listening between source and destination")?;
        ends.near = near;
        let shared = Arc::new(Shared {
            ends,
            hearing,
            trip: Mutex::new(Some((moment, deed))),
            misled: Mutex::default(),
            late,
            is_dead: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            let mut number = 0;
            while let Ok(source) = listener.accept() {
                if of_thread.is_over.load(Ordering::SeqCst) {
                    return;
                }
                connect(source, number, &of_thread);
                number += 1;
            }
        });
        Ok(Self { shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn near(&self) -> &Place {
        &self.shared.ends.near
    }

    /// Whether what was to happen has happened.
    #[must_use]
    pub fn has_tripped(&self) -> bool {
        lock(&self.shared.trip).is_none()
    }

    /// Whether nobody gets through.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.shared.is_dead.load(Ordering::SeqCst)
    }

    /// Lets those who call through again.
    pub fn revive(&self) {
        self.shared.is_dead.store(false, Ordering::SeqCst);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        // It is woken so that it sees that.
        let _ = self.shared.ends.near.connect();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// What is to happen at a message of this kind, if it is the one.
    fn take(&self, kind: u16) -> Option<Deed> {
        let mut trip = lock(&self.trip);
        let (moment, _) = trip.as_mut().filter(|(moment, _)| moment.kind == kind)?;
        if moment.nth > 1 {
            moment.nth -= 1;
            return None;
        }
        trip.take().map(|(_, deed)| deed)
    }

    /// Where the next connection gets to.
    fn far(&self) -> &Place {
        let mut misled = lock(&self.misled);
        match &self.ends.astray {
            Some(astray) if *misled > 0 => {
                *misled -= 1;
                astray
            }
            _ => &self.ends.far,
        }
    }
}

/// Passes on what comes by the connection with this number, from 0.
fn connect(source: Socket, number: u64, shared: &Arc<Shared>) {
    if shared.is_dead.load(Ordering::SeqCst) {
        return;
    }
    if number > 0 {
        thread::sleep(shared.late);
    }
    if let Some(Deed::Mislead(_)) = shared.take(kind::CALL) {
        *lock(&shared.misled) = 1;
    }
    let Ok(destination) = shared.far().connect() else { return };
    let (Ok(back), Ok(forth)) = (source.try_clone(), destination.try_clone()) else { return };
    let (is_stalled, is_following) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for (from, to, direction) in [(source, forth, Direction::Forth), (destination, back, Direction::Back)] {
        let ear = Ear::new(shared.hearing, direction, number == 0, Arc::clone(&is_following));
        let relay = Relay { from, to, ear, shared: Arc::clone(shared), is_stalled: Arc::clone(&is_stalled) };
        thread::spawn(move || relay.run());
    }
}

/// One direction of a connection.
struct Relay {
    from: Socket,
    to: Socket,
    ear: Ear,
    shared: Arc<Shared>,
    is_stalled: Arc<AtomicBool>,
}

impl Relay {
    /// Passes messages on until one side ends.
    fn run(mut self) {
        while let Ok(piece) = self.ear.next(&mut self.from) {
            self.wait_while_stalled();
            let deed = self.shared.take(piece.kind);
            if !self.pass(piece, deed) {
                return;
            }
        }
        self.end();
    }

    fn wait_while_stalled(&self) {
        while self.is_stalled.load(Ordering::SeqCst) && !self.shared.is_over.load(Ordering::SeqCst) {
            thread::sleep(LOOK);
        }
    }

    /// Passes a message on, unless something else happens; false if the connection is at its end.
    fn pass(&mut self, mut piece: Piece, deed: Option<Deed>) -> bool {
        match deed {
            None => {}
            Some(Deed::Cut(side)) => return self.end_at(side, &piece),
            Some(Deed::CutForGood(side)) => {
                self.shared.is_dead.store(true, Ordering::SeqCst);
                return self.end_at(side, &piece);
            }
            Some(Deed::Mislead(side)) => {
                *lock(&self.shared.misled) = MISLED;
                return self.end_at(side, &piece);
            }
            Some(Deed::Alter(place)) => alter(&mut piece, place),
            Some(Deed::Stall) => {
                self.is_stalled.store(true, Ordering::SeqCst);
                self.wait_while_stalled();
            }
            Some(Deed::OtherVersion) => {
                piece.payload = other_version(&piece.payload);
                seal(&mut piece);
            }
            Some(Deed::Do(Side::Before, deed)) => deed(),
            Some(Deed::Do(Side::Behind, deed)) => {
                let goes_on = self.write(&piece);
                deed();
                return goes_on || self.end();
            }
        }
        self.write(&piece) || self.end()
    }

    fn write(&mut self, piece: &Piece) -> bool {
        self.to.write_all(&piece.header).and_then(|()| self.to.write_all(&piece.payload)).is_ok()
    }

    /// Ends both directions.
    fn end(&self) -> bool {
        self.from.shutdown(Shutdown::Both);
        self.to.shutdown(Shutdown::Both);
        false
    }

    /// The same, before a message arrives or behind it.
    fn end_at(&mut self, side: Side, piece: &Piece) -> bool {
        if side == Side::Before {
            return self.end();
        }
        // First, so that no answer gets there.
        self.from.shutdown(Shutdown::Both);
        self.write(piece);
        // What was written is read before the end is seen.
        self.to.shutdown(Shutdown::Write);
        false
    }
}

/// Turns a bit over.
fn alter(piece: &mut Piece, place: u64) {
    let all = piece.header.len() + piece.payload.len();
    let place = usize::try_from(place % all.max(1) as u64).unwrap_or(0);
    if let Some(byte) = piece.header.iter_mut().chain(&mut piece.payload).nth(place) {
        *byte ^= 1 << (place % 8);
    }
}

/// The same greeting or welcome with other numbers for versions.
fn other_version(payload: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(payload);
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return NO_VERSION.into();
    }
    let mut text = text.into_owned();
    for name in ["\"format\":", "\"oldest\":"] {
        if let Some(at) = text.find(name).map(|at| at + name.len()) {
            let digits = text.bytes().skip(at).take_while(u8::is_ascii_digit).count();
            text.replace_range(at..at + digits, NO_VERSION);
        }
    }
    text.into_bytes()
}

/// Writes length and checksum of the payload into a frame's header.
fn seal(Piece { header, payload, .. }: &mut Piece) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    header[LENGTH..CHECKSUM].copy_from_slice(&length.to_le_bytes());
    let mut checksum = Hasher::new();
    checksum.update(&header[..CHECKSUM]);
    checksum.update(payload);
    header[CHECKSUM..].copy_from_slice(&checksum.finalize().to_le_bytes());
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const HEADER: usize = 24;

    #[test]
    fn versions_are_exchanged_wherever_they_stand() {
        let hello = br#"{"format":1,"oldest":1,"session":"00","facts":{"format":"1"}}"#;
        let other = String::from_utf8(other_version(hello)).unwrap();
        assert_eq!(other, r#"{"format":4000000,"oldest":4000000,"session":"00","facts":{"format":"1"}}"#);
        assert_eq!(other_version(b"1"), NO_VERSION.as_bytes());
    }

    fn frames(kinds: &[u8]) -> Vec<u8> {
        let frame = |kind: &u8| {
            let mut piece = Piece { kind: 0, header: vec![0; HEADER], payload: b"abc".to_vec() };
            piece.header[4] = *kind;
            seal(&mut piece);
            [piece.header, piece.payload].concat()
        };
        kinds.iter().flat_map(frame).collect()
    }

    /// What arrives of some frames by way of somebody who does something.
    fn through(name: &str, moment: Moment, deed: Deed, sent: &[u8]) -> (Vec<u8>, Link) {
        let folder = std::env::temp_dir().join(format!("kubevmm-link-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        let place = |name: &str| Place::Unix(folder.join(name));
        let (listener, _) = place("far").listen().unwrap();
        let ends = Ends::between(place("near"), place("far"));
        let link = Link::open(ends, Hearing::Frames, (moment, deed), Duration::ZERO).unwrap();
        let mut source = place("near").connect().unwrap();
        source.write_all(sent).unwrap();
        source.shutdown(Shutdown::Write);
        let mut arrived = Vec::new();
        listener.accept().unwrap().read_to_end(&mut arrived).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        (arrived, link)
    }

    #[test]
    fn a_moment_comes_once() {
        let sent = frames(&[4, 5, 4, 4]);
        let place = HEADER as u64;
        let (arrived, link) = through("once", Moment { kind: 4, nth: 2 }, Deed::Alter(place), &sent);
        let differ: Vec<_> = (0..sent.len()).filter(|at| sent[*at] != arrived[*at]).collect();
        assert_eq!(differ, [2 * (HEADER + 3) + HEADER], "the second of its kind alone");
        assert!(link.has_tripped());
    }

    #[test]
    fn a_link_that_is_cut_passes_nothing_more_until_it_is_revived() {
        let sent = frames(&[1, 4, 9]);
        let deed = Deed::CutForGood(Side::Behind);
        let (arrived, link) = through("cut", Moment { kind: 4, nth: 1 }, deed, &sent);
        assert_eq!(arrived, frames(&[1, 4]));
        assert!(link.is_dead());
        link.revive();
        assert!(!link.is_dead());
    }
}
