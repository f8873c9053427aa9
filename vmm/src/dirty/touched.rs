//! Pages of guest memory that anybody has ever touched.

use std::io;

use devices::GuestRam;
use ram::RamRegion;
use vm_memory::GuestMemoryBackend;

use super::PageSet;
use crate::sys::memory::drops_in_part;
use crate::sys::pagemap::pages_in_use;

impl PageSet {
    /// The pages of `ram` that may have something in them: all others read as zeroes, and the host has given no memory for them.
    /// Where it cannot be told, those are all. All of the memory has to be here: what is to come yet is not told of.
    pub fn touched(ram: &GuestRam) -> Self {
        let mut set = Self::none(ram);
        for (number, region) in ram.iter().enumerate() {
            match of_region(region) {
                Ok(Some(words)) => set.add_words(number, &words),
                Ok(None) | Err(_) => set.add_region(number),
            }
        }
        set
    }
}

/// Those of a region, if what was never touched in it reads as zeroes. Of pages out of a pool of huge ones the host does not tell those that
/// are on their way to another place in its memory from those that are not there.
fn of_region(region: &RamRegion) -> io::Result<Option<Vec<u64>>> {
    drops_in_part(region).then(|| pages_in_use(region)).transpose()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ram::{PAGE, Ram};
    use vm_memory::{Bytes, GuestAddress, MmapRegion};

    use super::*;
    use crate::sys::memory::memory_file;

    #[test]
    fn what_nobody_touched_is_left_out_only_where_it_is_zero() {
        let file = memory_file(c"ram").unwrap();
        file.set_len(4 * PAGE as u64).unwrap();
        let private = libc::MAP_PRIVATE;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let mapped = MmapRegion::build(
            Some(vm_memory::FileOffset::new(file, 0)),
            4 * PAGE,
            protection,
            private | libc::MAP_NORESERVE,
        );
        let anonymous = MmapRegion::build(None, 70 * PAGE, protection, private | libc::MAP_ANONYMOUS);
        let regions = vec![
            RamRegion::new(anonymous.unwrap(), GuestAddress(0)).unwrap(),
            RamRegion::new(mapped.unwrap(), GuestAddress(1 << 20)).unwrap(),
        ];
        let ram = Arc::new(Ram::from_regions(regions).unwrap());
        ram.write_obj(1u8, GuestAddress(66 * PAGE as u64)).unwrap();
        if pages_in_use(ram.iter().next().unwrap()).is_err() {
            // This host's kernel cannot tell.
            assert_eq!(PageSet::touched(&ram), PageSet::all(&ram));
            return;
        }
        let seen: Vec<_> = PageSet::touched(&ram).runs(99).map(|run| (run.start.0, run.pages)).collect();
        assert_eq!(seen, [(66 * PAGE as u64, 1), (1 << 20, 4)]);
    }
}
