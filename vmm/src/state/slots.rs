//! Disks that come and go: the slots of root ports, and what the status says of them.

use std::time::Instant;

use devices::pci::{PciAddress, SlotEvent};
use devices::{chain, say};
use spec::api::{HotplugVolumeStatus, VolumeStatus};

use super::devices::{Answer, not_found};
use super::driver::Driver;
use super::{Done, Refusal, RefusalKind};
use crate::hotplug::{DepotError, NewDisk};
use crate::machine::Machine;
use crate::plan::{DevicePlan, Function, PortPlan};
use crate::status::EventReason;

/// Phases of a volume that was added later (KubeVirt `VolumePhase`).
mod phase {
    /// The disk is in its slot, and the guest has not taken notice.
    pub(super) const ATTACHED: &str = "AttachedToNode";
    /// The guest has taken it into use.
    pub(super) const READY: &str = "Ready";
    /// The guest is to let it go.
    pub(super) const DETACHING: &str = "Detaching";
}

impl Driver {
    /// Puts a disk into a free slot.
    pub(super) fn add_disk(&mut self, machine: &mut Machine, wanted: &NewDisk) -> Answer {
        let name = &wanted.name;
        let vmi = &self.keeper.board().current().vmi;
        let taken = self.plan.functions.iter().any(|function| function.name == *name)
            || vmi.spec.volumes.iter().any(|volume| volume.name == *name);
        if taken {
            return Err(Refusal::conflict(format!("the machine has a volume {name:?} already")));
        }
        let port = self.free_port()?;
        let (disk, backend) = self.depot.disk(vmi, wanted).map_err(|error| refusal(&error))?;
        let function = Function {
            name: name.clone(),
            address: port.card(),
            window: port.prefetchable.start,
            first_gsi: port.first_gsi,
            io_threads: vec![0],
            device: DevicePlan::Disk(disk),
        };
        if !port.has_room_for(function.device.vectors()) {
            return Err(Refusal::new(
                RefusalKind::Invalid,
                format!("the disk {name:?} has too many queues for a slot"),
            ));
        }
        machine
            .plug(&function, &backend)
            .map_err(|error| Refusal::new(RefusalKind::Internal, chain(&error)))?;
        self.devices.show(machine.handles());
        say!("kubevmm: disk {name} is put into slot {}", port.bus);
        self.plan.functions.push(function);
        self.resources.backends.push(backend);
        self.keeper.add_volume(
            wanted,
            VolumeStatus {
                name: name.clone(),
                phase: phase::ATTACHED.into(),
                message: format!("the disk is in slot {}; the guest has not taken notice yet", port.bus),
                hotplug_volume: Some(HotplugVolumeStatus::default()),
                ..VolumeStatus::default()
            },
        );
        self.keeper.tell(EventReason::VolumeAttached, format!("Volume {name} is in slot {}", port.bus));
        Ok(Done::Begun)
    }

    fn free_port(&self) -> Result<PortPlan, Refusal> {
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

    /// Asks the guest to let a disk go.
    pub(super) fn remove_disk(&mut self, machine: &Machine, name: &str) -> Answer {
        let is_it =
            |function: &&Function| function.name == name && matches!(function.device, DevicePlan::Disk(_));
        let function = self.plan.functions.iter().find(is_it).ok_or_else(|| not_found(name))?;
        let card = function.address;
        if card.bus() == 0 {
            return Err(Refusal::conflict(format!(
                "the disk {name:?} was there when the machine started: only disks that were added later can go"
            )));
        }
        if !self.wishes.removals.begin(card, Instant::now()) {
            return Err(Refusal::conflict(format!(
                "the guest has just been asked to let the disk {name:?} go"
            )));
        }
        if !machine.request_removal(card) {
            self.wishes.removals.end(card);
            return Err(not_found(name));
        }
        self.show(name, phase::DETACHING, "the guest was asked to let the disk go");
        Ok(Done::Begun)
    }

    /// The guest did something with a slot.
    pub(super) fn slot_changed(&mut self, machine: &mut Machine, card: PciAddress, event: SlotEvent) {
        match event {
            SlotEvent::Accepted => {
                let Some(name) = self.name_at(card) else { return };
                self.show(&name, phase::READY, "the guest has taken the disk into use");
                let message = format!("Successfully attach hotplugged volume {name} to VM");
                self.keeper.tell(EventReason::VolumeReady, message);
            }
            SlotEvent::Released => {
                machine.forget(card);
                self.devices.show(machine.handles());
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
        let names: Vec<_> = later.map(|function| function.name.clone()).collect();
        for name in names {
            self.show(&name, phase::READY, "");
        }
    }

    /// Tells of disks that the guest does not let go.
    pub(super) fn tell_of_overdue(&mut self) {
        for card in self.wishes.removals.late(Instant::now()) {
            let Some(name) = self.name_at(card) else { continue };
            let message = format!("the guest has not let the disk {name} go; it stays until the guest does");
            say!("kubevmm: {message}");
            self.show(&name, phase::DETACHING, &message);
            self.keeper.tell(EventReason::VolumeStuck, message);
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
        say!("kubevmm: disk {name} is out of its slot");
        self.keeper.remove_volume(&name);
        self.keeper.tell(EventReason::VolumeDetached, format!("Volume {name} was let go by the guest"));
    }

    fn name_at(&self, card: PciAddress) -> Option<String> {
        let found = self.plan.functions.iter().find(|function| function.address == card);
        found.map(|function| function.name.clone())
    }

    fn show(&mut self, name: &str, phase: &str, message: &str) {
        self.keeper.update(|status| {
            if let Some(volume) = status.volume_status.iter_mut().find(|volume| volume.name == name) {
                volume.phase = phase.into();
                volume.message = message.into();
            }
        });
    }
}

fn refusal(error: &DepotError) -> Refusal {
    let kind = match error {
        DepotError::Kind(_) => RefusalKind::Invalid,
        DepotError::Plan(error) if error.fault == crate::plan::Fault::Host => RefusalKind::NotFound,
        DepotError::Plan(_) => RefusalKind::Invalid,
        DepotError::Open(_) => RefusalKind::Internal,
    };
    Refusal::new(kind, chain(error))
}
