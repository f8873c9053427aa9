//! State of the interrupt controllers that KVM keeps for all vCPUs together.

use kvm_bindings::{KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_irqchip};
use kvm_ioctls::VmFd;
use serde::{Deserialize, Serialize};

use super::{KvmError, Raw, failed};

/// The two 8259s and the IOAPIC.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IrqChips {
    master: Raw<kvm_irqchip>,
    slave: Raw<kvm_irqchip>,
    ioapic: Raw<kvm_irqchip>,
}

impl IrqChips {
    /// Reads them.
    pub fn save(vm: &VmFd) -> Result<Self, KvmError> {
        let read = |chip_id| {
            let mut chip = kvm_irqchip { chip_id, ..kvm_irqchip::default() };
            vm.get_irqchip(&mut chip).map_err(failed("read an interrupt controller"))?;
            Ok(Raw(chip))
        };
        Ok(Self {
            master: read(KVM_IRQCHIP_PIC_MASTER)?,
            slave: read(KVM_IRQCHIP_PIC_SLAVE)?,
            ioapic: read(KVM_IRQCHIP_IOAPIC)?,
        })
    }

    /// Sets them. Local APICs have their state before: what waits in the IOAPIC is sent to them at once.
    pub fn restore(&self, vm: &VmFd) -> Result<(), KvmError> {
        let chips = [
            (KVM_IRQCHIP_PIC_MASTER, &self.master),
            (KVM_IRQCHIP_PIC_SLAVE, &self.slave),
            (KVM_IRQCHIP_IOAPIC, &self.ioapic),
        ];
        chips.into_iter().try_for_each(|(chip_id, Raw(chip))| {
            let chip = kvm_irqchip { chip_id, ..*chip };
            vm.set_irqchip(&chip).map_err(failed("set an interrupt controller"))
        })
    }
}
