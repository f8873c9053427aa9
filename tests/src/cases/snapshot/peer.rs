//! The other end of a guest's conversation, which stays while the guest's machine comes and goes.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use guest::duplex;

use crate::failure::{Doing, Failure};

/// Waits for the guest to call.
pub(super) struct Line(TcpListener);

/// A conversation: there is always more to send than the guest has taken.
pub(super) struct Peer {
    sent: Arc<AtomicU64>,
    sender: JoinHandle<io::Result<()>>,
    taken: Arc<AtomicU64>,
    taker: JoinHandle<io::Result<()>>,
}

impl Line {
    pub(super) fn open(address: &str) -> Result<Self, Failure> {
        TcpListener::bind(address).doing("listening").map(Self)
    }

    pub(super) fn accept(self) -> Result<Peer, Failure> {
        Peer::new(self.0.accept().doing("accepting")?.0)
    }
}

impl Peer {
    fn new(stream: TcpStream) -> Result<Self, Failure> {
        let (to, from) = (stream.try_clone()?, stream);
        let (sent, taken, has_ended) = <(Arc<AtomicU64>, Arc<AtomicU64>, Arc<AtomicBool>)>::default();
        let (sending, taking, ended) = (Arc::clone(&sent), Arc::clone(&taken), Arc::clone(&has_ended));
        let sender = thread::spawn(move || {
            duplex::send(&to, duplex::TO_GUEST, &sending, || !ended.load(Ordering::SeqCst))?;
            to.shutdown(Shutdown::Write)
        });
        let taker = thread::spawn(move || {
            let ended = duplex::take(&from, duplex::TO_HOST, &taking, || ());
            has_ended.store(true, Ordering::SeqCst);
            ended
        });
        Ok(Self { sent, sender, taken, taker })
    }

    /// Whether it goes on in both directions.
    pub(super) fn is_there(&self) -> bool {
        !self.sender.is_finished() && !self.taker.is_finished()
    }

    /// Waits for the end, which the guest begins; bytes sent and taken.
    pub(super) fn end(self) -> Result<(u64, u64), Failure> {
        for (what, thread) in [("taking from the guest", self.taker), ("sending to the guest", self.sender)] {
            thread.join().map_err(|_| Failure(format!("{what}: a panic")))?.doing(what)?;
        }
        Ok((self.sent.load(Ordering::SeqCst), self.taken.load(Ordering::SeqCst)))
    }
}
