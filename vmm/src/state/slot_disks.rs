//! Disks that come and go.

use spec::api::{HotplugVolumeStatus, VolumeStatus};

use super::devices::Answer;
use super::driver::Driver;
use super::slots::{SlotKind, refusal};
use super::{Done, Refusal};
use crate::hotplug::NewDisk;
use crate::machine::Machine;
use crate::plan::DevicePlan;
use crate::status::{EventReason, VolumePhase};

impl Driver {
    /// Puts a disk into a free slot.
    pub(super) fn add_disk(&mut self, machine: &mut Machine, wanted: &NewDisk) -> Answer {
        let name = &wanted.name;
        let current = self.keeper.board().current();
        let taken = self.plan.functions.iter().any(|function| function.name == *name)
            || current.vmi.spec.volumes.iter().any(|volume| volume.name == *name);
        if taken {
            return Err(Refusal::conflict(format!("the machine has a volume {name:?} already")));
        }
        // Before anything is opened that would have to be closed again.
        self.free_port()?;
        let (disk, backend) = self.depot.disk(&current.vmi, wanted).map_err(|error| refusal(&error))?;
        let slot = self.put_in(machine, name, DevicePlan::Disk(disk), backend)?;
        self.keeper.add_volume(
            wanted,
            VolumeStatus {
                name: name.clone(),
                phase: VolumePhase::Attached.as_str().into(),
                message: format!("the disk is in slot {slot}; the guest has not taken notice yet"),
                hotplug_volume: Some(HotplugVolumeStatus::default()),
                ..VolumeStatus::default()
            },
        );
        self.keeper.tell(EventReason::VolumeAttached, format!("Volume {name} is in slot {slot}"));
        Ok(Done::Begun)
    }

    /// Asks the guest to let a disk go.
    pub(super) fn remove_disk(&mut self, machine: &Machine, name: &str) -> Answer {
        self.ask_out(machine, SlotKind::Disk, name)?;
        let message = "the guest was asked to let the disk go";
        self.keeper.set_volume_phase(name, VolumePhase::Detaching, message);
        Ok(Done::Begun)
    }

    /// The guest has taken a disk into use.
    pub(super) fn disk_accepted(&mut self, name: &str) {
        self.keeper.set_volume_phase(name, VolumePhase::Ready, "the guest has taken the disk into use");
        let message = format!("Successfully attach hotplugged volume {name} to VM");
        self.keeper.tell(EventReason::VolumeReady, message);
    }
}
