//! Reading kernel files: headers into small buffers, contents straight into guest memory.

use std::fs::File;
use std::io::{ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use vm_memory::{Bytes, GuestAddress};

use super::BootError;
use crate::GuestRam;

/// Length of `file`, be it regular or a block device.
pub(super) fn length(mut file: &File, what: &'static str) -> Result<u64, BootError> {
    file.seek(SeekFrom::End(0)).map_err(|source| BootError::Read { what, source })
}

/// Fills `buffer` from `offset`, or returns false where the file is too short for that.
pub(super) fn read_at(
    file: &File,
    buffer: &mut [u8],
    offset: u64,
    what: &'static str,
) -> Result<bool, BootError> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(source) => Err(BootError::Read { what, source }),
    }
}

/// Reads `size` bytes at `offset` of the file straight into guest memory at `addr`. The caller has checked that the
/// file has them and the guest has room for them.
pub(super) fn load_at(
    mem: &GuestRam,
    addr: u64,
    mut file: &File,
    offset: u64,
    size: u64,
    what: &'static str,
) -> Result<(), BootError> {
    file.seek(SeekFrom::Start(offset)).map_err(|source| BootError::Read { what, source })?;
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    mem.read_exact_volatile_from(GuestAddress(addr), &mut file, size)
        .map_err(|source| BootError::Load { what, source })
}

/// Says what a file that is no kernel looks like.
pub(super) fn unknown_format(file: &File) -> Result<BootError, BootError> {
    const KNOWN: [(&[u8], &str); 8] = [
        (b"\x1f\x8b", "it is gzip-compressed"),
        (b"\x28\xb5\x2f\xfd", "it is zstd-compressed"),
        (b"\xfd7zXZ", "it is xz-compressed"),
        (b"BZh", "it is bzip2-compressed"),
        (b"\x02\x21\x4c\x18", "it is lz4-compressed"),
        (b"QFI\xfb", "it is a qcow2 disk image"),
        (b"0707", "it is a cpio archive, perhaps the initrd"),
        (b"MZ", "it is an EFI program without a Linux boot header"),
    ];
    let mut head = [0; 8];
    if !read_at(file, &mut head, 0, "the kernel's header")? {
        return Ok(BootError::UnknownFormat { found: "it has fewer than 8 bytes" });
    }
    let known = KNOWN.iter().find(|(magic, _)| head.starts_with(magic));
    let found = known.map_or("its header is of no known kind", |(_, name)| name);
    Ok(BootError::UnknownFormat { found })
}
