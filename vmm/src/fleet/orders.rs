//! What others ask of a fleet.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::Key;
use crate::state::Reply;

/// Something that can be asked of a fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// That a VirtualMachine start.
    Start(Key),
    /// That it stop.
    Stop(Key),
    /// That it stop and start again.
    Restart(Key),
    /// That a replica set or pool have so many machines.
    Scale {
        /// Its kind and key.
        id: String,
        /// How many.
        replicas: u32,
    },
}

/// The way to the supervisor. Clones are the same way.
#[derive(Clone, Debug)]
pub struct Orders {
    to: Sender<(Wish, Reply)>,
    wake: Arc<EventFd>,
}

/// The supervisor's end of it.
#[derive(Debug)]
pub struct Inbox {
    from: Receiver<(Wish, Reply)>,
    wake: Arc<EventFd>,
}

/// A way to a supervisor, and its end.
///
/// # Errors
/// The host has no descriptors left.
pub fn orders() -> io::Result<(Orders, Inbox)> {
    let (to, from) = mpsc::channel();
    let wake = Arc::new(EventFd::new(EFD_NONBLOCK)?);
    Ok((Orders { to, wake: Arc::clone(&wake) }, Inbox { from, wake }))
}

impl Orders {
    /// Asks for something. A supervisor that is gone drops the reply, which says so.
    pub fn ask(&self, wish: Wish, reply: Reply) {
        if self.to.send((wish, reply)).is_ok() {
            // A full counter is a pending wake-up, too.
            let _ = self.wake.write(1);
        }
    }
}

impl Inbox {
    /// Takes the oldest wish.
    pub(super) fn take(&self) -> Option<(Wish, Reply)> {
        // Before, so that a wish that comes now wakes again.
        let _ = self.wake.read();
        self.from.try_recv().ok()
    }

    /// Readable when there may be wishes.
    pub(super) fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}
