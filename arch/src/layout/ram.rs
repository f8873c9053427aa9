//! Guest RAM: one region below the 32-bit hole and, when there is more, one from 4 GiB.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{
    ACPI_TABLES, CONVENTIONAL_END, ECAM_BASE, ECAM_SIZE, HIGH_RAM_START, KERNEL_MIN, LOW_MEMORY_END,
    LOW_RAM_END, PAGE_SIZE, SMBIOS_TABLES, VMCLOCK_BASE,
};

const GIB: u64 = 1 << 30;
/// Least RAM a machine can be laid out with: the low MiB and something to put a kernel in.
const MIN_RAM: u64 = 2 << 20;
/// Most RAM: 46 bits, the smallest physical address width of current server processors, less the hole.
const MAX_RAM: u64 = (1 << 46) - HIGH_RAM_START;
/// AMD processors reserve the last 12 GiB below 1 TiB for HyperTransport (AMD64 APM vol. 2, "IOMMU" address map).
const HYPERTRANSPORT: Range<u64> = 0xFD_0000_0000..0x100_0000_0000;
/// The 64-bit window needs no more than this, and a bounded one keeps the guest's resource tree small.
const MAX_PCI64: u64 = 1 << 40;

/// Why an amount of RAM cannot be laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RamError {
    /// Too little to hold the boot data and any kernel.
    #[error("{bytes} bytes of guest memory are too few: give the machine at least {MIN_RAM}")]
    TooSmall {
        /// What was asked for.
        bytes: u64,
    },
    /// More than guest physical addresses can reach.
    #[error("{bytes} bytes of guest memory are more than the machine can address: give it at most {MAX_RAM}")]
    TooLarge {
        /// What was asked for.
        bytes: u64,
    },
}

/// A contiguous piece of guest RAM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RamRegion {
    /// Guest physical address of the first byte; a page boundary.
    pub start: u64,
    /// Bytes, a multiple of the page size, never 0.
    pub size: u64,
}

impl RamRegion {
    /// First address after the region.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.size)
    }
}

/// Kind of an entry of the memory map (ACPI 6.5 §15, table 15.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum E820Type {
    /// Usable RAM.
    Ram = 1,
    /// Not to be touched by the operating system.
    Reserved = 2,
    /// Holds ACPI tables; usable once they have been read.
    Acpi = 3,
}

/// One entry of the memory map given to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct E820Entry {
    /// First address.
    pub start: u64,
    /// Length in bytes.
    pub size: u64,
    /// What lies there.
    pub kind: E820Type,
}

impl E820Entry {
    fn new(range: Range<u64>, kind: E820Type) -> Self {
        Self { start: range.start, size: range.end.saturating_sub(range.start), kind }
    }
}

/// How much RAM lies where. The only way to one is [`RamLayout::new`], so its sizes always fit the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct RamLayout {
    low: u64,
    high: u64,
}

impl RamLayout {
    /// Lays out `bytes` of RAM, rounded up to whole pages (manifests say `1G` as well as `1Gi`).
    ///
    /// # Errors
    /// Less than 2 MiB, or more than 46-bit physical addresses can reach.
    pub fn new(bytes: u64) -> Result<Self, RamError> {
        if bytes < MIN_RAM {
            return Err(RamError::TooSmall { bytes });
        }
        if bytes > MAX_RAM {
            return Err(RamError::TooLarge { bytes });
        }
        let total = bytes.next_multiple_of(PAGE_SIZE);
        let low = total.min(LOW_RAM_END);
        Ok(Self { low, high: total - low })
    }

    /// All RAM, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.low + self.high
    }

    /// End of the RAM below the 32-bit hole: kernels and initrds go below it.
    #[must_use]
    pub fn low_end(&self) -> u64 {
        self.low
    }

    /// First address above all RAM.
    #[must_use]
    pub fn end(&self) -> u64 {
        if self.high == 0 { self.low } else { HIGH_RAM_START + self.high }
    }

    /// The one or two regions, lowest first.
    pub fn regions(&self) -> impl Iterator<Item = RamRegion> + use<> {
        [RamRegion { start: 0, size: self.low }, RamRegion { start: HIGH_RAM_START, size: self.high }]
            .into_iter()
            .filter(|region| region.size > 0)
    }

    /// The memory map for the guest, ascending and without overlaps.
    #[must_use]
    pub fn e820(&self) -> Vec<E820Entry> {
        let mut map = vec![
            E820Entry::new(0..LOW_MEMORY_END, E820Type::Ram),
            E820Entry::new(LOW_MEMORY_END..CONVENTIONAL_END, E820Type::Reserved),
            E820Entry::new(ACPI_TABLES, E820Type::Acpi),
            E820Entry::new(SMBIOS_TABLES, E820Type::Reserved),
            E820Entry::new(KERNEL_MIN..self.low, E820Type::Ram),
            E820Entry::new(ECAM_BASE..ECAM_BASE + ECAM_SIZE, E820Type::Reserved),
            E820Entry::new(VMCLOCK_BASE..VMCLOCK_BASE + PAGE_SIZE, E820Type::Reserved),
        ];
        if self.high > 0 {
            map.push(E820Entry::new(HIGH_RAM_START..self.end(), E820Type::Ram));
        }
        map
    }

    /// Whether all RAM can be reached with `phys_bits` physical address bits.
    #[must_use]
    pub fn fits(&self, phys_bits: u8) -> bool {
        self.end() <= address_limit(phys_bits)
    }

    /// The 64-bit PCI memory window: above all RAM, aligned to 1 GiB, within `phys_bits` physical address bits and
    /// clear of AMD's HyperTransport hole. Empty when RAM leaves no room for one.
    #[must_use]
    pub fn pci64_window(&self, phys_bits: u8) -> Range<u64> {
        let mut start = self.end().max(HIGH_RAM_START).next_multiple_of(GIB);
        let mut end = address_limit(phys_bits).min(start.saturating_add(MAX_PCI64));
        if start < HYPERTRANSPORT.start {
            end = end.min(HYPERTRANSPORT.start);
        } else if start < HYPERTRANSPORT.end {
            start = HYPERTRANSPORT.end;
        }
        start..end.max(start)
    }
}

/// First address that `phys_bits` cannot express.
fn address_limit(phys_bits: u8) -> u64 {
    1u64.checked_shl(phys_bits.into()).unwrap_or(u64::MAX)
}

impl TryFrom<u64> for RamLayout {
    type Error = RamError;

    fn try_from(bytes: u64) -> Result<Self, RamError> {
        Self::new(bytes)
    }
}

impl From<RamLayout> for u64 {
    fn from(ram: RamLayout) -> u64 {
        ram.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn splits_at_two_gib() {
        let ram = RamLayout::new(3 * GIB).unwrap();
        let regions: Vec<_> = ram.regions().collect();
        assert_eq!(regions, [RamRegion { start: 0, size: 2 * GIB }, RamRegion { start: 4 * GIB, size: GIB }]);
        assert_eq!(ram.end(), 5 * GIB);
        assert_eq!(RamLayout::new(2 * GIB).unwrap().regions().count(), 1);
    }

    #[test]
    fn rounds_up_to_pages_and_refuses_extremes() {
        assert_eq!(RamLayout::new(1_000_000_000).unwrap().bytes() % PAGE_SIZE, 0);
        assert!(RamLayout::new(1_000_000_000).unwrap().bytes() >= 1_000_000_000);
        assert_eq!(RamLayout::new(0), Err(RamError::TooSmall { bytes: 0 }));
        assert_eq!(RamLayout::new(u64::MAX), Err(RamError::TooLarge { bytes: u64::MAX }));
    }

    #[test]
    fn pci_window_keeps_clear_of_hypertransport() {
        let small = RamLayout::new(256 << 20).unwrap();
        assert_eq!(small.pci64_window(40), 4 * GIB..0xFD_0000_0000);
        assert_eq!(small.pci64_window(36), 4 * GIB..64 * GIB);
        assert!(small.pci64_window(32).is_empty());
        let huge = RamLayout::new(1012 * GIB).unwrap();
        assert_eq!(huge.pci64_window(46).start, 1024 * GIB);
        assert!(!huge.fits(39));
    }

    #[test]
    fn survives_serde_only_when_valid() {
        assert!(RamLayout::try_from(5u64).is_err());
        assert_eq!(u64::from(RamLayout::try_from(3 * GIB).unwrap()), 3 * GIB);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn map_is_sorted_and_complete(bytes in MIN_RAM..MAX_RAM, bits in 0u8..=255) {
            let ram = RamLayout::new(bytes).unwrap();
            let map = ram.e820();
            prop_assert!(map.windows(2).all(|w| w[0].start + w[0].size <= w[1].start));
            let usable: u64 = map.iter().filter(|e| e.kind == E820Type::Ram).map(|e| e.size).sum();
            prop_assert_eq!(usable, ram.bytes() - (KERNEL_MIN - LOW_MEMORY_END));
            let window = ram.pci64_window(bits);
            prop_assert!(window.start <= window.end && window.start >= ram.end());
            prop_assert!(window.is_empty() || bits >= 64 || window.end <= 1 << bits);
        }
    }
}
