//! Facts of the x86_64 machine: memory layout, CPUID, MSRs, boot protocols, ACPI tables, SMBIOS.
//!
//! Everything here is a plain function over plain data: nothing opens a device, starts a thread or calls KVM. The
//! only I/O is reading a kernel or an initrd from its file straight into guest memory.
//!
//! | module | answers |
//! |---|---|
//! | [`layout`] | at which address is what, and where does RAM lie |
//! | [`topology`] | which APIC id does vCPU *n* have |
//! | [`cpuid`] | what does the guest see of the processor |
//! | [`msr`] | which registers does a vCPU need before its first instruction |
//! | [`boot`] | how does a kernel get into memory and started |
//! | [`acpi`] | what does the guest's operating system learn about the platform |
//! | [`smbios`] | under which name, serial number and UUID does the machine present itself |

pub mod acpi;
pub mod boot;
pub mod cpuid;
pub mod layout;
pub mod msr;
pub mod smbios;
pub mod topology;

/// Guest memory as every module of this crate takes it.
pub type GuestRam = ram::Ram;
