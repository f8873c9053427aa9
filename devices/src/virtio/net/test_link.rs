//! A link for tests: its other ends are sockets that carry one frame a message.
#![expect(unsafe_code, reason = "frames are scattered over raw buffers")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;

use ::net::{FrameQueue, IoBuf, Link, Offloads};

#[derive(Debug)]
pub(super) struct TestLink {
    queues: Vec<UnixDatagram>,
    /// What the device asked of the link, in order.
    pub(super) offloads: Mutex<Vec<Offloads>>,
    pub(super) active: Mutex<u16>,
}

impl TestLink {
    /// A link and the host's ends of its queue pairs.
    pub(super) fn new(pairs: u16) -> (Self, Vec<UnixDatagram>) {
        let ends = (0..pairs).map(|_| UnixDatagram::pair().unwrap());
        let (queues, hosts): (Vec<_>, Vec<_>) = ends.unzip();
        queues.iter().chain(&hosts).for_each(|end| end.set_nonblocking(true).unwrap());
        (Self { queues, offloads: Mutex::default(), active: Mutex::new(pairs) }, hosts)
    }
}

impl Link for TestLink {
    fn queue_pairs(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap()
    }

    fn mtu(&self) -> Option<u16> {
        Some(1500)
    }

    fn offloads(&self) -> Offloads {
        Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6
    }

    fn set_offloads(&self, wanted: Offloads) -> io::Result<()> {
        self.offloads.lock().unwrap().push(wanted);
        Ok(())
    }

    fn set_active_pairs(&self, pairs: u16) -> io::Result<()> {
        *self.active.lock().unwrap() = pairs;
        Ok(())
    }

    fn open_queue(&self, pair: u16) -> io::Result<Box<dyn FrameQueue>> {
        let queue = self.queues.get(usize::from(pair)).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(TestQueue(queue.try_clone()?)))
    }
}

struct TestQueue(UnixDatagram);

fn moved(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

impl FrameQueue for TestQueue {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn receive(&mut self, bufs: &[IoBuf]) -> io::Result<usize> {
        let count = i32::try_from(bufs.len()).unwrap();
        // SAFETY: an IoBuf is laid out as an iovec and its maker vouched for the memory.
        moved(unsafe { libc::readv(self.0.as_raw_fd(), bufs.as_ptr().cast(), count) })
    }

    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()> {
        let count = i32::try_from(bufs.len()).unwrap();
        // SAFETY: as in `receive`.
        moved(unsafe { libc::writev(self.0.as_raw_fd(), bufs.as_ptr().cast(), count) }).map(drop)
    }
}
