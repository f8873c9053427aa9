//! Where guest memory lies in a file.

use arch::layout::RamLayout;
use devices::GuestRam;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// A piece of guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Area {
    /// Where the guest has it.
    pub(super) start: GuestAddress,
    /// How long it is.
    pub(super) bytes: u64,
    /// Where the file has it.
    pub(super) offset: u64,
}

/// All pieces, one behind the other in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layout(Vec<Area>);

impl Layout {
    /// The layout of memory that is laid out so for the guest.
    pub(super) fn of(ram: &RamLayout) -> Self {
        let mut offset = 0;
        let area = |region: arch::layout::RamRegion| {
            let area = Area { start: GuestAddress(region.start), bytes: region.size, offset };
            offset += region.size;
            area
        };
        Self(ram.regions().map(area).collect())
    }

    /// The layout of this memory in a file.
    pub(super) fn of_ram(ram: &GuestRam) -> Self {
        let mut offset = 0;
        let area = |region: &ram::RamRegion| {
            let area = Area { start: region.start_addr(), bytes: region.len(), offset };
            offset += region.len();
            area
        };
        Self(ram.iter().map(area).collect())
    }

    /// Where the guest has its memory, and how much of it.
    pub(super) fn areas(&self) -> impl Iterator<Item = (GuestAddress, u64)> {
        self.0.iter().map(|area| (area.start, area.bytes))
    }

    /// Length of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|area| area.bytes).sum()
    }

    /// Where the file has what the guest has at `address`.
    pub(super) fn offset(&self, address: GuestAddress) -> Option<u64> {
        self.0.iter().find_map(|area| {
            let inside = address.0.checked_sub(area.start.0).filter(|inside| *inside < area.bytes)?;
            Some(area.offset + inside)
        })
    }

    /// Where the guest has what the file has at `offset`, and how many bytes follow without a gap.
    pub(super) fn address(&self, offset: u64) -> Option<(GuestAddress, u64)> {
        self.0.iter().find_map(|area| {
            let inside = offset.checked_sub(area.offset).filter(|inside| *inside < area.bytes)?;
            Some((GuestAddress(area.start.0 + inside), area.bytes - inside))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_above_the_gap_follows_that_below() {
        let layout = Layout::of(&RamLayout::new(3 << 30).unwrap());
        assert_eq!(layout.bytes(), 3 << 30);
        assert_eq!(layout.offset(GuestAddress(0x1000)), Some(0x1000));
        assert_eq!(layout.offset(GuestAddress(0x9000_0000)), None);
        assert_eq!(layout.offset(GuestAddress(0x1_0000_0000)), Some(0x8000_0000));
        assert_eq!(layout.address(0x7fff_f000), Some((GuestAddress(0x7fff_f000), 0x1000)));
        assert_eq!(layout.address(0x8000_0000), Some((GuestAddress(0x1_0000_0000), 1 << 30)));
        assert_eq!(layout.address(3 << 30), None);
    }
}
