//! How a disk presents itself: features and configuration space (virtio 1.3 §5.2.3, §5.2.4).

use block::DiskInfo;

use super::failure::ErrorPolicy;
use crate::virtio::buffers::MAX_SEGMENTS;
use crate::virtio::config_space::ConfigSpace;
use crate::virtio::feature::{RING_EVENT_IDX, RING_INDIRECT_DESC};
use crate::virtio::limit::RateLimit;

const SEG_MAX: u64 = 1 << 2;
const RO: u64 = 1 << 5;
const BLK_SIZE: u64 = 1 << 6;
pub(super) const FLUSH: u64 = 1 << 9;
const TOPOLOGY: u64 = 1 << 10;
pub(super) const CONFIG_WCE: u64 = 1 << 11;
const MQ: u64 = 1 << 12;
const DISCARD: u64 = 1 << 13;
const WRITE_ZEROES: u64 = 1 << 14;

/// Unit of all sector numbers (virtio 1.3 §5.2.4).
pub(super) const SECTOR: u64 = 512;
/// Offset of the one writable field, `writeback`.
pub(super) const WRITEBACK_OFFSET: u64 = 32;

/// Greatest number of queues.
const MAX_QUEUES: u16 = 256;
/// Sizes of a queue.
const QUEUE_SIZES: std::ops::RangeInclusive<u16> = 4..=1024;

/// How a disk appears to the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlkConfig {
    /// Serial number; the first 20 bytes are visible.
    pub serial: String,
    /// Number of queues, 1 to 256; what is outside is brought inside.
    pub queues: u16,
    /// Requests that each queue holds: a power of two, 4 to 1024; what is not becomes one.
    pub queue_size: u16,
    /// Refuse writes even if the disk takes them.
    pub read_only: bool,
    /// Size of a logical block in bytes, if it is to be greater than what the disk itself says.
    pub logical_block_size: Option<u32>,
    /// Size of a physical block in bytes, if it is to differ from what the disk itself says.
    pub physical_block_size: Option<u32>,
    /// Unit in which the driver is asked to discard, in bytes, if it is to be greater than what the disk itself says.
    pub discard_granularity: Option<u32>,
    /// What the guest is told when the host fails a request.
    pub error_policy: ErrorPolicy,
    /// How fast the disk may be used.
    pub rate_limit: RateLimit,
}

impl Default for BlkConfig {
    fn default() -> Self {
        Self {
            serial: String::new(),
            queues: 1,
            queue_size: 256,
            read_only: false,
            logical_block_size: None,
            physical_block_size: None,
            error_policy: ErrorPolicy::Report,
            rate_limit: RateLimit::default(),
            discard_granularity: None,
        }
    }
}

impl BlkConfig {
    pub(super) fn queue_sizes(&self) -> Vec<u16> {
        let size = self.queue_size.clamp(*QUEUE_SIZES.start(), *QUEUE_SIZES.end()).next_power_of_two();
        vec![size; usize::from(self.queues.clamp(1, MAX_QUEUES))]
    }

    /// Whether the guest may not write.
    pub(super) fn is_read_only(&self, disk: &DiskInfo) -> bool {
        self.read_only || disk.read_only
    }

    pub(super) fn features(&self, disk: &DiskInfo) -> u64 {
        let mut features = SEG_MAX | BLK_SIZE | TOPOLOGY | FLUSH | RING_EVENT_IDX | RING_INDIRECT_DESC;
        if self.queue_sizes().len() > 1 {
            features |= MQ;
        }
        if self.is_read_only(disk) {
            return features | RO;
        }
        if disk.discard.is_some() {
            features |= DISCARD;
        }
        if disk.write_zeroes.is_some() {
            features |= WRITE_ZEROES;
        }
        features | CONFIG_WCE
    }

    fn logical_block(&self, disk: &DiskInfo) -> u32 {
        let wanted = self.logical_block_size.filter(|size| size.is_power_of_two());
        wanted.unwrap_or(0).max(disk.logical_block_size).max(512)
    }

    /// The configuration space, `struct virtio_blk_config`.
    pub(super) fn space(&self, disk: &DiskInfo, writeback: bool) -> ConfigSpace {
        let sizes = self.queue_sizes();
        let segments = sizes.first().map_or(4, |size| usize::from(*size)).min(MAX_SEGMENTS);
        // A chain also holds the header and the status.
        let segments = u32::try_from(segments.saturating_sub(2)).unwrap_or(1);
        let queues = u16::try_from(sizes.len()).unwrap_or(MAX_QUEUES);
        let logical = self.logical_block(disk);
        let wanted = self.physical_block_size.filter(|size| size.is_power_of_two());
        let physical = wanted.unwrap_or(disk.physical_block_size).max(logical);
        let per_physical = physical.checked_div(logical).unwrap_or(1).max(1);
        let exponent = u8::try_from(per_physical.ilog2()).unwrap_or(0);
        let min_io = u16::try_from(per_physical).unwrap_or(1);

        let mut space = ConfigSpace::default();
        space
            .put(0, &(disk.size_bytes / SECTOR).to_le_bytes())
            .put(12, &segments.to_le_bytes())
            .put(20, &logical.to_le_bytes())
            .put(24, &[exponent])
            .put(26, &min_io.to_le_bytes())
            .put(32, &[u8::from(writeback)])
            .put(34, &queues.to_le_bytes())
            .put(56, &[0; 4]);
        if let Some(discard) = disk.discard {
            let wanted = self.discard_granularity.unwrap_or(0);
            let granularity = discard.granularity.max(logical).max(wanted) / 512;
            space
                .put(36, &sectors(discard.max_bytes).to_le_bytes())
                .put(40, &1u32.to_le_bytes())
                .put(44, &granularity.to_le_bytes());
        }
        if let Some(zeroes) = disk.write_zeroes {
            space
                .put(48, &sectors(zeroes.max_bytes).to_le_bytes())
                .put(52, &1u32.to_le_bytes())
                .put(56, &[u8::from(zeroes.may_unmap)]);
        }
        space
    }
}

/// Greatest number of sectors of one range that is at most `bytes` long.
pub(super) fn sectors(bytes: u64) -> u32 {
    u32::try_from(bytes / SECTOR).unwrap_or(u32::MAX)
}
