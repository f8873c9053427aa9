//! What can be wrong with a kernel, an initrd or a command line.

use std::io;

use vm_memory::GuestMemoryError;

/// Why direct boot cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// A read from the kernel or initrd file failed.
    #[error("cannot read {what}")]
    Read {
        /// Which part of the file.
        what: &'static str,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The data could not be brought into guest memory.
    #[error("cannot load {what} into guest memory")]
    Load {
        /// Which part of the file.
        what: &'static str,
        /// What failed.
        #[source]
        source: GuestMemoryError,
    },
    /// The boot data below 1 MiB could not be written.
    #[error("cannot write the boot data into low guest memory")]
    WriteBootData(#[source] GuestMemoryError),
    /// The file ends before something its headers promise.
    #[error("the kernel is cut short: {what} ends at byte {needed}, the file has {length} bytes")]
    Truncated {
        /// What is missing.
        what: &'static str,
        /// Length the file would need.
        needed: u64,
        /// Length it has.
        length: u64,
    },
    /// Neither ELF nor bzImage.
    #[error(
        "this is no kernel that can be booted: {found}; give an ELF vmlinux with a PVH note or a bzImage (vmlinuz)"
    )]
    UnknownFormat {
        /// What the file looks like instead.
        found: &'static str,
    },
    /// An ELF file for another machine.
    #[error("the ELF kernel is not for this machine: {reason}")]
    WrongElf {
        /// What is different.
        reason: &'static str,
    },
    /// The ELF headers contradict themselves.
    #[error("the ELF kernel is corrupt: {reason}")]
    CorruptElf {
        /// What is wrong.
        reason: &'static str,
    },
    /// No `XEN_ELFNOTE_PHYS32_ENTRY`.
    #[error(
        "the ELF kernel has no PVH entry note: build it with CONFIG_PVH=y, or give its bzImage (vmlinuz)"
    )]
    NoPvhNote,
    /// Two segments claim the same memory.
    #[error("the ELF kernel is corrupt: its segments at {first:#x} and {second:#x} overlap")]
    OverlappingSegments {
        /// Physical address of the lower one.
        first: u64,
        /// Physical address of the higher one.
        second: u64,
    },
    /// A segment reaches below 1 MiB.
    #[error(
        "the kernel wants to lie at {start:#x}, below 1 MiB, where the boot data and firmware tables are"
    )]
    TooLow {
        /// Physical address of the segment.
        start: u64,
    },
    /// Not enough low RAM.
    #[error(
        "the kernel needs memory up to {needed:#x}, but the guest's low memory ends at {available:#x}: give the guest more memory"
    )]
    KernelTooLarge {
        /// First address above the kernel.
        needed: u64,
        /// End of low RAM.
        available: u64,
    },
    /// A bzImage whose header cannot be used.
    #[error("the bzImage is corrupt: {reason}")]
    CorruptBzImage {
        /// What is wrong.
        reason: &'static str,
    },
    /// A bzImage too old or without a 64-bit entry.
    #[error("the bzImage cannot be booted here: {reason}")]
    UnsupportedBzImage {
        /// What it lacks.
        reason: &'static str,
    },
    /// The initrd file is empty.
    #[error("the initrd is empty")]
    EmptyInitrd,
    /// No room between the kernel and the end of low RAM.
    #[error(
        "the initrd of {size} bytes does not fit between the kernel, up to {kernel_end:#x}, and {limit:#x}: give the guest more memory"
    )]
    InitrdTooLarge {
        /// Size of the initrd.
        size: u64,
        /// First address above the kernel.
        kernel_end: u64,
        /// Address the initrd has to end at or below.
        limit: u64,
    },
    /// The command line is too long.
    #[error("the kernel command line has {length} bytes, this kernel takes {limit}")]
    CmdlineTooLong {
        /// Its length.
        length: usize,
        /// The most that is possible.
        limit: usize,
    },
    /// The command line has a NUL in it.
    #[error("the kernel command line contains a NUL byte")]
    CmdlineHasNul,
}
