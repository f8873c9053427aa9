//! Taps and macvtaps: interfaces of the host whose other end is a file.

mod device_file;
mod error;
mod open;
mod sys;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Mutex;

pub use error::TapError;

use crate::{FrameQueue, HEADER_LEN, IoBuf, Link, Offloads};

/// An open tap or macvtap.
#[derive(Debug)]
pub struct Tap {
    name: String,
    queues: Vec<File>,
    mtu: Option<u16>,
    offloads: Offloads,
    /// How many queues are attached.
    active: Mutex<u16>,
}

impl Tap {
    /// Opens `queues` queues of the existing interface `name` in the calling thread's network namespace: a tap
    /// (`/dev/net/tun`) or a macvtap (`/dev/tapN`).
    ///
    /// # Errors
    /// There is no such interface, it is no tap, it is in use, or the process may not use it. Nothing is created.
    pub fn open(name: &str, queues: u16) -> Result<Self, TapError> {
        Self::set_up(name, open::by_name(name, queues)?)
    }

    /// Makes the tap `name` in the calling thread's network namespace, with `queues` queues. It ceases to be when the
    /// last handle on it is dropped.
    ///
    /// # Errors
    /// An interface has the name already, or the process may not make any.
    pub fn create(name: &str, queues: u16) -> Result<Self, TapError> {
        Self::set_up(name, open::new(name, queues)?)
    }

    /// The same tap with the MTU that its interface has now.
    #[must_use]
    pub fn reread_mtu(mut self) -> Self {
        self.mtu = mtu_of(&self.name);
        self
    }

    /// Takes over a file that is attached to a tap, or the open `/dev/tapN` of a macvtap.
    ///
    /// # Errors
    /// It is no tap's file, or its frames come without a virtio header.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, TapError> {
        Self::from_fds(vec![fd])
    }

    /// The same with one file per queue of one interface.
    ///
    /// # Errors
    /// As [`Tap::from_fd`]; also no files at all, or files of different interfaces.
    pub fn from_fds(fds: Vec<OwnedFd>) -> Result<Self, TapError> {
        let queues = fds.into_iter().map(File::from).collect::<Vec<_>>();
        let name = open::check_files(&queues)?;
        Self::set_up(&name, queues)
    }

    /// Name of the interface.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn set_up(name: &str, queues: Vec<File>) -> Result<Self, TapError> {
        let failed =
            |doing: &'static str| move |source| TapError::SetUp { name: name.to_owned(), doing, source };
        for queue in &queues {
            sys::set_header_len(queue, HEADER_LEN).map_err(failed("setting the header's length"))?;
            sys::set_little_endian(queue).map_err(failed("setting the header's byte order"))?;
            sys::set_nonblocking(queue).map_err(failed("making it non-blocking"))?;
        }
        let active = u16::try_from(queues.len()).map_err(|_| TapError::NoQueues)?;
        let first = queues.first().ok_or(TapError::NoQueues)?;
        let offloads = probe_offloads(first).map_err(failed("negotiating offloads"))?;
        let mtu = mtu_of(name);
        Ok(Self { name: name.to_owned(), queues, mtu, offloads, active: Mutex::new(active) })
    }
}

/// A link of more than 64 KiB carries frames of any length that virtio can express.
fn mtu_of(name: &str) -> Option<u16> {
    let mtu = sys::Name::new(name).and_then(|name| sys::mtu(&name).ok());
    mtu.map(|mtu| u16::try_from(mtu).unwrap_or(u16::MAX))
}

/// The most that the kernel accepts; UDP trains are as old as kernel 6.2. Leaves the tap with none.
fn probe_offloads(queue: &File) -> io::Result<Offloads> {
    let basic = Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6 | Offloads::ECN;
    let all = basic | Offloads::USO4 | Offloads::USO6;
    let accepted = [all, basic].into_iter().find(|set| sys::set_offloads(queue, set.bits()).is_ok());
    sys::set_offloads(queue, Offloads::NONE.bits())?;
    Ok(accepted.unwrap_or(Offloads::NONE))
}

impl Link for Tap {
    fn queue_pairs(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    fn offloads(&self) -> Offloads {
        self.offloads
    }

    fn set_offloads(&self, wanted: Offloads) -> io::Result<()> {
        let wanted = (wanted & self.offloads).consistent();
        // All queues of an interface share them.
        self.queues.first().map_or(Ok(()), |queue| sys::set_offloads(queue, wanted.bits()))
    }

    fn set_active_pairs(&self, pairs: u16) -> io::Result<()> {
        let wanted = pairs.clamp(1, self.queue_pairs());
        let mut active = self.active.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        while *active < wanted {
            self.switch(*active, true)?;
            *active += 1;
        }
        while *active > wanted {
            self.switch(*active - 1, false)?;
            *active -= 1;
        }
        Ok(())
    }

    fn open_queue(&self, pair: u16) -> io::Result<Box<dyn FrameQueue>> {
        let queue = self.queues.get(usize::from(pair)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(TapQueue(queue.try_clone()?)))
    }

    fn kernel_queue(&self, pair: u16) -> Option<BorrowedFd<'_>> {
        self.queues.get(usize::from(pair)).map(AsFd::as_fd)
    }
}

impl Tap {
    fn switch(&self, pair: u16, active: bool) -> io::Result<()> {
        self.queues.get(usize::from(pair)).map_or(Ok(()), |queue| sys::set_queue(queue, active))
    }
}

/// A handle on one queue.
struct TapQueue(File);

impl FrameQueue for TapQueue {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn receive(&mut self, bufs: &[IoBuf]) -> io::Result<usize> {
        sys::read(self.0.as_fd(), bufs)
    }

    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()> {
        sys::write(self.0.as_fd(), bufs).map(drop)
    }
}
