//! Zero page, page tables and GDT for the 64-bit Linux entry.

use linux_loader::bootparam::{boot_e820_entry, boot_params, setup_header};
use vm_memory::{Bytes, GuestAddress};

use super::{BootError, StartInfo};
use crate::GuestRam;
use crate::layout::{BOOT_GDT, BOOT_PML4, CMDLINE, LOW_RAM_END, PAGE_SIZE, ZERO_PAGE};

/// "Undefined" boot loader id (Linux boot.rst, `type_of_loader`).
const LOADER_UNDEFINED: u8 = 0xFF;
const PRESENT_WRITABLE: u64 = 0b11;
const LARGE_PAGE: u64 = 1 << 7;
const LARGE_PAGE_SIZE: u64 = 2 << 20;
const GIB: u64 = 1 << 30;

/// Flat descriptors at the selectors that boot.rst prescribes: `__BOOT_CS` 0x10, `__BOOT_DS` 0x18; then a TSS.
const GDT: [u64; 5] = [0, 0, 0x00AF_9B00_0000_FFFF, 0x00CF_9300_0000_FFFF, 0x008F_8B00_0000_FFFF];

/// Bytes of the GDT less one, for GDTR.
pub(super) const GDT_LIMIT: u16 = 39;

/// Writes the zero page with `header` completed, the identity page tables of low RAM, and the GDT.
///
/// # Errors
/// Guest memory does not cover the low MiB.
pub fn write_boot_params(
    mem: &GuestRam,
    header: &setup_header,
    info: &StartInfo<'_>,
) -> Result<(), BootError> {
    write_gdt(mem)?;
    write_page_tables(mem)?;
    let mut params = boot_params { hdr: *header, acpi_rsdp_addr: info.rsdp, ..Default::default() };
    params.hdr.type_of_loader = LOADER_UNDEFINED;
    params.hdr.cmd_line_ptr = u32::try_from(CMDLINE).unwrap_or(0);
    if let Some(initrd) = info.initrd {
        params.hdr.ramdisk_image = initrd.addr;
        params.hdr.ramdisk_size = initrd.size;
    }
    let mut table = params.e820_table;
    for (slot, entry) in table.iter_mut().zip(info.ram.e820()) {
        *slot = boot_e820_entry { addr: entry.start, size: entry.size, r#type: entry.kind as u32 };
        params.e820_entries += 1;
    }
    params.e820_table = table;
    mem.write_obj(params, GuestAddress(ZERO_PAGE)).map_err(BootError::WriteBootData)
}

fn write_gdt(mem: &GuestRam) -> Result<(), BootError> {
    write_words(mem, BOOT_GDT, GDT)
}

/// Maps low RAM onto itself with 2 MiB pages: the kernel builds its own tables before it reads anything else.
fn write_page_tables(mem: &GuestRam) -> Result<(), BootError> {
    let pdpt = BOOT_PML4 + PAGE_SIZE;
    let directories = pdpt + PAGE_SIZE;
    write_words(mem, BOOT_PML4, [pdpt | PRESENT_WRITABLE])?;
    let gibs = LOW_RAM_END / GIB;
    write_words(mem, pdpt, (0..gibs).map(|n| (directories + n * PAGE_SIZE) | PRESENT_WRITABLE))?;
    let pages = LOW_RAM_END / LARGE_PAGE_SIZE;
    write_words(mem, directories, (0..pages).map(|n| (n * LARGE_PAGE_SIZE) | PRESENT_WRITABLE | LARGE_PAGE))
}

fn write_words(mem: &GuestRam, addr: u64, words: impl IntoIterator<Item = u64>) -> Result<(), BootError> {
    let bytes: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    mem.write_slice(&bytes, GuestAddress(addr)).map_err(BootError::WriteBootData)
}
