//! `hvm_start_info` and what hangs on it, for the PVH entry.

use linux_loader::start_info::{
    XEN_HVM_START_MAGIC_VALUE, hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info,
};
use vm_memory::{Bytes, GuestAddress};

use super::{BootError, StartInfo};
use crate::GuestRam;
use crate::layout::{CMDLINE, PVH_MEMMAP, PVH_MODLIST, PVH_START_INFO};

/// Writes version 1 of the start info, the memory map and, with an initrd, the module list.
///
/// # Errors
/// Guest memory does not cover the low MiB.
pub fn write_pvh_start_info(mem: &GuestRam, info: &StartInfo<'_>) -> Result<(), BootError> {
    let map = info.ram.e820();
    let mut start = hvm_start_info {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: 1,
        cmdline_paddr: CMDLINE,
        rsdp_paddr: info.rsdp,
        memmap_paddr: PVH_MEMMAP,
        memmap_entries: u32::try_from(map.len()).unwrap_or(0),
        ..Default::default()
    };
    let write = |result: Result<(), _>| result.map_err(BootError::WriteBootData);
    if let Some(initrd) = info.initrd {
        start.nr_modules = 1;
        start.modlist_paddr = PVH_MODLIST;
        let module =
            hvm_modlist_entry { paddr: initrd.addr.into(), size: initrd.size.into(), ..Default::default() };
        write(mem.write_obj(module, GuestAddress(PVH_MODLIST)))?;
    }
    let mut addr = PVH_MEMMAP;
    for entry in map {
        // The types of the PVH memory map are those of e820.
        let entry = hvm_memmap_table_entry {
            addr: entry.start,
            size: entry.size,
            type_: entry.kind as u32,
            ..Default::default()
        };
        write(mem.write_obj(entry, GuestAddress(addr)))?;
        addr += size_of::<hvm_memmap_table_entry>() as u64;
    }
    write(mem.write_obj(start, GuestAddress(PVH_START_INFO)))
}
