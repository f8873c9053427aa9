//! The interrupt route table of a VM.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use devices::irq::{MsiMessage, MsiRoutes, MsiSlot};
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQ_ROUTING_MSI, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER,
    KVM_IRQCHIP_PIC_SLAVE, KvmIrqRouting, kvm_irq_routing_entry, kvm_irq_routing_irqchip,
    kvm_irq_routing_msi,
};
use kvm_ioctls::VmFd;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// First GSI that does not belong to the IOAPIC.
const FIRST_MSI_GSI: u32 = arch::layout::IOAPIC_PINS;
/// Inputs of one 8259.
const PIC_PINS: u32 = 8;

/// Routes of one VM: the fixed ones of the interrupt controllers and the messages that guests programmed.
#[derive(Debug)]
pub struct KvmRoutes {
    vm: Arc<VmFd>,
    messages: Mutex<BTreeMap<u32, MsiMessage>>,
}

impl KvmRoutes {
    /// The table that KVM itself set up, without messages.
    pub fn new(vm: Arc<VmFd>) -> Arc<Self> {
        Arc::new(Self { vm, messages: Mutex::default() })
    }

    /// A slot whose eventfd sends whatever message `gsi` is routed to.
    pub fn slot(&self, gsi: u32) -> io::Result<MsiSlot> {
        let irqfd = EventFd::new(EFD_NONBLOCK)?;
        self.vm.register_irqfd(&irqfd, gsi)?;
        Ok(MsiSlot { gsi, irqfd })
    }
}

impl MsiRoutes for KvmRoutes {
    fn set(&self, gsi: u32, message: Option<MsiMessage>) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            Some(message) => messages.insert(gsi, message),
            None => messages.remove(&gsi),
        };
    }

    fn commit(&self) -> io::Result<()> {
        // The lock is held over the call, so that an older table never replaces a newer one.
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = chip_entries();
        entries.extend(messages.iter().map(|(gsi, message)| message_entry(*gsi, *message)));
        let table = KvmIrqRouting::from_entries(&entries).map_err(io::Error::other)?;
        Ok(self.vm.set_gsi_routing(&table)?)
    }
}

/// Inputs 0 to 15 reach both 8259s and the IOAPIC, 16 to 23 the IOAPIC alone: what KVM sets up by itself.
fn chip_entries() -> Vec<kvm_irq_routing_entry> {
    let pics = (0..2 * PIC_PINS).map(|gsi| {
        let chip = if gsi < PIC_PINS { KVM_IRQCHIP_PIC_MASTER } else { KVM_IRQCHIP_PIC_SLAVE };
        chip_entry(gsi, chip, gsi % PIC_PINS)
    });
    pics.chain((0..FIRST_MSI_GSI).map(|gsi| chip_entry(gsi, KVM_IRQCHIP_IOAPIC, gsi))).collect()
}

fn chip_entry(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
    entry.u.irqchip = kvm_irq_routing_irqchip { irqchip, pin };
    entry
}

/// Identifiers of APICs beyond 8 bits stand in address bits 11:5 of a guest's message (KVM_FEATURE_MSI_EXT_DEST_ID) and in
/// bits 14:8 of the upper half of KVM's (KVM_X2APIC_API_USE_32BIT_IDS).
fn message_entry(gsi: u32, message: MsiMessage) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    let [a, b, c, d, e, f, g, h] = message.address.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    entry.u.msi = kvm_irq_routing_msi {
        address_lo: low & !0xfe0,
        address_hi: u32::from_le_bytes([e, f, g, h]) | (low & 0xfe0) << 3,
        data: message.data,
        ..Default::default()
    };
    entry
}
