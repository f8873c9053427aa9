//! What core files say of a processor.

use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};

use crate::vcpu::VcpuState;

/// IA32_KERNEL_GS_BASE (Intel SDM vol. 4, table 2-2).
const KERNEL_GS_BASE: u32 = 0xc000_0102;

/// A segment or descriptor table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) selector: u16,
    pub(super) limit: u32,
    /// The upper half of the descriptor, without its address and limit.
    pub(super) flags: u32,
    pub(super) base: u64,
}

/// Registers of a processor.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    pub(super) general: kvm_regs,
    pub(super) cs: Segment,
    pub(super) ds: Segment,
    pub(super) es: Segment,
    pub(super) fs: Segment,
    pub(super) gs: Segment,
    pub(super) ss: Segment,
    pub(super) ldt: Segment,
    pub(super) tr: Segment,
    pub(super) gdt: Segment,
    pub(super) idt: Segment,
    /// CR0 to CR4.
    pub(super) control: [u64; 5],
    pub(super) kernel_gs_base: u64,
}

impl Registers {
    /// Those of a vCPU.
    pub fn of(state: &VcpuState) -> Self {
        let sregs = &state.sregs.0;
        Self {
            general: state.regs.0,
            cs: segment(&sregs.cs),
            ds: segment(&sregs.ds),
            es: segment(&sregs.es),
            fs: segment(&sregs.fs),
            gs: segment(&sregs.gs),
            ss: segment(&sregs.ss),
            ldt: segment(&sregs.ldt),
            tr: segment(&sregs.tr),
            gdt: table(&sregs.gdt),
            idt: table(&sregs.idt),
            control: [sregs.cr0, 0, sregs.cr2, sregs.cr3, sregs.cr4],
            kernel_gs_base: state.msrs.get(&KERNEL_GS_BASE).copied().unwrap_or(0),
        }
    }
}

/// A segment with the bits of its descriptor (Intel SDM vol. 3, figure 3-8).
fn segment(segment: &kvm_segment) -> Segment {
    let bits = [
        (segment.type_, 8),
        (segment.s, 12),
        (segment.dpl, 13),
        (segment.present, 15),
        (segment.avl, 20),
        (segment.l, 21),
        (segment.db, 22),
        (segment.g, 23),
    ];
    let flags = bits.iter().fold(0, |flags, (value, shift)| flags | u32::from(*value) << shift);
    Segment { selector: segment.selector, limit: segment.limit, flags, base: segment.base }
}

fn table(table: &kvm_dtable) -> Segment {
    Segment { limit: table.limit.into(), base: table.base, ..Segment::default() }
}
