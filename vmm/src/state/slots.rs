//! The slots of root ports: what is put in, what the guest lets go, and what is told of both.

use std::time::Instant;

use devices::pci::{PciAddress, SlotEvent};
use devices::{chain, say};

use super::driver::Driver;
use super::{Refusal, RefusalKind};
use crate::hotplug::DepotError;
use crate::machine::Machine;
use crate::open::Backend;
use crate::plan::{DevicePlan, Function, PortPlan};
use crate::status::{EventReason, VolumePhase};

/// What is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotKind {
    /// A disk.
    Disk,
    /// A network card.
    Card,
}

impl SlotKind {
    /// What the device is, if it is one that is put into slots.
    pub(super) fn of(device: &DevicePlan) -> Option<Self> {
        match device {
            DevicePlan::Disk(_) => Some(Self::Disk),
            DevicePlan::Nic(_) => Some(Self::Card),
            DevicePlan::Console { .. } | DevicePlan::Rng | DevicePlan::Balloon { .. } => None,
        }
    }

    /// In words.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Card => "network card",
        }
    }
}

impl Driver {
    /// Puts a device into a free slot; gives back the slot's number.
    pub(super) fn put_in(
        &mut self,
        machine: &mut Machine,
        name: &str,
        device: DevicePlan,
        backend: Backend,
    ) -> Result<u8, Refusal> {
        let port = self.free_port()?;
        let function = Function {
            name: name.to_owned(),
            address: port.card(),
            window: port.prefetchable.start,
            first_gsi: port.first_gsi,
            io_threads: vec![0],
            device,
        };
        let word = SlotKind::of(&function.device).map_or("device", SlotKind::word);
        if !port.has_room_for(function.device.vectors()) {
            let message = format!("the {word} {name:?} has too many queues for a slot");
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
        machine
            .plug(&function, &backend)
            .map_err(|error| Refusal::new(RefusalKind::Internal, chain(&error)))?;
        say!("kubevmm: {word} {name} is put into slot {}", port.bus);
        self.plan.functions.push(function);
        self.resources.backends.push(backend);
        Ok(port.bus)
    }

    /// A slot with nothing in it.
    pub(super) fn free_port(&self) -> Result<PortPlan, Refusal> {
        let ports = &self.plan.ports;
        let is_taken =
            |port: &PortPlan| self.plan.functions.iter().any(|function| function.address == port.card());
        ports.iter().find(|port| !is_taken(port)).cloned().ok_or_else(|| {
            Refusal::conflict(if ports.is_empty() {
                "the machine has no slots to plug into: start it with the annotation kubevmm.io/hotplug-slots"
                    .to_owned()
            } else {
                format!("all {} slots are taken", ports.len())
            })
        })
    }

    /// Asks the guest to let the device `name` go.
    pub(super) fn ask_out(&mut self, machine: &Machine, kind: SlotKind, name: &str) -> Result<(), Refusal> {
        let word = kind.word();
        let missing = || Refusal::new(RefusalKind::NotFound, format!("the machine has no {word} {name:?}"));
        let is_it =
            |function: &&Function| function.name == name && SlotKind::of(&function.device) == Some(kind);
        let card = self.plan.functions.iter().find(is_it).ok_or_else(missing)?.address;
        if card.bus() == 0 {
            return Err(Refusal::conflict(format!(
                "the {word} {name:?} was there when the machine started: only those that were added later can go"
            )));
        }
        if !self.wishes.removals.begin(card, Instant::now()) {
            return Err(Refusal::conflict(format!(
                "the guest has just been asked to let the {word} {name:?} go"
            )));
        }
        if !machine.request_removal(card) {
            self.wishes.removals.end(card);
            return Err(missing());
        }
        Ok(())
    }

    /// The guest did something with a slot.
    pub(super) fn slot_changed(&mut self, machine: &mut Machine, card: PciAddress, event: SlotEvent) {
        match event {
            SlotEvent::Accepted => match self.occupant(card) {
                Some((SlotKind::Disk, name)) => self.disk_accepted(&name),
                Some((SlotKind::Card, name)) => self.card_accepted(&name),
                None => {}
            },
            SlotEvent::Released => {
                machine.forget(card);
                self.drop_function(card);
            }
        }
    }

    /// A guest that is gone has let everything go that it was asked to, and will find the rest when it boots.
    pub(super) fn settle_slots(&mut self) {
        for card in self.wishes.removals.take_all() {
            self.drop_function(card);
        }
        let later = self.plan.functions.iter().filter(|function| function.address.bus() != 0);
        let later: Vec<_> = later.filter_map(|function| self.occupant(function.address)).collect();
        for (kind, name) in later {
            match kind {
                SlotKind::Disk => self.keeper.set_volume_phase(&name, VolumePhase::Ready, ""),
                SlotKind::Card => self.keeper.set_card_present(&name),
            }
        }
    }

    /// Tells of devices that the guest does not let go.
    pub(super) fn tell_of_overdue(&mut self) {
        for card in self.wishes.removals.late(Instant::now()) {
            let Some((kind, name)) = self.occupant(card) else { continue };
            let word = kind.word();
            let message =
                format!("the guest has not let the {word} {name} go; it stays until the guest does");
            say!("kubevmm: {message}");
            let reason = match kind {
                SlotKind::Disk => {
                    self.keeper.set_volume_phase(&name, VolumePhase::Detaching, &message);
                    EventReason::VolumeStuck
                }
                SlotKind::Card => EventReason::CardStuck,
            };
            self.keeper.tell(reason, message);
        }
    }

    /// Closes what is behind a device that is gone.
    fn drop_function(&mut self, card: PciAddress) {
        self.wishes.removals.end(card);
        let Some(at) = self.plan.functions.iter().position(|function| function.address == card) else {
            return;
        };
        let function = self.plan.functions.remove(at);
        if at < self.resources.backends.len() {
            self.resources.backends.remove(at);
        }
        let name = function.name;
        match SlotKind::of(&function.device) {
            Some(SlotKind::Disk) => {
                say!("kubevmm: disk {name} is out of its slot");
                self.keeper.remove_volume(&name);
                self.keeper
                    .tell(EventReason::VolumeDetached, format!("Volume {name} was let go by the guest"));
            }
            Some(SlotKind::Card) => {
                say!("kubevmm: network card {name} is out of its slot");
                self.keeper.remove_card(&name);
                self.keeper
                    .tell(EventReason::CardDetached, format!("Interface {name} was let go by the guest"));
            }
            None => {}
        }
    }

    /// What is at `card`, and its name.
    fn occupant(&self, card: PciAddress) -> Option<(SlotKind, String)> {
        let found = self.plan.functions.iter().find(|function| function.address == card)?;
        Some((SlotKind::of(&found.device)?, found.name.clone()))
    }
}

/// Why something that was to be added cannot be had.
pub(super) fn refusal(error: &DepotError) -> Refusal {
    let kind = match error {
        DepotError::Kind(_) => RefusalKind::Invalid,
        DepotError::Plan(error) if error.fault == crate::plan::Fault::Host => RefusalKind::NotFound,
        DepotError::Plan(_) => RefusalKind::Invalid,
        DepotError::Open(_) | DepotError::Network(_) => RefusalKind::Internal,
    };
    Refusal::new(kind, chain(error))
}
