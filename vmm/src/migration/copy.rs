//! Guest memory into batches of pages, and back.

use std::io::Write;
use std::time::{Duration, Instant};

use devices::GuestRam;
use ram::PAGE;
use vm_memory::{Bytes, GuestAddress};

use super::bandwidth::Bandwidth;
use super::wire::{Batch, WireError, Writer};
use crate::dirty::PageSet;
use crate::sys::memory::discard;

/// Pages of a set are looked at in pieces of this many.
const STRIDE: u64 = 256;
/// [`PAGE`], as addresses count.
const PAGE_BYTES: u64 = PAGE as u64;

/// What copying took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Copied {
    /// Bytes on the wire.
    pub(super) sent: u64,
    /// How long the connection, or the limit on it, took for them.
    pub(super) sending: Duration,
    /// Pages that were looked at.
    pub(super) pages: u64,
    /// Those of them that had nothing but zeroes in them.
    pub(super) zero: u64,
}

/// Copying was broken off.
#[derive(Debug, thiserror::Error)]
pub(super) enum CopyError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("guest memory could not be read")]
    Memory(#[source] vm_memory::GuestMemoryError),
    #[error("it was broken off")]
    Cancelled,
}

/// Sends pages.
pub(super) struct Sender<W> {
    pub(super) to: Writer<W>,
    bandwidth: Option<Bandwidth>,
    since: Instant,
    batch: Batch,
}

impl<W: Write> Sender<W> {
    pub(super) fn new(to: Writer<W>, bandwidth: Option<Bandwidth>) -> Self {
        Self { to, bandwidth, since: Instant::now(), batch: Batch::default() }
    }

    /// Sends all pages of `set`, unless `is_cancelled` says otherwise.
    pub(super) fn send(
        &mut self,
        ram: &GuestRam,
        set: &PageSet,
        is_cancelled: impl Fn() -> bool,
    ) -> Result<Copied, CopyError> {
        let mut copied = Copied::default();
        for run in set.runs(STRIDE) {
            if is_cancelled() {
                return Err(CopyError::Cancelled);
            }
            for page in 0..run.pages {
                let start = run.start.0.saturating_add(page * PAGE_BYTES);
                let read = |to: &mut [u8]| ram.read_slice(to, GuestAddress(start));
                let zero = self.batch.add(start, read).map_err(CopyError::Memory)?;
                copied.pages += 1;
                copied.zero += u64::from(zero);
                if self.batch.is_full() {
                    self.flush(&mut copied)?;
                }
            }
        }
        self.flush(&mut copied)?;
        Ok(copied)
    }

    fn flush(&mut self, copied: &mut Copied) -> Result<(), CopyError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let sent = self.to.write_pages(&self.batch)?;
        self.batch.clear();
        if let Some(bandwidth) = &mut self.bandwidth {
            std::thread::sleep(bandwidth.sent(sent, self.since.elapsed()));
        }
        copied.sent += sent;
        copied.sending += began.elapsed();
        Ok(())
    }
}

/// What came does not belong into this machine's memory.
#[derive(Debug, thiserror::Error)]
#[error("the other side sent pages that are not in the machine's memory")]
pub(super) struct Outside;

/// Puts a batch into memory. With `fresh`, nothing has been put there before, and zeroes are there already.
pub(super) fn put(ram: &GuestRam, batch: &Batch, fresh: bool) -> Result<(), Outside> {
    for (run, bytes) in batch.runs() {
        let start = GuestAddress(run.start);
        if !run.zero {
            ram.write_slice(bytes, start).map_err(|_| Outside)?;
        } else if fresh {
            // Whether they are in memory is looked at all the same.
            check(ram, start, run.bytes())?;
        } else {
            discard(ram, start, run.bytes()).map_err(|_| Outside)?;
        }
    }
    Ok(())
}

fn check(ram: &GuestRam, start: GuestAddress, bytes: u64) -> Result<(), Outside> {
    use vm_memory::{GuestMemory, Permissions};
    let len = usize::try_from(bytes).map_err(|_| Outside)?;
    if ram.check_range(start, len, Permissions::Write) { Ok(()) } else { Err(Outside) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ram::Ram;

    use super::super::wire::{Message, Reader};
    use super::*;

    fn ram() -> GuestRam {
        let ranges = [(GuestAddress(0), 600 * PAGE), (GuestAddress(1 << 30), 3 * PAGE)];
        Arc::new(Ram::from_ranges(&ranges).unwrap())
    }

    #[test]
    fn memory_arrives_as_it_was_and_zeroes_take_next_to_nothing() {
        let (from, to) = (ram(), ram());
        for page in [0u64, 1, 300, 599] {
            from.write_slice(&vec![u8::try_from(page % 255 + 1).unwrap(); PAGE], GuestAddress(page << 12))
                .unwrap();
        }
        from.write_obj(7u8, GuestAddress((1 << 30) + 0x2fff)).unwrap();
        let mut bytes = Vec::new();
        let mut sender = Sender::new(Writer::new(&mut bytes), None);
        let copied = sender.send(&from, &PageSet::all(&from), || false).unwrap();
        assert_eq!((copied.pages, copied.zero), (603, 598));
        assert!(copied.sent < 6 * PAGE_BYTES, "{}", copied.sent);
        let mut reader = Reader::new(bytes.as_slice());
        while let Ok(Message::Pages(batch)) = reader.read() {
            put(&to, &batch, true).unwrap();
        }
        // Zeroes over what was there.
        to.write_obj(1u8, GuestAddress(0x5000)).unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        while let Ok(Message::Pages(batch)) = reader.read() {
            put(&to, &batch, false).unwrap();
        }
        let all = |ram: &GuestRam| {
            let (mut low, mut high) = (vec![0u8; 600 * PAGE], vec![0u8; 3 * PAGE]);
            ram.read_slice(&mut low, GuestAddress(0)).unwrap();
            ram.read_slice(&mut high, GuestAddress(1 << 30)).unwrap();
            (low, high)
        };
        assert!(all(&from) == all(&to));
        assert!(matches!(
            sender_of(&mut Vec::new()).send(&from, &PageSet::all(&from), || true),
            Err(CopyError::Cancelled)
        ));
    }

    fn sender_of(bytes: &mut Vec<u8>) -> Sender<&mut Vec<u8>> {
        Sender::new(Writer::new(bytes), None)
    }

    #[test]
    fn pages_that_are_not_in_memory_are_refused() {
        let ram = ram();
        for start in [600u64 << 12, (1 << 30) + 0x2000, u64::MAX << 12] {
            for (byte, fresh) in [(0u8, true), (0, false), (1, true)] {
                let mut batch = Batch::default();
                for page in 0..2 {
                    let fill = |to: &mut [u8]| {
                        to.fill(byte);
                        Ok::<_, ()>(())
                    };
                    batch.add(start.wrapping_add(page << 12), fill).unwrap();
                }
                assert!(put(&ram, &batch, fresh).is_err(), "{start:#x} {byte} {fresh}");
            }
        }
    }
}
