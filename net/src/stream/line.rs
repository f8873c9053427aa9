//! The connection that there is, and getting another when it has broken.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use super::receiving::Receiving;
use super::sending::Sending;
use super::sys::Bell;

/// How long to wait before the first attempt to connect again, and how long at most before a later one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Somebody to connect to.
pub trait Peer: Send + Sync + std::fmt::Debug {
    /// Connects. May take a moment: it is not called by those who move frames.
    ///
    /// # Errors
    /// It cannot be reached now; it is tried again later.
    fn connect(&self) -> io::Result<UnixStream>;
}

/// One connection, shared by the handles of both directions. Each direction keeps its place in the stream here, so that
/// it is not lost when a queue is stopped and started.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) receiving: Mutex<Receiving>,
    pub(super) sending: Mutex<Sending>,
}

impl Connection {
    fn new(socket: UnixStream) -> Arc<Self> {
        Arc::new(Self { socket: socket.into(), receiving: Mutex::default(), sending: Mutex::default() })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What all handles of a link share.
#[derive(Debug)]
pub(super) struct Line {
    peer: Option<Box<dyn Peer>>,
    current: Mutex<Option<Arc<Connection>>>,
    /// Counts how often the connection has come or gone.
    changes: AtomicU64,
    bells: Mutex<Vec<Weak<Bell>>>,
    pub(super) dropped: AtomicU64,
}

impl Line {
    pub(super) fn new(peer: Option<Box<dyn Peer>>, socket: UnixStream) -> Arc<Self> {
        Arc::new(Self {
            peer,
            current: Mutex::new(Some(Connection::new(socket))),
            changes: AtomicU64::new(1),
            bells: Mutex::default(),
            dropped: AtomicU64::new(0),
        })
    }

    /// Compared with what it was before: whether `current` is another.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    pub(super) fn current(&self) -> Option<Arc<Connection>> {
        locked(&self.current).clone()
    }

    /// Rings `bell` whenever the connection comes or goes.
    pub(super) fn tell(&self, bell: &Arc<Bell>) {
        let mut bells = locked(&self.bells);
        bells.retain(|bell| bell.strong_count() > 0);
        bells.push(Arc::downgrade(bell));
    }

    /// `broken` can no longer be used. Only the first who says so about a connection has another made.
    pub(super) fn lost(self: &Arc<Self>, broken: &Arc<Connection>) {
        let mut current = locked(&self.current);
        if !current.as_ref().is_some_and(|current| Arc::ptr_eq(current, broken)) {
            return;
        }
        *current = None;
        drop(current);
        self.changed();
        if self.peer.is_some() {
            let line = Arc::downgrade(self);
            // Without a thread the link stays as if its cable were pulled.
            let _ = thread::Builder::new().name("reconnect".into()).spawn(move || reconnect(&line));
        }
    }

    fn changed(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        for bell in locked(&self.bells).iter().filter_map(Weak::upgrade) {
            bell.ring();
        }
    }
}

/// Tries to connect until it works or nobody needs the line any more.
fn reconnect(line: &Weak<Line>) {
    let mut wait = FIRST_WAIT;
    loop {
        thread::sleep(wait);
        wait = (wait * 2).min(LONGEST_WAIT);
        let Some(line) = line.upgrade() else { return };
        if let Some(Ok(socket)) = line.peer.as_ref().map(|peer| peer.connect()) {
            *locked(&line.current) = Some(Connection::new(socket));
            return line.changed();
        }
    }
}

/// Whoever panicked while holding it left nothing half done.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
