//! One message-signalled interrupt without a table (PCI 3.0 §6.8.1), as ports have it.

use std::sync::Arc;

use crate::LimitedLog;
use crate::irq::{MsiMessage, MsiRoutes, MsiSlot};

/// Offset of the message control register in the capability.
pub(super) const CONTROL: usize = 2;
/// Message control: 64-bit addresses.
const WIDE: u8 = 0x80;
/// Message control: enabled.
const ENABLE: u16 = 1;
/// Capability ID.
pub(super) const ID: u8 = 0x05;
/// Capability body after ID and next pointer: control, address, upper address, data.
pub(super) const BODY: [u8; 12] = [WIDE, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Bits of the body that the guest may write; addresses are whole double words.
pub(super) const WRITABLE: [u8; 12] = [1, 0, 0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];

/// Messages to this MiB are interrupts (Intel SDM volume 3 §11.11.1).
const INTERRUPTS: u64 = 0xfee;
const MIB_SHIFT: u32 = 20;

/// The interrupt of one port.
#[derive(Debug)]
pub(super) struct Msi {
    slot: MsiSlot,
    routes: Arc<dyn MsiRoutes>,
    log: Arc<LimitedLog>,
    /// What the guest wrote, if it is switched on.
    message: Option<MsiMessage>,
    /// What the machine's table has.
    routed: Option<MsiMessage>,
}

impl Msi {
    pub(super) fn new(slot: MsiSlot, routes: Arc<dyn MsiRoutes>, log: Arc<LimitedLog>) -> Self {
        Self { slot, routes, log, message: None, routed: None }
    }

    /// Takes over what the capability says now: control, address and data.
    pub(super) fn configure(&mut self, control: u16, address: u64, data: u32) {
        self.message = (control & ENABLE != 0).then_some(MsiMessage { address, data: data & 0xffff });
    }

    /// Sends the message, if the guest wants any.
    pub(super) fn signal(&mut self) {
        // A message to anywhere else is a write to memory that nobody sees.
        let Some(message) = self.message.filter(|message| message.address >> MIB_SHIFT == INTERRUPTS) else {
            return;
        };
        if self.routed != Some(message) {
            self.routes.set(self.slot.gsi, Some(message));
            if let Err(error) = self.routes.commit() {
                return self.log.say(format_args!("an interrupt was lost: {error}"));
            }
            self.routed = Some(message);
        }
        if let Err(error) = self.slot.irqfd.write(1) {
            self.log.say(format_args!("an interrupt was lost: {error}"));
        }
    }
}
