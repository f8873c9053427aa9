//! Registers of the boot vCPU at the kernel's first instruction.

use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};

use super::Entry;
use super::linux64::GDT_LIMIT;
use crate::layout::{BOOT_GDT, BOOT_PML4, BOOT_STACK, PVH_START_INFO, ZERO_PAGE};

/// Bit 1 of RFLAGS is always set; interrupts are off.
const RFLAGS: u64 = 2;
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
/// Code, execute and read, accessed.
const CODE: u8 = 0xB;
/// Data, read and write, accessed.
const DATA: u8 = 3;
const BUSY_TSS: u8 = 0xB;
const BOOT_CS: u16 = 0x10;
const BOOT_DS: u16 = 0x18;
const BOOT_TR: u16 = 0x20;

/// Changes the special registers that KVM gave a new vCPU into those of the entry, keeping the rest (APIC base).
pub type SregsPatch = fn(&mut kvm_sregs);

/// General registers for `entry`, and the change to make to the special ones.
#[must_use]
pub fn vcpu_regs(entry: &Entry) -> (kvm_regs, SregsPatch) {
    let regs = kvm_regs { rflags: RFLAGS, ..Default::default() };
    match *entry {
        Entry::Pvh { addr } => (kvm_regs { rip: addr.into(), rbx: PVH_START_INFO, ..regs }, protected_mode),
        Entry::Linux64 { addr, .. } => {
            (kvm_regs { rip: addr, rsi: ZERO_PAGE, rsp: BOOT_STACK, ..regs }, long_mode)
        }
    }
}

/// 32-bit protected mode, no paging, flat segments (Xen docs/misc/pvh.pandoc, "Initial state").
fn protected_mode(sregs: &mut kvm_sregs) {
    sregs.cr0 = CR0_PE | CR0_ET;
    sregs.cr4 = 0;
    sregs.efer = 0;
    set_segments(sregs, code(0));
}

/// 64-bit mode with low RAM mapped onto itself (Linux boot.rst, "64-bit Boot Protocol").
fn long_mode(sregs: &mut kvm_sregs) {
    sregs.cr0 = CR0_PE | CR0_ET | CR0_PG;
    sregs.cr3 = BOOT_PML4;
    sregs.cr4 = CR4_PAE;
    sregs.efer = EFER_LME | EFER_LMA;
    sregs.gdt.base = BOOT_GDT;
    sregs.gdt.limit = GDT_LIMIT;
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
    set_segments(sregs, code(1));
}

fn set_segments(sregs: &mut kvm_sregs, cs: kvm_segment) {
    sregs.cs = cs;
    for segment in [&mut sregs.ds, &mut sregs.es, &mut sregs.ss, &mut sregs.fs, &mut sregs.gs] {
        *segment = flat(BOOT_DS, DATA);
    }
    sregs.tr =
        kvm_segment { limit: 0x67, selector: BOOT_TR, type_: BUSY_TSS, present: 1, ..Default::default() };
}

fn code(long: u8) -> kvm_segment {
    kvm_segment { l: long, db: 1 - long, ..flat(BOOT_CS, CODE) }
}

fn flat(selector: u16, type_: u8) -> kvm_segment {
    kvm_segment { limit: u32::MAX, selector, type_, present: 1, s: 1, db: 1, g: 1, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pvh_starts_in_flat_protected_mode() {
        let (regs, patch) = vcpu_regs(&Entry::Pvh { addr: 0x100_0000 });
        let mut sregs = kvm_sregs { apic_base: 0xFEE0_0900, ..Default::default() };
        patch(&mut sregs);
        assert_eq!((regs.rip, regs.rbx, regs.rflags), (0x100_0000, PVH_START_INFO, 2));
        assert_eq!((sregs.cr0, sregs.cs.db, sregs.cs.l, sregs.cs.limit), (0x11, 1, 0, u32::MAX));
        assert_eq!((sregs.apic_base, sregs.tr.limit), (0xFEE0_0900, 0x67));
    }

    #[test]
    fn linux_starts_in_long_mode() {
        let setup_header = Box::default();
        let (regs, patch) = vcpu_regs(&Entry::Linux64 { addr: 0x100_0200, setup_header });
        let mut sregs = kvm_sregs::default();
        patch(&mut sregs);
        assert_eq!((regs.rip, regs.rsi), (0x100_0200, ZERO_PAGE));
        assert_eq!((sregs.efer, sregs.cr3, sregs.cs.l, sregs.cs.db), (0x500, BOOT_PML4, 1, 0));
        assert_eq!(sregs.cs.selector, 0x10);
    }
}
