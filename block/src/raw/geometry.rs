//! Sizes, blocks and abilities of files and block devices.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::Ordering;

use super::RawOptions;
use crate::disk::{DiscardLimits, DiskError, DiskInfo, WriteZeroesLimits};
use crate::sys;
use crate::target::{Kind, Target};

/// Longest discard or write-zeroes passed on in one piece: keeps one request from holding up a
/// queue for long, and virtio's 32-bit sector counts are far above it.
const MAX_RANGE: u64 = 1 << 30;
const SECTOR: u32 = 512;

/// What the open file is, as a disk.
pub(super) fn info(target: &Target, options: RawOptions) -> Result<DiskInfo, DiskError> {
    let (logical, physical, device_read_only) = blocks(target)?;
    let size_bytes = current_size(target, logical)?;
    if size_bytes == 0 {
        return Err(DiskError::Geometry { path: target.path.clone(), reason: "it is empty" });
    }
    let device = Device::look(target);
    let zeroes = WriteZeroesLimits { max_bytes: MAX_RANGE, may_unmap: device.discard.is_some() };
    Ok(DiskInfo {
        size_bytes,
        logical_block_size: logical,
        physical_block_size: physical,
        read_only: options.read_only || device_read_only,
        discard: device.discard,
        write_zeroes: Some(zeroes),
        rotational: device.rotational,
        write_cache: !options.cache.is_through(),
    })
}

/// Logical and physical block size, and whether a device refuses writes.
fn blocks(target: &Target) -> Result<(u32, u32, bool), DiskError> {
    let (logical, physical, read_only) = match target.kind {
        Kind::Device => {
            let geometry = sys::device_geometry(&target.file).map_err(target.error("ask for the size of"))?;
            (geometry.logical, geometry.physical, geometry.read_only)
        }
        Kind::Regular => {
            let meta = target.file.metadata().map_err(target.error("look at"))?;
            let logical = target.direct.map_or(SECTOR, |align| align.offset.max(SECTOR));
            (logical, u32::try_from(meta.blksize()).unwrap_or(SECTOR).min(64 << 10), false)
        }
    };
    let fine = |size: u32| size.is_power_of_two() && size >= SECTOR;
    if !fine(logical) {
        let reason = "its block size is not a power of two of at least 512";
        return Err(DiskError::Geometry { path: target.path.clone(), reason });
    }
    Ok((logical, if fine(physical) { physical.max(logical) } else { logical }, read_only))
}

/// The size now, in whole blocks.
pub(super) fn current_size(target: &Target, block: u32) -> Result<u64, DiskError> {
    let size = match target.kind {
        Kind::Regular => target.file.metadata().map_err(target.error("read the size of"))?.len(),
        Kind::Device => sys::device_geometry(&target.file).map_err(target.error("ask for the size of"))?.size,
    };
    target.zeroes_from.store(size, Ordering::Relaxed);
    match size.checked_next_multiple_of(u64::from(block)) {
        Some(size) if i64::try_from(size).is_ok() => Ok(size),
        _ => Err(DiskError::Geometry { path: target.path.clone(), reason: "it is too large" }),
    }
}

/// What sysfs knows about a device.
struct Device {
    discard: Option<DiscardLimits>,
    rotational: Option<bool>,
}

impl Device {
    fn look(target: &Target) -> Device {
        let Ok(meta) = target.file.metadata() else { return Device { discard: None, rotational: None } };
        match target.kind {
            Kind::Regular => {
                let granularity = u32::try_from(meta.blksize()).ok().filter(|size| size.is_power_of_two());
                let granularity = granularity.unwrap_or(SECTOR).max(SECTOR);
                Device {
                    discard: Some(DiscardLimits { max_bytes: MAX_RANGE, granularity }),
                    rotational: None,
                }
            }
            Kind::Device => Device::from_sysfs(meta.rdev()),
        }
    }

    fn from_sysfs(device: u64) -> Device {
        let (major, minor) = (libc::major(device), libc::minor(device));
        let read = |name: &str| -> Option<u64> {
            // A partition has no queue of its own; its disk is the folder above.
            ["queue", "../queue"].iter().find_map(|queue| {
                let path = format!("/sys/dev/block/{major}:{minor}/{queue}/{name}");
                fs::read_to_string(path).ok()?.trim().parse().ok()
            })
        };
        let granularity = read("discard_granularity").and_then(|size| u32::try_from(size).ok());
        let discard = read("discard_max_bytes").filter(|&max| max > 0).map(|max| DiscardLimits {
            max_bytes: max.min(MAX_RANGE),
            granularity: granularity.filter(|size| size.is_power_of_two()).unwrap_or(SECTOR).max(SECTOR),
        });
        Device { discard, rotational: read("rotational").map(|value| value != 0) }
    }
}
