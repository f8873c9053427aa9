//! Where an image format keeps its bytes, as far as it needs no queue: a file, or in tests a
//! simulated disk that loses what was not flushed.

use std::fmt::Debug;
use std::io;

use crate::buf::Bufs;
use crate::target::Target;

/// Whole I/O in the caller's thread. Reading past the end gives zeroes.
pub(crate) trait Storage: Send + Sync + Debug {
    fn read(&self, offset: u64, bufs: &Bufs) -> io::Result<()>;
    fn write(&self, offset: u64, bufs: &Bufs) -> io::Result<()>;
    /// Makes a range read as zeroes, giving its space back where that can be done.
    fn punch(&self, offset: u64, len: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
    /// Bytes up to the end.
    fn len(&self) -> io::Result<u64>;

    fn read_bytes(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.read(offset, &Bufs::borrowing(bytes))
    }

    fn write_bytes(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.write(offset, &Bufs::borrowing_const(bytes))
    }
}

impl Storage for Target {
    fn read(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        Target::read(self, offset, bufs)
    }

    fn write(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        Target::write(self, offset, bufs)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.write_zeroes(offset, len, true)
    }

    fn sync(&self) -> io::Result<()> {
        Target::sync(self)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}
