//! bzImage kernels: the protected-mode part goes to its preferred address, or lower where RAM ends before that.

use std::fs::File;

use linux_loader::bootparam::setup_header;
use vm_memory::ByteValued;

use super::file::{length, load_at, read_at};
use super::{BootError, Entry, LoadedKernel};
use crate::GuestRam;
use crate::layout::{KERNEL_MIN, RamLayout};

/// File offset of the setup header (Linux boot.rst, "Details of Header Fields").
const SETUP_HEADER: u64 = 0x1F1;
/// File offset that the header's end is given relative to, by the second byte of the jump at 0x200.
const HEADER_BASE: u64 = 0x202;
const HDRS: u32 = 0x5372_6448;
const BOOT_FLAG: u16 = 0xAA55;
/// Protocol 2.12, Linux 3.8: the first with `xloadflags`.
const MIN_VERSION: u16 = 0x020C;
const LOADED_HIGH: u8 = 1;
const XLF_KERNEL_64: u16 = 1;
/// The 64-bit entry lies this far into the protected-mode kernel.
const ENTRY_64: u64 = 0x200;
const SECTOR: u64 = 512;
const HEADER: &str = "the kernel's setup header";

pub(super) fn is_bzimage(file: &File) -> Result<bool, BootError> {
    let mut magic = [0; 4];
    Ok(read_at(file, &mut magic, HEADER_BASE, HEADER)? && u32::from_le_bytes(magic) == HDRS)
}

pub(super) fn load(mem: &GuestRam, file: &File, ram: &RamLayout) -> Result<LoadedKernel, BootError> {
    let file_length = length(file, HEADER)?;
    let mut header = read_header(file, file_length)?;
    let offset = match header.setup_sects {
        0 => 5 * SECTOR,
        n => (u64::from(n) + 1) * SECTOR,
    };
    // Signatures and padding may follow the image; the size in 16-byte paragraphs leaves them out.
    let size = u64::from(header.syssize) * 16;
    if size <= ENTRY_64 {
        return Err(BootError::CorruptBzImage {
            reason: "its size field leaves no room for the 64-bit entry",
        });
    }
    if offset + size > file_length {
        let what = "its protected-mode part";
        return Err(BootError::Truncated { what, needed: offset + size, length: file_length });
    }
    let span = size.max(header.init_size.into());
    let start = load_address(&header, span, ram)?;
    load_at(mem, start, file, offset, size, "the kernel")?;
    header.code32_start = u32::try_from(start).unwrap_or(header.code32_start);
    Ok(LoadedKernel {
        highest: start + span,
        initrd_limit: ram.low_end().min(u64::from(header.initrd_addr_max) + 1),
        cmdline_limit: usize::try_from(header.cmdline_size).unwrap_or(usize::MAX),
        entry: Entry::Linux64 { addr: start + ENTRY_64, setup_header: Box::new(header) },
    })
}

/// Reads the part of the setup header that this kernel's version has; the rest stays zero.
fn read_header(file: &File, file_length: u64) -> Result<setup_header, BootError> {
    let mut jump = [0; 2];
    let mut header = setup_header::default();
    let found = read_at(file, &mut jump, HEADER_BASE - 2, HEADER)?;
    let header_end = HEADER_BASE + u64::from(jump[1]);
    let room = header.as_slice().len();
    let size = usize::try_from(header_end - SETUP_HEADER).map_or(room, |size| size.min(room));
    let part = header.as_mut_slice().get_mut(..size).unwrap_or_default();
    if !found || !read_at(file, part, SETUP_HEADER, HEADER)? {
        let what = "its setup header";
        return Err(BootError::Truncated { what, needed: header_end, length: file_length });
    }
    check_header(&header)?;
    Ok(header)
}

fn check_header(header: &setup_header) -> Result<(), BootError> {
    if header.header != HDRS || header.boot_flag != BOOT_FLAG {
        return Err(BootError::CorruptBzImage { reason: "its setup header lacks the boot signature" });
    }
    if header.version < MIN_VERSION {
        let reason = "its boot protocol is older than 2.12 (Linux 3.8)";
        return Err(BootError::UnsupportedBzImage { reason });
    }
    if header.loadflags & LOADED_HIGH == 0 {
        return Err(BootError::UnsupportedBzImage { reason: "it is a zImage, made to load below 640 KiB" });
    }
    if header.xloadflags & XLF_KERNEL_64 == 0 {
        return Err(BootError::UnsupportedBzImage {
            reason: "it has no 64-bit entry; it may be a 32-bit kernel",
        });
    }
    Ok(())
}

/// The preferred address, or for a relocatable kernel the lowest aligned one when RAM is short.
fn load_address(header: &setup_header, span: u64, ram: &RamLayout) -> Result<u64, BootError> {
    let fits =
        |start: u64| start >= KERNEL_MIN && start.checked_add(span).is_some_and(|end| end <= ram.low_end());
    let preferred = header.pref_address;
    if fits(preferred) {
        return Ok(preferred);
    }
    let alignment = u64::from(header.kernel_alignment);
    let needed = if header.relocatable_kernel != 0 && alignment.is_power_of_two() {
        let lowest = KERNEL_MIN.next_multiple_of(alignment);
        if fits(lowest) {
            return Ok(lowest);
        }
        lowest.saturating_add(span)
    } else if preferred < KERNEL_MIN {
        return Err(BootError::TooLow { start: preferred });
    } else {
        preferred.saturating_add(span)
    };
    Err(BootError::KernelTooLarge { needed, available: ram.low_end() })
}
