//! Direct boot: a kernel file into guest memory, and the state a vCPU starts it with.
//!
//! Two protocols are spoken. An ELF kernel with a Xen PVH note starts in 32-bit protected mode with `ebx` pointing to
//! `hvm_start_info` (xen/include/public/arch-x86/hvm/start_info.h). A bzImage starts at its 64-bit entry with `rsi`
//! pointing to `boot_params` (Linux Documentation/arch/x86/boot.rst) and unpacks itself.
//!
//! Order of use: [`load_kernel`], [`load_initrd`], [`write_cmdline`], [`write_start`], [`vcpu_regs`]. Loading only
//! needs guest memory and the file, so it can run beside the setting up of devices. Guest memory is expected to be
//! zero: a kernel's bss is not cleared again.

mod bzimage;
mod elf;
mod error;
mod file;
mod initrd;
mod linux64;
mod pvh;
mod regs;

#[cfg(test)]
mod tests;

use std::fs::File;

use linux_loader::bootparam::setup_header;
use vm_memory::{Bytes, GuestAddress};

pub use error::BootError;
pub use initrd::{InitrdSpan, load_initrd};
pub use linux64::write_boot_params;
pub use pvh::write_pvh_start_info;
pub use regs::{SregsPatch, vcpu_regs};

use crate::GuestRam;
use crate::layout::{CMDLINE, CMDLINE_ROOM, RamLayout};

/// What a kernel file is, going by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelKind {
    /// A 64-bit ELF image, started through its PVH note.
    Elf,
    /// A compressed Linux kernel (vmlinuz).
    BzImage,
}

/// Namespace for looking at kernel files.
#[derive(Debug, Clone, Copy)]
pub struct Kernel;

impl Kernel {
    /// Tells what `file` is by its first bytes; reads nothing into guest memory.
    ///
    /// # Errors
    /// The file cannot be read, or is neither kind.
    pub fn identify(file: &File) -> Result<KernelKind, BootError> {
        if elf::is_elf(file)? {
            Ok(KernelKind::Elf)
        } else if bzimage::is_bzimage(file)? {
            Ok(KernelKind::BzImage)
        } else {
            Err(file::unknown_format(file)?)
        }
    }
}

/// Where and how a kernel is entered.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// PVH: 32-bit protected mode without paging.
    Pvh {
        /// Physical address of the first instruction.
        addr: u32,
    },
    /// The 64-bit Linux entry: long mode, identity mapped.
    Linux64 {
        /// Physical address of the first instruction.
        addr: u64,
        /// The setup header of the file, to be completed and handed back in the zero page.
        setup_header: Box<setup_header>,
    },
}

/// A kernel in guest memory.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedKernel {
    /// How it is entered.
    pub entry: Entry,
    /// First address above everything the kernel occupies until it has taken over memory management.
    pub highest: u64,
    /// Address at or above which the kernel cannot find its initrd.
    pub initrd_limit: u64,
    /// Longest command line it takes, in bytes, without the NUL.
    pub cmdline_limit: usize,
}

/// Loads the kernel in `file` into `mem`, laid out as `ram`.
///
/// # Errors
/// The file is no kernel, is damaged or cut short, has no PVH note (ELF) or no 64-bit entry (bzImage), or does not fit
/// into low RAM. The message names which.
pub fn load_kernel(mem: &GuestRam, file: &File, ram: &RamLayout) -> Result<LoadedKernel, BootError> {
    match Kernel::identify(file)? {
        KernelKind::Elf => elf::load(mem, file, ram),
        KernelKind::BzImage => bzimage::load(mem, file, ram),
    }
}

/// Writes the kernel command line to [`CMDLINE`].
///
/// # Errors
/// It contains a NUL, or is longer than `kernel` takes.
pub fn write_cmdline(mem: &GuestRam, cmdline: &[u8], kernel: &LoadedKernel) -> Result<(), BootError> {
    let room = usize::try_from(CMDLINE_ROOM).unwrap_or(usize::MAX) - 1;
    let limit = kernel.cmdline_limit.min(room);
    if cmdline.len() > limit {
        return Err(BootError::CmdlineTooLong { length: cmdline.len(), limit });
    }
    if cmdline.contains(&0) {
        return Err(BootError::CmdlineHasNul);
    }
    let mut text = Vec::with_capacity(cmdline.len() + 1);
    text.extend_from_slice(cmdline);
    text.push(0);
    mem.write_slice(&text, GuestAddress(CMDLINE)).map_err(BootError::WriteBootData)
}

/// What the kernel is told at its entry, besides the command line at [`CMDLINE`].
#[derive(Debug, Clone, Copy)]
pub struct StartInfo<'a> {
    /// The machine's RAM, for the memory map.
    pub ram: &'a RamLayout,
    /// Address of the ACPI RSDP.
    pub rsdp: u64,
    /// The initrd, if one is loaded.
    pub initrd: Option<InitrdSpan>,
}

/// Writes what the entry of `kernel` expects in memory: PVH start info, or zero page, page tables and GDT.
///
/// # Errors
/// Guest memory does not cover the low MiB.
pub fn write_start(mem: &GuestRam, kernel: &LoadedKernel, info: &StartInfo<'_>) -> Result<(), BootError> {
    match &kernel.entry {
        Entry::Pvh { .. } => write_pvh_start_info(mem, info),
        Entry::Linux64 { setup_header, .. } => write_boot_params(mem, setup_header, info),
    }
}
