//! Interrupts that a guest cannot mask.

use kvm_bindings::kvm_msi;
use kvm_ioctls::VmFd;

use super::{KvmError, failed};

/// Address of messages to local APICs; the destination is in bits 19:12.
const MSI_ADDRESS: u32 = 0xfee0_0000;
/// Delivery mode NMI in a message's data.
const NMI: u32 = 4 << 8;

/// Sends all vCPUs a non-maskable interrupt.
pub fn inject_nmi(vm: &VmFd) -> Result<(), KvmError> {
    // Local APICs in their old mode take 0xff for all of them, those in x2APIC mode 0xffff_ffff
    // (KVM_X2APIC_API_USE_32BIT_IDS has the upper bits of the destination in the address's upper half).
    for upper in [0, 0xffff_ff00] {
        let message = kvm_msi {
            address_lo: MSI_ADDRESS | 0xff << 12,
            address_hi: upper,
            data: NMI,
            ..Default::default()
        };
        vm.signal_msi(message).map_err(failed("send an NMI"))?;
    }
    Ok(())
}
