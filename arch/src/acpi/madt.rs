//! The multiple APIC description table (ACPI 6.5 §5.2.12).

use crate::layout::{IOAPIC_BASE, IOAPIC_ID, LAPIC_BASE, SCI_IRQ};
use crate::topology::Topology;

/// KVM's interrupt controller has the two 8259s as well.
const PCAT_COMPAT: u32 = 1;
const ENABLED: u32 = 1;
/// Active high (1) and level triggered (3 << 2): how KVM's I/O APIC takes the SCI. Without this entry an ISA
/// interrupt is edge triggered. IRQ 0 has no entry: there is no PIT whose output would need one.
const ACTIVE_HIGH_LEVEL: u16 = 0b1101;
const ALL_PROCESSORS: u8 = 0xFF;
const LINT1: u8 = 1;
/// Ids from here on do not fit a local APIC entry.
const FIRST_X2APIC_ID: u32 = 255;

/// Everything after the table header.
pub(super) fn body(topology: &Topology) -> Vec<u8> {
    let mut body = Vec::with_capacity(64 + 8 * topology.vcpus() as usize);
    body.extend_from_slice(&u32::try_from(LAPIC_BASE).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(&PCAT_COMPAT.to_le_bytes());
    for uid in 0..topology.vcpus() {
        processor(&mut body, uid, topology.apic_id(uid));
    }
    io_apic(&mut body);
    sci_override(&mut body);
    nmi_sources(&mut body, topology);
    body
}

fn processor(body: &mut Vec<u8>, uid: u32, apic_id: u32) {
    match (u8::try_from(uid), u8::try_from(apic_id)) {
        (Ok(uid), Ok(id)) if apic_id < FIRST_X2APIC_ID => {
            body.extend_from_slice(&[0, 8, uid, id]);
            body.extend_from_slice(&ENABLED.to_le_bytes());
        }
        _ => {
            body.extend_from_slice(&[9, 16, 0, 0]);
            for field in [apic_id, ENABLED, uid] {
                body.extend_from_slice(&field.to_le_bytes());
            }
        }
    }
}

fn io_apic(body: &mut Vec<u8>) {
    body.extend_from_slice(&[1, 12, IOAPIC_ID, 0]);
    body.extend_from_slice(&u32::try_from(IOAPIC_BASE).unwrap_or(0).to_le_bytes());
    body.extend_from_slice(&0u32.to_le_bytes());
}

fn sci_override(body: &mut Vec<u8>) {
    body.extend_from_slice(&[2, 10, 0, u8::try_from(SCI_IRQ).unwrap_or(0)]);
    body.extend_from_slice(&SCI_IRQ.to_le_bytes());
    body.extend_from_slice(&ACTIVE_HIGH_LEVEL.to_le_bytes());
}

/// NMI comes in at LINT1 of every processor, as KVM wires it.
fn nmi_sources(body: &mut Vec<u8>, topology: &Topology) {
    body.extend_from_slice(&[4, 6, ALL_PROCESSORS, 0, 0, LINT1]);
    if topology.needs_x2apic() {
        body.extend_from_slice(&[0xA, 12, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, LINT1, 0, 0, 0]);
    }
}
