//! Reading kernel files: headers into small buffers, contents straight into guest memory.

use std::fs::File;
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::seek_hole::SeekHole;

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
///
/// Holes of the file are left out, because guest memory is zero already: a kernel that was unpacked from a vmlinuz
/// holds its bss, a quarter of it all, as zeros, which a good copy of it keeps as a hole.
pub(super) fn load_at(
    mem: &GuestRam,
    addr: u64,
    file: &File,
    offset: u64,
    size: u64,
    what: &'static str,
) -> Result<(), BootError> {
    let failed = |source| BootError::Read { what, source };
    // Another descriptor of the same open file, because seeking for data wants one that is ours.
    let mut file = file.try_clone().map_err(failed)?;
    let end = offset.saturating_add(size);
    let mut left = offset..end;
    while let Some(data) = next_data(&mut file, &left).map_err(failed)? {
        file.seek(SeekFrom::Start(data.start)).map_err(failed)?;
        let length = usize::try_from(data.end - data.start).unwrap_or(usize::MAX);
        mem.read_exact_volatile_from(GuestAddress(addr + (data.start - offset)), &mut file, length)
            .map_err(|source| BootError::Load { what, source })?;
        left.start = data.end;
    }
    Ok(())
}

/// The first part of `range` that is not a hole of the file, or the whole range where the host cannot tell.
fn next_data(file: &mut File, range: &Range<u64>) -> io::Result<Option<Range<u64>>> {
    if range.is_empty() {
        return Ok(None);
    }
    let start = match file.seek_data(range.start) {
        Ok(Some(start)) if start < range.end => start,
        Ok(_) => return Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(Some(range.clone())),
        Err(error) => return Err(error),
    };
    // A file system that says there is nothing between the two is not asked again: reading never goes backwards.
    let hole = file.seek_hole(start)?.filter(|hole| *hole > start);
    Ok(Some(start..hole.map_or(range.end, |hole| hole.min(range.end))))
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

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: usize = 4096;

    /// `pages` as a file (where `None`, a hole) from its offset 100 into memory full of ones, which this gives back.
    fn loaded(pages: &[Option<u8>]) -> Vec<u8> {
        let file = tempfile::tempfile().unwrap();
        let size = pages.len() * PAGE;
        file.set_len(size as u64).unwrap();
        for (page, value) in pages.iter().enumerate() {
            if let Some(value) = value {
                file.write_all_at(&[*value; PAGE], (page * PAGE) as u64).unwrap();
            }
        }
        let mem = GuestRam::from_ranges(&[(GuestAddress(0), size)]).unwrap();
        mem.write_slice(&vec![1; size], GuestAddress(0)).unwrap();
        load_at(&mem, 100, &file, 100, size as u64 - 200, "a test").unwrap();
        let mut found = vec![0; size];
        mem.read_slice(&mut found, GuestAddress(0)).unwrap();
        found
    }

    #[test]
    fn data_between_holes_lands_where_it_belongs_and_holes_are_left_out() {
        let pages = [None, Some(7), None, None, Some(8), Some(9), None, Some(5)];
        let found = loaded(&pages);
        for (page, value) in pages.iter().enumerate() {
            let (begin, end) = (page * PAGE, (page + 1) * PAGE);
            let end = if page == pages.len() - 1 { end - 100 } else { end };
            let wanted = value.unwrap_or(1);
            assert!(found[begin..end].iter().all(|byte| *byte == wanted), "page {page}");
        }
        assert!(
            found[found.len() - 100..].iter().all(|byte| *byte == 1),
            "bytes beyond the end were written"
        );
    }

    #[test]
    fn a_file_may_be_all_data_or_all_hole() {
        assert!(loaded(&[None, None]).iter().all(|byte| *byte == 1));
        let found = loaded(&[Some(3), Some(3)]);
        assert!(found[100..2 * PAGE - 100].iter().all(|byte| *byte == 3));
        assert!(found[..100].iter().all(|byte| *byte == 1));
    }

    #[test]
    fn what_knows_no_holes_is_all_data() {
        let zero = File::open("/dev/zero").unwrap();
        let mem = GuestRam::from_ranges(&[(GuestAddress(0), PAGE)]).unwrap();
        mem.write_slice(&[1; PAGE], GuestAddress(0)).unwrap();
        load_at(&mem, 0, &zero, 0, PAGE as u64, "a test").unwrap();
        let mut found = [1; PAGE];
        mem.read_slice(&mut found, GuestAddress(0)).unwrap();
        assert_eq!(found, [0; PAGE]);
    }
}
