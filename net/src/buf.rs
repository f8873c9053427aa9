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
    /// and no Rust reference to it may be held then: the kernel writes to it, and a guest may do so at any time.
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

    /// What follows after the first `count` bytes; empty if there are no more.
    pub fn skip(&self, count: usize) -> Self {
        let count = count.min(self.len());
        let base = self.0.iov_base.cast::<u8>().wrapping_add(count);
        Self(libc::iovec { iov_base: base.cast(), iov_len: self.len() - count })
    }
}
