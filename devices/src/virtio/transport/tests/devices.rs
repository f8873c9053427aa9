//! A device of every kind, and a request that shows it to be alive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use ::net::{FrameQueue, IoBuf, Link, Offloads};
use block::{Disk, RawDisk, RawOptions};
use tempfile::NamedTempFile;

use super::stub::{Stub, StubDevice};

use crate::io_thread::IoHandle;
use crate::virtio::VirtioDevice;
use crate::virtio::balloon::{BalloonConfig, BalloonDevice};
use crate::virtio::blk::{BlkConfig, BlkDevice};
use crate::virtio::console::{ConsoleDevice, PortBackend, PortConfig};
use crate::virtio::net::{NetConfig, NetDevice};
use crate::virtio::rng::RngDevice;
use crate::virtio::testing::{DATA, Desc, inp, out};

/// A kind of device with its backend, which outlives the device.
#[derive(Clone)]
pub(super) enum Kind {
    Rng,
    Blk(Arc<dyn Disk>),
    Console,
    Net,
    Balloon,
    /// One that does as it is told, and serves nobody.
    Stub(Arc<Stub>),
}

impl Kind {
    pub(super) fn all() -> [Self; 5] {
        [Self::Rng, Self::blk(), Self::Console, Self::Net, Self::Balloon]
    }

    /// A disk of 1 MiB.
    pub(super) fn blk() -> Self {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(1 << 20).unwrap();
        Self::Blk(Arc::new(RawDisk::open(file.path(), RawOptions::default()).unwrap()))
    }

    pub(super) fn device(&self, thread: IoHandle) -> Box<dyn VirtioDevice> {
        match self {
            Self::Rng => Box::new(RngDevice::new(thread)),
            Self::Blk(disk) => Box::new(BlkDevice::new(Arc::clone(disk), BlkConfig::default(), thread)),
            Self::Console => {
                let port =
                    PortConfig { name: None, console: true, backend: PortBackend::None, watcher: None };
                Box::new(ConsoleDevice::new(vec![port], thread).unwrap())
            }
            Self::Balloon => {
                let config = BalloonConfig { ram_bytes: 4 << 20, reporting: true };
                Box::new(BalloonDevice::new(config, thread).unwrap())
            }
            Self::Stub(stub) => Box::new(StubDevice(Arc::clone(stub))),
            Self::Net => Box::new(NetDevice::new(Arc::new(Cable::new()), NetConfig::new([2; 6]), thread)),
        }
    }

    /// The queue that [`Kind::request`] goes to.
    pub(super) fn queue(&self) -> u16 {
        match self {
            Self::Rng | Self::Blk(_) | Self::Balloon | Self::Stub(_) => 0,
            Self::Console | Self::Net => 1,
        }
    }

    /// A chain that the device returns at once: 16 bytes to read at `DATA`, of zeroes, and room behind `DATA` + 4096.
    pub(super) fn request(&self) -> Vec<Desc> {
        match self {
            Self::Rng => vec![inp(DATA + 0x1000, 64)],
            Self::Blk(_) => vec![out(DATA, 16), inp(DATA + 0x1000, 512), inp(DATA + 0x2000, 1)],
            Self::Console | Self::Balloon | Self::Stub(_) => vec![out(DATA, 16)],
            Self::Net => vec![out(DATA, 12), out(DATA, 64)],
        }
    }

    /// How many bytes the device says it wrote.
    pub(super) fn answer(&self) -> u32 {
        match self {
            Self::Rng => 64,
            Self::Blk(_) => 513,
            Self::Console | Self::Net | Self::Balloon | Self::Stub(_) => 0,
        }
    }
}

/// A link on which nothing arrives and everything is sent.
#[derive(Debug)]
struct Cable {
    near: UnixDatagram,
    /// Never read, but open: a link with nobody at its end is another matter.
    _far: UnixDatagram,
}

impl Cable {
    fn new() -> Self {
        let (near, _far) = UnixDatagram::pair().unwrap();
        Self { near, _far }
    }
}

impl Link for Cable {
    fn queue_pairs(&self) -> u16 {
        1
    }
    fn mtu(&self) -> Option<u16> {
        None
    }
    fn offloads(&self) -> Offloads {
        Offloads::NONE
    }
    fn set_offloads(&self, _: Offloads) -> io::Result<()> {
        Ok(())
    }
    fn set_active_pairs(&self, _: u16) -> io::Result<()> {
        Ok(())
    }
    fn open_queue(&self, _: u16) -> io::Result<Box<dyn FrameQueue>> {
        Ok(Box::new(Plug(self.near.try_clone()?)))
    }
}

struct Plug(UnixDatagram);

impl FrameQueue for Plug {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
    fn receive(&mut self, _: &[IoBuf]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn send(&mut self, _: &[IoBuf]) -> io::Result<()> {
        Ok(())
    }
}
