//! PCI Express root ports: slots of the machine into which devices are put while it runs (PCIe 5.0 §6.7).
//!
//! A card that is put in shows itself by the presence bit; the guest gives it power and finds it on the port's bus. Taking
//! one out begins with the attention button: the guest stops using the card, then takes power and light away, which is its
//! acknowledgement. Only then does the card go.

mod config;
mod msi;
mod slot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

pub use self::config::Forwarded;

use self::config::{Offsets, SECONDARY, express};
use self::msi::Msi;
use self::slot::{Change, Slot};
use super::{ConfigSpace, ConfigState, PciAddress, PciFunction};
use crate::LimitedLog;
use crate::bus::Action;
use crate::irq::{MsiRoutes, MsiSlot};

/// Link status: the link is up.
const LINK_ACTIVE: u16 = 1 << 13;
const VERSION: u32 = 1;

/// What the guest did with a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotEvent {
    /// It gave power to the card, and takes it into use.
    Accepted,
    /// It has let the card go, which is out of the slot now.
    Released,
}

/// Told of what the guest did. Called by vCPU threads; must not wait.
pub type OnSlot = Arc<dyn Fn(SlotEvent) + Send + Sync>;

/// A card of a slot: a function that can be without power.
pub trait Card: PciFunction {
    /// Ends everything that the card does: its queues, its windows. It is not used again.
    fn power_off(&self) -> Action;
}

/// What a root port gets of the machine.
pub struct PortParts {
    /// Its number, 1 and up.
    pub number: u16,
    /// What it forwards at power-on.
    pub forwarded: Forwarded,
    /// Interrupt routes.
    pub routes: Arc<dyn MsiRoutes>,
    /// Its interrupt.
    pub msi_slot: MsiSlot,
    /// Told of cards that are accepted or gone.
    pub on_slot: OnSlot,
}

/// What a snapshot keeps of a port; its card has a state of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortState {
    /// Layout of this struct.
    pub version: u32,
    /// Configuration space.
    pub config: ConfigState,
    /// Slot control and slot status.
    pub slot: [u16; 2],
}

/// The slot is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is a device in the slot already")]
pub struct Occupied;

/// A root port with its slot.
pub struct RootPort {
    inner: Mutex<Inner>,
    on_slot: OnSlot,
}

struct Inner {
    config: ConfigSpace,
    offsets: Offsets,
    slot: Slot,
    msi: Msi,
    card: Option<Arc<dyn Card>>,
}

impl RootPort {
    /// A port, with `card` in it from power-on, if any.
    pub fn new(parts: PortParts, card: Option<Arc<dyn Card>>) -> Self {
        let (config, offsets) = config::space(parts.number, &parts.forwarded);
        let log = Arc::new(LimitedLog::new(format!("root port {}", parts.number)));
        let msi = Msi::new(parts.msi_slot, parts.routes, log);
        let mut inner = Inner { config, offsets, slot: Slot::new(card.is_some()), msi, card };
        inner.show();
        Self { inner: Mutex::new(inner), on_slot: parts.on_slot }
    }

    /// Puts a card into the slot, and tells the guest.
    ///
    /// # Errors
    /// There is one already.
    pub fn insert(&self, card: Arc<dyn Card>) -> Result<(), Occupied> {
        let mut inner = self.inner();
        if inner.card.is_some() {
            return Err(Occupied);
        }
        inner.card = Some(card);
        inner.slot.set_present(true);
        inner.notify();
        Ok(())
    }

    /// Asks the guest to let the card go; false if there is none. The guest answers in its own time, or never.
    pub fn request_removal(&self) -> bool {
        let mut inner = self.inner();
        let occupied = inner.card.is_some();
        if occupied {
            inner.slot.press_button();
            inner.notify();
        }
        occupied
    }

    /// The function at `address`, if its bus is the one behind this port. There is one device on that bus.
    pub(super) fn behind(&self, address: PciAddress) -> Option<Arc<dyn PciFunction>> {
        let inner = self.inner();
        let [secondary, _] = inner.config.word(SECONDARY).to_le_bytes();
        let only = address == PciAddress::new(secondary, 0, 0);
        let reached = only && secondary != 0 && inner.slot.has_power();
        let card = inner.card.as_ref().filter(|_| reached)?;
        Some(Arc::clone(card) as Arc<dyn PciFunction>)
    }

    /// State for a snapshot.
    pub fn save(&self) -> PortState {
        let inner = self.inner();
        let slot = [inner.slot.control, inner.slot.status];
        PortState { version: VERSION, config: inner.config.save(), slot }
    }

    /// Takes over a saved state; the card was put in before, if there was one. False if the state does not fit.
    pub fn restore(&self, state: &PortState) -> bool {
        let mut inner = self.inner();
        let [control, status] = state.slot;
        let slot = Slot { control, status };
        if state.version != VERSION || slot.is_occupied() != inner.card.is_some() {
            return false;
        }
        inner.config.restore(&state.config);
        inner.slot = slot;
        inner.configure_msi();
        inner.show();
        true
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Writes the slot's registers into the configuration space.
    fn show(&mut self) {
        let at = self.offsets.express;
        self.config.put(at + express::SLOT_CONTROL, &self.slot.control.to_le_bytes());
        self.config.put(at + express::SLOT_STATUS, &self.slot.status.to_le_bytes());
        let link = self.config.word(at + express::LINK_STATUS) & !LINK_ACTIVE;
        let active = if self.slot.is_occupied() { LINK_ACTIVE } else { 0 };
        self.config.put(at + express::LINK_STATUS, &(link | active).to_le_bytes());
    }

    /// Tells the guest that something happened.
    fn notify(&mut self) {
        self.show();
        if self.slot.interrupts() {
            self.msi.signal();
        }
    }

    fn configure_msi(&mut self) {
        let (at, config) = (self.offsets.msi, &self.config);
        let address = u64::from(config.dword(at + 4)) | u64::from(config.dword(at + 8)) << 32;
        self.msi.configure(config.word(at + msi::CONTROL), address, config.dword(at + 12));
    }

    /// What the write of `data` at `offset` makes of a 16-bit register of the slot; `None` if it does not touch it.
    fn written(&self, register: usize, current: u16, offset: u16, data: &[u8]) -> Option<u16> {
        let place = self.offsets.express + register;
        let mut bytes = current.to_le_bytes();
        let mut touched = false;
        for (at, value) in (usize::from(offset)..).zip(data) {
            if let Some(byte) = at.checked_sub(place).and_then(|index| bytes.get_mut(index)) {
                *byte = *value;
                touched = true;
            }
        }
        touched.then(|| u16::from_le_bytes(bytes))
    }

    /// A write to the slot's registers.
    fn write_slot(&mut self, offset: u16, data: &[u8]) -> Change {
        // A byte of the status that is not written clears nothing.
        if let Some(value) = self.written(express::SLOT_STATUS, 0, offset, data) {
            self.slot.write_status(value);
        }
        let was_due = self.slot.interrupts();
        let control = self.written(express::SLOT_CONTROL, self.slot.control, offset, data);
        let change = control.map_or(Change::None, |control| self.slot.write_control(control));
        // Interrupts that are switched on with something to tell are sent (PCIe 5.0 §6.7.3.4).
        if !was_due && self.slot.interrupts() {
            self.msi.signal();
        }
        self.show();
        change
    }
}

impl PciFunction for RootPort {
    fn read_config(&self, offset: u16, data: &mut [u8]) {
        self.inner().config.read(offset, data);
    }

    fn write_config(&self, offset: u16, data: &[u8]) -> Action {
        let mut inner = self.inner();
        let _ = inner.config.write(offset, data);
        inner.configure_msi();
        let card = match inner.write_slot(offset, data) {
            Change::None => None,
            Change::Accepted => {
                drop(inner);
                (self.on_slot)(SlotEvent::Accepted);
                return Action::None;
            }
            Change::Released => inner.card.take(),
        };
        let Some(card) = card else { return Action::None };
        inner.slot.set_present(false);
        inner.notify();
        drop(inner);
        let action = card.power_off();
        (self.on_slot)(SlotEvent::Released);
        action
    }
}

impl fmt::Debug for RootPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootPort").field("slot", &self.inner().slot).finish_non_exhaustive()
    }
}
