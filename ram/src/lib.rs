//! Guest RAM as all crates share it, and which of its pages devices have written.
//!
//! KVM knows what vCPUs write; what devices write, from threads of this process and by system calls, it does not see. While
//! somebody wants to know ([`log_writes`]), devices mark each page after they have written it ([`WrittenPages`]). As long
//! as nobody does, that costs a load of one flag.

mod written;

use vm_memory::bitmap::{Bitmap, RefSlice};
use vm_memory::{
    GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestMemoryRegion, GuestRegionMmap, VolatileSlice,
};

pub use written::{PAGE, WrittenPages};

/// All RAM of a guest.
pub type Ram = GuestMemoryMmap<WrittenPages>;
/// A piece of it, in one mapping.
pub type RamRegion = GuestRegionMmap<WrittenPages>;

/// Some bytes of it.
pub type RamSlice<'a> = VolatileSlice<'a, RefSlice<'a, WrittenPages>>;

/// Has devices mark what they write from now on, or no longer. Other threads may not know of it at once: who relies on their
/// marks has them pass a memory barrier first (membarrier(2)).
pub fn log_writes(ram: &Ram, on: bool) {
    ram.iter().for_each(|region| region.bitmap_of().log(on));
}

/// Whether devices have to mark what they write.
pub fn is_logging(ram: &Ram) -> bool {
    // All regions are told together.
    ram.iter().next().is_some_and(|region| region.bitmap_of().is_logging())
}

/// Marks what a device has written by other means than those of vm-memory, which do it themselves. What is not RAM is passed
/// over.
pub fn mark(ram: &Ram, start: GuestAddress, len: u64) {
    let end = start.0.saturating_add(len);
    for region in ram.iter() {
        let base = region.start_addr().0;
        let (from, to) = (start.0.max(base), end.min(base.saturating_add(region.len())));
        if let (true, Ok(offset), Ok(len)) =
            (from < to, usize::try_from(from.wrapping_sub(base)), usize::try_from(to.wrapping_sub(from)))
        {
            region.bitmap_of().mark_dirty(offset, len);
        }
    }
}

/// The marks of a region.
pub trait RegionMarks {
    /// Its marks, by offset in the region.
    fn bitmap_of(&self) -> &WrittenPages;
}

impl RegionMarks for RamRegion {
    fn bitmap_of(&self) -> &WrittenPages {
        // The mapping's own method; the region's trait gives a slice of it.
        std::ops::Deref::deref(self).bitmap()
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::Bytes;

    use super::*;

    fn ram() -> Ram {
        Ram::from_ranges(&[(GuestAddress(0), 0x4000), (GuestAddress(0x10000), 0x4000)]).unwrap()
    }

    fn taken(ram: &Ram) -> Vec<Vec<u64>> {
        ram.iter().map(|region| region.bitmap_of().take()).collect()
    }

    #[test]
    fn what_is_written_is_marked_while_somebody_wants_to_know() {
        let ram = ram();
        ram.write_obj(1u64, GuestAddress(0x1000)).unwrap();
        mark(&ram, GuestAddress(0x2000), 1);
        assert!(!is_logging(&ram) && taken(&ram).concat().iter().all(|word| *word == 0));
        log_writes(&ram, true);
        assert!(is_logging(&ram));
        ram.write_obj(1u64, GuestAddress(0x1ffc)).unwrap();
        mark(&ram, GuestAddress(0x3fff), 0xc002);
        mark(&ram, GuestAddress(0x13000), u64::MAX);
        assert_eq!(taken(&ram), [[0b1110], [0b1001]]);
        assert_eq!(taken(&ram), [[0], [0]], "marks are taken once");
        log_writes(&ram, false);
        ram.write_obj(1u64, GuestAddress(0)).unwrap();
        assert_eq!(taken(&ram), [[0], [0]]);
    }

    #[test]
    fn slices_mark_the_pages_where_they_lie() {
        let ram = ram();
        log_writes(&ram, true);
        let slice = ram.get_slice(GuestAddress(0x2ff0), 0x20).unwrap();
        slice.write_slice(&[1; 8], 0x10).unwrap();
        assert_eq!(taken(&ram), [[0b1000], [0]]);
    }
}
