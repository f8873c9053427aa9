//! Pointers into memory owned by someone else.
#![expect(
    unsafe_code,
    reason = "guest memory reaches the kernel as raw pointers; this is where they are vouched for"
)]

use std::ptr;

/// A piece of memory that a frame is read into or written from. Laid out as a `struct iovec`.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct IoBuf(libc::iovec);

// SAFETY: an IoBuf is an address and a length; whoever made it promised (`from_raw`) that any thread may use them.
unsafe impl Send for IoBuf {}

impl IoBuf {
    /// Names `len` bytes at `ptr`.
    ///
    /// # Safety
    /// The memory must be mapped, readable and writable whenever the buffer is handed to a [`crate::FrameQueue`],
    /// [`gather`] or [`scatter`], and no Rust reference to it may be held then: the kernel writes to it, and a guest may
    /// do so at any time.
    pub unsafe fn from_raw(ptr: *mut u8, len: usize) -> Self {
        Self(libc::iovec { iov_base: ptr.cast(), iov_len: len })
    }

    /// A buffer of no bytes.
    pub const fn empty() -> Self {
        Self(libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.iov_len
    }

    /// Whether it names no memory at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Copies `N` bytes from `offset` on; none if the buffer does not have them.
    pub(crate) fn peek<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let end = offset.checked_add(N)?;
        // SAFETY: the bytes are within the buffer, for whose memory `from_raw` vouched, and an array has no alignment.
        (end <= self.len())
            .then(|| unsafe { self.0.iov_base.cast::<u8>().add(offset).cast::<[u8; N]>().read() })
    }

    /// The first `count` bytes, or all if there are fewer.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        Self(libc::iovec { iov_base: self.0.iov_base, iov_len: count.min(self.len()) })
    }

    /// What follows after the first `count` bytes; empty if there are no more.
    pub fn skip(&self, count: usize) -> Self {
        let count = count.min(self.len());
        let base = self.0.iov_base.cast::<u8>().wrapping_add(count);
        Self(libc::iovec { iov_base: base.cast(), iov_len: self.len() - count })
    }
}

/// Copies what the buffers hold from `offset` on to `to`; returns how many bytes there were, at most `to`'s length.
/// They may change under way, where they are a guest's.
pub fn gather(bufs: &[IoBuf], offset: usize, to: &mut [u8]) -> usize {
    let mut done = 0;
    walk(bufs, offset, |base, len| {
        let rest = to.get_mut(done..).unwrap_or_default();
        let len = len.min(rest.len());
        // SAFETY: `from_raw` vouched for the memory, `len` stays within it and within `rest`, which is not guest memory.
        unsafe { ptr::copy_nonoverlapping(base, rest.as_mut_ptr(), len) };
        done += len;
        done < to.len()
    });
    done
}

/// Copies `from` over what the buffers hold from `offset` on; returns how many bytes there was room for.
pub fn scatter(bufs: &[IoBuf], offset: usize, from: &[u8]) -> usize {
    let mut done = 0;
    walk(bufs, offset, |base, len| {
        let rest = from.get(done..).unwrap_or_default();
        let len = len.min(rest.len());
        // SAFETY: as in `gather`.
        unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), base, len) };
        done += len;
        done < from.len()
    });
    done
}

/// Calls `each` with the pieces of memory behind the first `offset` bytes, until it says no.
fn walk(bufs: &[IoBuf], offset: usize, mut each: impl FnMut(*mut u8, usize) -> bool) {
    let mut skipped = offset;
    for buf in bufs {
        let rest = buf.skip(skipped);
        skipped = skipped.saturating_sub(buf.len());
        if !rest.is_empty() && !each(rest.0.iov_base.cast(), rest.len()) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_copied_out_of_and_into_any_pieces() {
        let mut memory: Vec<u8> = (0..20).collect();
        // SAFETY: the memory outlives the buffers, and is not looked at while they are used.
        let mut piece =
            |at: usize, len| unsafe { IoBuf::from_raw(memory.as_mut_ptr().wrapping_add(at), len) };
        let bufs = [piece(0, 3), IoBuf::empty(), piece(10, 1), piece(12, 8)];
        let mut out = [0xff; 6];
        assert_eq!(gather(&bufs, 2, &mut out), 6);
        assert_eq!(out, [2, 10, 12, 13, 14, 15]);
        assert_eq!((gather(&bufs, 10, &mut out), out[..3].to_vec()), (2, vec![18, 19, 12]));
        assert_eq!((gather(&bufs, 12, &mut out), gather(&[], 0, &mut out)), (0, 0));
        assert_eq!((scatter(&bufs, 3, &[90, 91]), scatter(&bufs, 11, &[92, 93])), (2, 1));
        assert_eq!(memory[10..13], [90, 11, 91]);
        assert_eq!(memory[18..], [18, 92]);
    }
}
