//! The hypervisor's own leaves from 0x40000000, and the leaves that tell frequencies.

use super::leaves::Leaves;
use super::{CpuidConfig, Vendor, hyperv};

const SIGNATURE: u32 = 0x4000_0000;
const FEATURES: u32 = 0x4000_0001;
/// "Timing" leaf first defined by VMware: EAX = TSC kHz, EBX = local APIC timer kHz.
const TIMING: u32 = 0x4000_0010;
const CRYSTAL: u32 = 0x15;
const FREQUENCIES: u32 = 0x16;
const MSI_EXT_DEST_ID: u32 = 1 << 15;
/// KVM_FEATURE_PV_UNHALT: a vCPU that waits for a spin lock sleeps until it is kicked.
const PV_UNHALT: u32 = 1 << 7;
/// KVM_HINTS_REALTIME, in EDX.
const REALTIME: u32 = 1;

/// Adds a feature that is the VMM's to give, so KVM does not list it.
pub(super) fn allow_msi_ext_dest_id(leaves: &mut Leaves) {
    if let Some(features) = leaves.get_mut(FEATURES, 0) {
        features.eax |= MSI_EXT_DEST_ID;
    }
}

pub(super) fn describe(leaves: &mut Leaves, vendor: Vendor, config: &CpuidConfig) {
    if config.kvm_hidden {
        leaves.remove(|function| (SIGNATURE..SIGNATURE + 0x1000_0000).contains(&function));
    } else {
        describe_kvm(leaves, config);
    }
    if let Some(hyperv) = &config.hyperv {
        hyperv::describe(leaves, hyperv);
    }
    if let (Vendor::Intel, Some(tsc_khz)) = (vendor, config.tsc_khz) {
        describe_frequencies(leaves, tsc_khz, config.apic_bus_khz);
    }
}

fn describe_kvm(leaves: &mut Leaves, config: &CpuidConfig) {
    let signature = leaves.at(SIGNATURE, 0);
    let [b, c, d] = [*b"KVMK", *b"VMKV", *b"M\0\0\0"].map(u32::from_le_bytes);
    (signature.ebx, signature.ecx, signature.edx) = (b, c, d);
    signature.eax = FEATURES;
    let features = leaves.at(FEATURES, 0);
    if !config.pv_spinlocks {
        features.eax &= !PV_UNHALT;
    }
    if config.dedicated_cpus {
        features.edx |= REALTIME;
    }
    if let Some(tsc_khz) = config.tsc_khz {
        let timing = leaves.at(TIMING, 0);
        (timing.eax, timing.ebx) = (tsc_khz, config.apic_bus_khz);
        leaves.announce(TIMING);
    }
}

/// Leaves 0x15 and 0x16, if the processor has them.
///
/// Linux takes the crystal of leaf 0x15 for the clock of the local APIC timer, so the crystal told here is that
/// timer's clock, and TSC = crystal x EBX / EAX comes out exact.
fn describe_frequencies(leaves: &mut Leaves, tsc_khz: u32, apic_bus_khz: u32) {
    let max = leaves.max_basic();
    if let (true, Some(crystal_hz)) = (max >= CRYSTAL, apic_bus_khz.checked_mul(1000)) {
        let leaf = leaves.at(CRYSTAL, 0);
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (apic_bus_khz, tsc_khz, crystal_hz, 0);
    }
    if max >= FREQUENCIES {
        let mhz = (tsc_khz / 1000) & 0xFFFF;
        let leaf = leaves.at(FREQUENCIES, 0);
        (leaf.eax, leaf.ebx, leaf.ecx, leaf.edx) = (mhz, mhz, 100, 0);
    }
}
