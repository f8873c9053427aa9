//! Pointers into memory owned by someone else.
#![expect(
    unsafe_code,
    reason = "guest memory is reached through raw pointers; this is the one place that reads and writes them"
)]

use std::ptr;

/// A piece of memory that a request reads into or writes from. Laid out as a `struct iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct IoBuf(libc::iovec);

// SAFETY: an IoBuf is an address and a length; whoever made it promised (`from_raw`) that the
// memory may be used by whichever thread holds the request.
unsafe impl Send for IoBuf {}

impl IoBuf {
    const EMPTY: IoBuf = IoBuf(libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 });

    /// Names `len` bytes at `ptr`.
    ///
    /// # Safety
    /// The memory must stay mapped, readable and (for reads from a disk) writable until the
    /// request that holds this buffer has completed or the queue it was submitted to has been
    /// dropped. It may change under our hands (a guest writes whenever it likes), so no Rust
    /// reference to it may be held meanwhile.
    pub unsafe fn from_raw(ptr: *mut u8, len: usize) -> IoBuf {
        IoBuf(libc::iovec { iov_base: ptr.cast(), iov_len: len })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.iov_len
    }

    /// Whether it names no memory at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first byte's address.
    pub fn as_ptr(&self) -> *mut u8 {
        self.0.iov_base.cast()
    }

    /// The part that starts `offset` bytes in and is at most `len` bytes long.
    fn part(&self, offset: usize, len: usize) -> IoBuf {
        let offset = offset.min(self.len());
        let len = len.min(self.len() - offset);
        IoBuf(libc::iovec { iov_base: self.as_ptr().wrapping_add(offset).cast(), iov_len: len })
    }

    fn fill_zero(&self) {
        if !self.is_empty() {
            // SAFETY: valid for writes by the contract of `from_raw`.
            unsafe { ptr::write_bytes(self.as_ptr(), 0, self.len()) }
        }
    }

    /// Copies the start of `from` into the buffer; returns how many bytes fitted.
    fn copy_in(&self, from: &[u8]) -> usize {
        let len = self.len().min(from.len());
        // SAFETY: valid for `len` writes by the contract of `from_raw`; `from` is a live slice and
        // no reference to the buffer's memory exists, so the two do not overlap.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.as_ptr(), len) }
        len
    }

    /// Copies the buffer into the start of `to`; returns how many bytes fitted.
    fn copy_out(&self, to: &mut [u8]) -> usize {
        let len = self.len().min(to.len());
        // SAFETY: as in `copy_in`, for reads.
        unsafe { ptr::copy_nonoverlapping(self.as_ptr(), to.as_mut_ptr(), len) }
        len
    }
}

/// How many buffers a request holds without an allocation of its own.
const INLINE: usize = 4;

/// The buffers of one request, in order.
#[derive(Clone, Debug)]
pub struct Bufs(Store);

#[derive(Clone, Debug)]
enum Store {
    Inline(u8, [IoBuf; INLINE]),
    Heap(Vec<IoBuf>),
}

impl Default for Bufs {
    fn default() -> Self {
        Bufs(Store::Inline(0, [IoBuf::EMPTY; INLINE]))
    }
}

impl Bufs {
    /// No buffers yet.
    pub fn new() -> Bufs {
        Bufs::default()
    }

    /// The bytes of a slice, for a call that has finished with them before the borrow ends.
    pub(crate) fn borrowing(bytes: &mut [u8]) -> Bufs {
        IoBuf(libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }).into()
    }

    /// The bytes of a slice that will only be read, under the same condition.
    pub(crate) fn borrowing_const(bytes: &[u8]) -> Bufs {
        IoBuf(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }).into()
    }

    /// Appends a buffer; an empty one is left out.
    pub fn push(&mut self, buf: IoBuf) {
        if buf.is_empty() {
            return;
        }
        match &mut self.0 {
            Store::Inline(count, slots) => match slots.get_mut(usize::from(*count)) {
                Some(slot) => {
                    *slot = buf;
                    *count += 1;
                }
                None => {
                    let mut all = Vec::with_capacity(INLINE * 4);
                    all.extend_from_slice(slots);
                    all.push(buf);
                    self.0 = Store::Heap(all);
                }
            },
            Store::Heap(all) => all.push(buf),
        }
    }

    /// The buffers in order.
    pub fn as_slice(&self) -> &[IoBuf] {
        match &self.0 {
            Store::Inline(count, slots) => slots.get(..usize::from(*count)).unwrap_or_default(),
            Store::Heap(all) => all,
        }
    }

    /// Bytes in all buffers together.
    pub fn total_len(&self) -> u64 {
        self.as_slice().iter().fold(0, |sum: u64, buf| sum.saturating_add(buf.len() as u64))
    }

    /// The buffers that hold bytes `offset..offset + len` of the whole, cut to fit.
    pub fn part(&self, offset: u64, len: u64) -> Bufs {
        let (mut skip, mut want) = (offset, len);
        let mut out = Bufs::new();
        for buf in self.as_slice() {
            let size = buf.len() as u64;
            if skip >= size {
                skip -= size;
                continue;
            }
            let take = want.min(size - skip);
            // Both are at most `size`, which came from a usize.
            #[expect(clippy::cast_possible_truncation)]
            out.push(buf.part(skip as usize, take as usize));
            want -= take;
            skip = 0;
            if want == 0 {
                break;
            }
        }
        out
    }

    /// Zeroes all the memory.
    pub fn fill_zero(&self) {
        self.as_slice().iter().for_each(IoBuf::fill_zero);
    }

    /// Scatters `from` over the buffers, as far as both last.
    pub fn copy_in(&self, mut from: &[u8]) {
        for buf in self.as_slice() {
            let taken = buf.copy_in(from);
            from = from.get(taken..).unwrap_or_default();
        }
    }

    /// Gathers the buffers into `to`, as far as both last.
    pub fn copy_out(&self, mut to: &mut [u8]) {
        for buf in self.as_slice() {
            let taken = buf.copy_out(to);
            to = to.get_mut(taken..).unwrap_or_default();
        }
    }

    /// Whether every address and length is a multiple of `align` (a power of two).
    pub fn is_aligned(&self, align: u32) -> bool {
        let mask = (align as usize).wrapping_sub(1);
        self.as_slice().iter().all(|buf| (buf.as_ptr().addr() | buf.len()) & mask == 0)
    }
}

impl From<IoBuf> for Bufs {
    fn from(buf: IoBuf) -> Bufs {
        let mut bufs = Bufs::new();
        bufs.push(buf);
        bufs
    }
}

impl FromIterator<IoBuf> for Bufs {
    fn from_iter<I: IntoIterator<Item = IoBuf>>(iter: I) -> Bufs {
        let mut bufs = Bufs::new();
        iter.into_iter().for_each(|buf| bufs.push(buf));
        bufs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bufs(memory: &mut [u8], pieces: &[usize]) -> Bufs {
        let mut at = memory.as_mut_ptr();
        pieces
            .iter()
            .map(|&len| {
                // SAFETY: the pieces lie side by side in `memory`, which outlives the test's use.
                let buf = unsafe { IoBuf::from_raw(at, len) };
                at = at.wrapping_add(len);
                buf
            })
            .collect()
    }

    #[test]
    fn parts_cut_across_buffers_inline_and_on_the_heap() {
        for pieces in [&[3, 5, 2][..], &[1, 1, 1, 1, 1, 1, 4]] {
            let mut memory: Vec<u8> = (0..10).collect();
            let all = bufs(&mut memory, pieces);
            assert_eq!(all.total_len(), 10);
            for offset in 0..10u8 {
                for len in 0..=10 - offset {
                    let part = all.part(offset.into(), len.into());
                    assert_eq!(part.total_len(), u64::from(len));
                    let mut got = vec![0; usize::from(len)];
                    part.copy_out(&mut got);
                    assert!(got.iter().copied().eq(offset..offset + len));
                }
            }
            assert_eq!(all.part(4, 100).total_len(), 6, "a part never reaches past the end");
        }
    }

    #[test]
    fn copy_in_and_zero_reach_every_buffer() {
        let mut memory = vec![9; 10];
        let all = bufs(&mut memory, &[4, 0, 6]);
        all.part(2, 6).fill_zero();
        all.part(8, 2).copy_in(&[1, 2, 3]);
        drop(all);
        assert_eq!(memory, [9, 9, 0, 0, 0, 0, 0, 0, 1, 2]);
    }
}
