//! Where each structure lies in the window of a virtio function.

/// Length of the window in bytes.
pub(crate) const WINDOW_SIZE: u64 = 0x8000;
/// BAR that holds the window.
pub(super) const WINDOW_BAR: u8 = 0;

/// A structure in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) offset: u32,
    pub(super) size: u32,
}

pub(super) const COMMON: Part = Part { offset: 0x0000, size: 0x0040 };
pub(super) const ISR: Part = Part { offset: 0x1000, size: 0x0001 };
pub(super) const DEVICE: Part = Part { offset: 0x2000, size: 0x1000 };
pub(super) const NOTIFY: Part = Part { offset: 0x3000, size: 0x1000 };
pub(super) const MSIX_TABLE: Part = Part { offset: 0x4000, size: 0x3000 };
pub(super) const MSIX_PENDING: Part = Part { offset: 0x7000, size: 0x1000 };

/// Bytes between the doorbells of two queues.
pub(super) const NOTIFY_STRIDE: u32 = 4;

/// Most queues that a function can have: what fits the notification structure and the vector table.
pub(crate) const MAX_QUEUES: usize = 512;

/// Most vectors that a function can have: what fits the vector table.
pub(crate) const MAX_VECTORS: u16 = 768;

impl Part {
    /// The offset within this part of an access of `len` bytes at `offset` in the window, if all of it lies inside.
    pub(super) fn inner(self, offset: u64, len: usize) -> Option<u64> {
        let inner = offset.checked_sub(u64::from(self.offset))?;
        let end = inner.checked_add(u64::try_from(len).ok()?)?;
        (end <= u64::from(self.size)).then_some(inner)
    }
}
