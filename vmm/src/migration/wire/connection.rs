//! The two directions of a connection.

use std::io::{self, IoSlice, Read, Write};

use super::frame::{HEADER, Header, Kind};
use super::{Batch, Message, WireError};
use crate::migration::storage::Part;

/// So much memory is had for a frame before more of it has come.
const STEP: usize = 256 << 10;

/// Takes messages off a connection.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    next: u64,
    /// Memory of a batch that was put where it belongs.
    spare: Vec<u8>,
}

impl<R: Read> Reader<R> {
    /// A reader of the first frame and all after it.
    pub fn new(from: R) -> Self {
        Self { from, next: 0, spare: Vec::new() }
    }

    /// Takes back the memory of a batch, so that the next one need not be given any.
    pub fn recycle(&mut self, batch: Batch) {
        self.spare = batch.into_memory();
    }

    /// The next message.
    pub fn read(&mut self) -> Result<Message, WireError> {
        self.read_if(|_| Ok(()))
    }

    /// The first message of somebody who is not known yet. Of anything but a greeting no more than the header is read: others may have
    /// many MiB.
    pub fn read_greeting(&mut self) -> Result<Message, WireError> {
        self.read_if(|kind| match kind.is_greeting() {
            true => Ok(()),
            false => Err(WireError::Unexpected("something else than a greeting")),
        })
    }

    fn read_if(&mut self, allow: impl FnOnce(Kind) -> Result<(), WireError>) -> Result<Message, WireError> {
        let mut bytes = [0; HEADER];
        self.from.read_exact(&mut bytes).map_err(lost)?;
        let header = Header::read(&bytes, self.next)?;
        allow(header.kind)?;
        let payload = self.payload(header.len)?;
        header.check(&bytes, &payload)?;
        self.next = header.number.wrapping_add(1);
        Message::decode(header.kind, payload)
    }

    /// Reads so many bytes; memory is had as they come.
    fn payload(&mut self, len: u32) -> Result<Vec<u8>, WireError> {
        let len = usize::try_from(len).map_err(|_| WireError::TooLong)?;
        let mut payload = std::mem::take(&mut self.spare);
        let mut come = 0;
        payload.truncate(len);
        while come < len {
            payload.resize(len.min(payload.len().max(come + STEP.max(come))), 0);
            self.from.read_exact(payload.get_mut(come..).unwrap_or_default()).map_err(lost)?;
            come = payload.len();
        }
        Ok(payload)
    }
}

/// Puts messages onto a connection.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
    next: u64,
}

impl<W: Write> Writer<W> {
    /// A writer of the first frame and all after it.
    pub fn new(to: W) -> Self {
        Self { to, next: 0 }
    }

    /// Writes a message.
    pub fn write(&mut self, message: &Message) -> Result<(), WireError> {
        let (kind, payload) = message.encode()?;
        self.frame(kind, &[&payload]).map(drop)
    }

    /// Writes a batch of pages; gives back how many bytes that took.
    pub fn write_pages(&mut self, batch: &Batch) -> Result<u64, WireError> {
        self.frame(Kind::Pages, &[&batch.head(), batch.data()])
    }

    /// Writes a part of a disk; gives back how many bytes that took.
    pub fn write_blocks(&mut self, part: Part, batch: &Batch) -> Result<u64, WireError> {
        let (kind, disk) = match part {
            Part::Blocks(disk) => (Kind::Blocks, disk),
            Part::Samples(disk) => (Kind::Samples, disk),
        };
        self.frame(kind, &[&batch.head(), batch.data(), &disk.to_le_bytes()])
    }

    fn frame(&mut self, kind: Kind, parts: &[&[u8]]) -> Result<u64, WireError> {
        let header = Header::over(kind, self.next, parts)?;
        let mut slices = vec![IoSlice::new(&header)];
        slices.extend(parts.iter().map(|part| IoSlice::new(part)));
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        write_all(&mut self.to, &mut slices).map_err(lost)?;
        self.next = self.next.wrapping_add(1);
        Ok(u64::try_from(len).unwrap_or(u64::MAX))
    }
}

fn write_all(to: &mut impl Write, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match to.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    to.flush()
}

fn lost(error: io::Error) -> WireError {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => WireError::Silent,
        _ => WireError::Lost(error),
    }
}
