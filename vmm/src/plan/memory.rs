//! Guest RAM of a plan.

use arch::layout::RamLayout;
use serde::{Deserialize, Serialize};

use super::PlanError;

/// What guest RAM is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Backing {
    /// Anonymous memory, with transparent huge pages where the host has them.
    Anonymous,
    /// Pages from the host's pool of huge pages.
    #[serde(rename_all = "camelCase")]
    HugePages {
        /// Bytes of one page, 2 MiB or 1 GiB.
        page_size: u64,
    },
}

impl Backing {
    /// Whether a guest can run before its memory is there: pages of 1 GiB would have it wait too long at each touch.
    #[must_use]
    pub const fn comes_on_demand(self) -> bool {
        match self {
            Self::Anonymous => true,
            Self::HugePages { page_size } => page_size <= 2 << 20,
        }
    }
}

/// Guest RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPlan {
    /// Size, and where it lies.
    pub ram: RamLayout,
    /// What it is made of.
    pub backing: Backing,
}

/// Plans `bytes` of RAM, in huge pages of `page_size` bytes if the manifest asks for them.
pub(super) fn plan(bytes: u64, page_size: Option<u64>) -> Result<MemoryPlan, PlanError> {
    const PAGE_SIZE: &str = "spec.domain.memory.hugepages.pageSize";
    let ram = RamLayout::new(bytes)
        .map_err(|error| PlanError::at("spec.domain.memory.guest", error.to_string()))?;
    let Some(page_size) = page_size else { return Ok(MemoryPlan { ram, backing: Backing::Anonymous }) };
    if !matches!(page_size, 0x20_0000 | 0x4000_0000) {
        let message = format!("there are no huge pages of {page_size} bytes on x86_64: use 2Mi or 1Gi");
        return Err(PlanError::at(PAGE_SIZE, message));
    }
    if ram.regions().any(|region| !region.size.is_multiple_of(page_size)) {
        let message = format!("{bytes} bytes of memory are not a whole number of pages of {page_size} bytes");
        return Err(PlanError::at(PAGE_SIZE, message));
    }
    Ok(MemoryPlan { ram, backing: Backing::HugePages { page_size } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn huge_pages_must_fit() {
        assert_eq!(plan(GIB, None).unwrap().backing, Backing::Anonymous);
        let two = plan(5 * GIB, Some(2 << 20)).unwrap();
        assert_eq!(two.backing, Backing::HugePages { page_size: 2 << 20 });
        assert!(two.backing.comes_on_demand());
        assert!(!plan(5 * GIB, Some(GIB)).unwrap().backing.comes_on_demand());
        assert!(plan(GIB + 4096, Some(2 << 20)).is_err());
        assert!(plan(GIB / 2, Some(GIB)).is_err());
        assert!(plan(GIB, Some(64 << 10)).is_err());
        assert!(plan(4096, None).is_err());
    }
}
