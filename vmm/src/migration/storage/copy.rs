//! The copy of one disk, at its source.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use block::{Blocking, Disk, MarkedDisk, Marks, Stretch, Written};
use ram::PAGE;

use crate::migration::wire::Batch;

const PAGE_BYTES: u64 = PAGE as u64;
/// Longest stretch that is asked for at once.
const STRIDE: u64 = 1 << 30;

/// A disk that is being copied while it is written to.
pub(super) struct Copy {
    marks: Arc<Marks>,
    io: Blocking,
    bytes: u64,
    /// What is zero and was not told yet.
    zeroes: Vec<Range<u64>>,
    /// What is to be sent.
    left: Written,
}

impl Copy {
    /// Begins; with `differences`, what the disk's base shows is left out.
    pub(super) fn begin(disk: &MarkedDisk, differences: bool) -> io::Result<Self> {
        let bytes = disk.info().size_bytes;
        let io = Blocking::open(disk).map_err(io::Error::other)?;
        let marks = Arc::clone(disk.marks());
        // Before it is looked what is where: what is written from here on is sent again, whatever it was then.
        marks.begin(bytes);
        let mut copy = Self { marks, io, bytes, zeroes: Vec::new(), left: Written::default() };
        let mut at = 0;
        while at < bytes {
            let (stretch, len) = disk.stretch(at, (bytes - at).min(STRIDE))?;
            let end = at.saturating_add(len.max(1)).min(bytes);
            match stretch {
                Stretch::Base if differences => {}
                Stretch::Zeroes => copy.leave_zero(at..end),
                Stretch::Data | Stretch::Base => copy.left.add_bytes(at..end),
            }
            at = end;
        }
        Ok(copy)
    }

    /// Notes zeroes: whole pages of them as such.
    fn leave_zero(&mut self, range: Range<u64>) {
        let whole = range.start.next_multiple_of(PAGE_BYTES)..range.end / PAGE_BYTES * PAGE_BYTES;
        if whole.is_empty() {
            return self.left.add_bytes(range);
        }
        self.left.add_bytes(range.start..whole.start);
        self.left.add_bytes(whole.end..range.end);
        match self.zeroes.last_mut() {
            Some(last) if last.end == whole.start => last.end = whole.end,
            _ => self.zeroes.push(whole),
        }
    }

    /// Bytes of the disk.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes that are known to be left.
    pub(super) fn left(&self) -> u64 {
        self.left.bytes()
    }

    /// Adds what was written since the last time to what is left.
    pub(super) fn look(&mut self) {
        self.left.add(&self.marks.take());
    }

    /// Gives zeroes that were not told yet to `send`, up to `most` bytes of them. How many that were.
    pub(super) fn send_zeroes<E>(
        &mut self,
        most: u64,
        batch: &mut Batch,
        mut send: impl FnMut(&mut Batch) -> Result<(), E>,
    ) -> Result<u64, E> {
        let all = most / PAGE_BYTES;
        let mut room = all;
        while let Some(range) = self.zeroes.pop() {
            let pages = (range.end - range.start) / PAGE_BYTES;
            let now = u32::try_from(pages.min(room)).unwrap_or(u32::MAX);
            let rest = range.start.saturating_add(u64::from(now) * PAGE_BYTES)..range.end;
            if !rest.is_empty() {
                self.zeroes.push(rest);
            }
            if now == 0 {
                break;
            }
            batch.add_zeroes(range.start, now);
            room -= u64::from(now);
            if batch.is_full() {
                send(batch)?;
            }
        }
        if !batch.is_empty() {
            send(batch)?;
        }
        Ok((all - room) * PAGE_BYTES)
    }

    /// Gives all that is left to `send`, in batches. All zeroes have been told.
    pub(super) fn send<E: From<io::Error>>(
        &mut self,
        batch: &mut Batch,
        mut send: impl FnMut(&mut Batch) -> Result<(), E>,
    ) -> Result<(), E> {
        // Marks come off before the disk is read.
        let mut parts = std::mem::take(&mut self.left);
        parts.add(&self.marks.take());
        for part in parts.parts() {
            let end = part.end.min(self.bytes);
            let len = usize::try_from(end.saturating_sub(part.start)).unwrap_or(0);
            let fill = |to: &mut [u8]| {
                // The disk may end within a page.
                let (bytes, rest) = to.split_at_mut(len.min(to.len()));
                rest.fill(0);
                self.io.read(part.start, bytes)
            };
            batch.add(part.start, len.div_ceil(PAGE), fill)?;
            if batch.is_full() {
                send(batch)?;
            }
        }
        if batch.is_empty() { Ok(()) } else { send(batch) }
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        self.marks.end();
    }
}
