//! The three parts of a split virtqueue (virtio 1.3 §2.7), where they lie in this process: each access is one load or
//! store, without a search for the memory behind an address.
#![expect(
    unsafe_code,
    reason = "rings are reached by their addresses in this process, vouched for once at the start"
)]

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use virtio_queue::QueueState;
use virtio_queue::desc::split::Descriptor;
use vm_memory::{GuestAddress, GuestMemoryBackend};

use crate::GuestRam;

/// Bytes before the entries of the available and used rings: flags and index.
const HEADER: usize = 4;
/// Bytes of a used ring's entry, and of a descriptor.
const USED: usize = 8;
const DESCRIPTOR: usize = 16;

/// The parts of a queue that lies in RAM. Numbers of entries wrap around the queue's size by themselves.
#[derive(Debug)]
pub(crate) struct Rings {
    table: *mut u8,
    available: *mut u8,
    used: *mut u8,
    /// Entries of each part, at least 1.
    size: u16,
    /// Where the guest sees the used ring.
    used_address: GuestAddress,
    /// Keeps what the pointers point to.
    mem: GuestRam,
}

// SAFETY: the pointers lead to guest memory, which `mem` keeps mapped and which every thread reaches with atomic
// accesses only.
unsafe impl Send for Rings {}

impl Rings {
    /// Finds the parts; `None` if one does not lie in one piece of RAM, or not as the specification aligns it (§2.7).
    pub(crate) fn find(mem: &GuestRam, state: &QueueState) -> Option<Self> {
        let size = usize::from(state.size);
        let place = |address: u64, len: usize, align: usize| {
            let start = mem.get_slice(GuestAddress(address), len).ok()?.ptr_guard_mut().as_ptr();
            (start.addr().is_multiple_of(align)).then_some(start)
        };
        if size == 0 {
            return None;
        }
        Some(Self {
            table: place(state.desc_table, size * DESCRIPTOR, 16)?,
            available: place(state.avail_ring, HEADER + size * 2 + 2, 2)?,
            used: place(state.used_ring, HEADER + size * USED + 2, 4)?,
            size: state.size,
            used_address: GuestAddress(state.used_ring),
            mem: GuestRam::clone(mem),
        })
    }

    fn slot(&self, number: u16) -> usize {
        // Sizes are powers of two for all drivers that keep to the specification; others are slower.
        usize::from(if self.size.is_power_of_two() { number & (self.size - 1) } else { number % self.size })
    }

    /// A 16-bit field of the available ring; `offset` is even and within it.
    fn available(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: the offset lies within the ring, whose start is aligned to 2; guest memory is accessed atomically.
        unsafe { AtomicU16::from_ptr(self.available.add(offset).cast()) }
    }

    /// A 16-bit field of the used ring; `offset` is even and within it.
    fn used(&self, offset: usize) -> &AtomicU16 {
        // SAFETY: as in `available`; the ring's start is aligned to 4.
        unsafe { AtomicU16::from_ptr(self.used.add(offset).cast()) }
    }

    /// The driver's flags.
    pub(crate) fn available_flags(&self) -> u16 {
        u16::from_le(self.available(0).load(Ordering::Relaxed))
    }

    /// How many chains the driver has made available, and with it a view of all that it wrote before.
    pub(crate) fn available_index(&self) -> u16 {
        u16::from_le(self.available(2).load(Ordering::Acquire))
    }

    /// The head of the available chain of this number.
    pub(crate) fn available_head(&self, number: u16) -> u16 {
        u16::from_le(self.available(HEADER + self.slot(number) * 2).load(Ordering::Relaxed))
    }

    /// The used index after which the driver wants an interrupt.
    pub(crate) fn used_event(&self) -> u16 {
        u16::from_le(self.available(HEADER + usize::from(self.size) * 2).load(Ordering::Relaxed))
    }

    /// The descriptor of this index, if the table has it.
    pub(crate) fn descriptor(&self, index: u16) -> Option<Descriptor> {
        if index >= self.size {
            return None;
        }
        let at = usize::from(index) * DESCRIPTOR;
        let half = |offset| {
            // SAFETY: the index was checked; the table's start, and with it every half, is aligned to 8.
            u64::from_le(
                unsafe { AtomicU64::from_ptr(self.table.add(at + offset).cast()) }.load(Ordering::Relaxed),
            )
        };
        let (address, rest) = (half(0), half(8));
        let [l0, l1, l2, l3, f0, f1, n0, n1] = rest.to_le_bytes();
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        Some(Descriptor::new(address, len, u16::from_le_bytes([f0, f1]), u16::from_le_bytes([n0, n1])))
    }

    /// Fills the used entry of this number, which is not visible to the driver before [`Rings::set_used_index`].
    pub(crate) fn set_used(&self, number: u16, head: u16, written: u32) {
        let at = HEADER + self.slot(number) * USED;
        for (offset, value) in [(0, u32::from(head)), (4, written)] {
            // SAFETY: the slot lies within the ring, whose start, and with it every entry, is aligned to 4.
            let field = unsafe { AtomicU32::from_ptr(self.used.add(at + offset).cast()) };
            field.store(value.to_le(), Ordering::Relaxed);
        }
    }

    /// Returns all entries before this number to the driver.
    pub(crate) fn set_used_index(&self, number: u16) {
        self.used(2).store(number.to_le(), Ordering::Release);
        self.mark_used();
    }

    /// Marks the used ring as written to; it is a page or two.
    fn mark_used(&self) {
        if ram::is_logging(&self.mem) {
            let len = HEADER + usize::from(self.size) * USED + 2;
            ram::mark(&self.mem, self.used_address, len as u64);
        }
    }

    /// The device's flags.
    pub(crate) fn set_used_flags(&self, flags: u16) {
        self.used(0).store(flags.to_le(), Ordering::Relaxed);
        self.mark_used();
    }

    /// The available index after which the device wants a notification.
    pub(crate) fn set_available_event(&self, number: u16) {
        self.used(HEADER + usize::from(self.size) * USED).store(number.to_le(), Ordering::Relaxed);
        self.mark_used();
    }

    /// Orders what was written to the rings before what is read from them after.
    pub(crate) fn settle() {
        fence(Ordering::SeqCst);
    }
}
