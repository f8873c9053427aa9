//! Guest memory in the file of a snapshot.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use devices::GuestRam;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress, ReadVolatile};

use super::SnapshotError;
use super::crc;
use super::directory::name;
use super::index::{Extent, Index};
use super::layout::Layout;

/// The memory file of a snapshot, and which pages of it are data.
#[derive(Debug)]
pub(super) struct SavedMemory {
    /// The snapshot's directory.
    pub(super) snapshot: PathBuf,
    pub(super) file: File,
    pub(super) index: Index,
}

impl SavedMemory {
    /// Reads an extent, which is to be as it was written.
    pub(super) fn check(&self, extent: Extent) -> Result<(), SnapshotError> {
        self.compare(extent, crc_of(&self.file, extent))
    }

    /// The same of all extents.
    pub(super) fn check_all(&self) -> Result<(), SnapshotError> {
        self.index.0.iter().try_for_each(|extent| self.check(*extent))
    }

    /// Copies all pages into guest memory, where they are to be as they were written.
    pub(super) fn copy_to(&self, layout: &Layout, ram: &GuestRam) -> Result<(), SnapshotError> {
        self.index
            .0
            .iter()
            .try_for_each(|extent| self.compare(*extent, copy_in(&self.file, layout, ram, *extent)))
    }

    /// Fills `bytes` with what is at `offset`.
    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), SnapshotError> {
        self.file.read_exact_at(bytes, offset).map_err(self.unreadable())
    }

    fn unreadable(&self) -> impl FnOnce(io::Error) -> SnapshotError + use<> {
        SnapshotError::file("read", &self.snapshot.join(name::MEMORY))
    }

    fn compare(&self, extent: Extent, found: io::Result<u32>) -> Result<(), SnapshotError> {
        let found = found.map_err(self.unreadable())?;
        if found == extent.crc {
            return Ok(());
        }
        let why = format!("its memory was altered at {:#x}", extent.offset);
        Err(SnapshotError::Damaged { path: self.snapshot.clone(), why })
    }
}

/// CRC-32 of an extent of a file.
pub(super) fn crc_of(file: &File, extent: Extent) -> io::Result<u32> {
    crc::of_part(file, extent.offset..extent.offset + extent.bytes())
}

/// Copies an extent of a file into guest memory, and gives back the CRC-32 of what is there then.
fn copy_in(mut file: &File, layout: &Layout, ram: &GuestRam, extent: Extent) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    file.seek(SeekFrom::Start(extent.offset))?;
    let mut done = 0;
    while done < extent.bytes() {
        let (address, room) = layout
            .address(extent.offset + done)
            .ok_or_else(|| io::Error::other("an extent lies in no memory"))?;
        let step = room.min(extent.bytes() - done).min(buffer.len() as u64);
        let length = usize::try_from(step).unwrap_or(0);
        let region = ram.find_region(address).ok_or_else(|| io::Error::other("there is no such memory"))?;
        let inside = MemoryRegionAddress(address.0 - region.start_addr().0);
        let slice = region.get_slice(inside, length).map_err(io::Error::other)?;
        file.read_exact_volatile(&mut slice.offset(0).map_err(io::Error::other)?)
            .map_err(io::Error::other)?;
        let part = buffer.get_mut(..length).unwrap_or_default();
        slice.copy_to(part);
        hasher.update(part);
        done += step;
    }
    Ok(hasher.finalize())
}
