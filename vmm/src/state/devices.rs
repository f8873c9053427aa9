//! Requests that are about the machine's memory and devices, not about its life.

use std::time::{Duration, Instant};

use devices::say;
use spec::api::Quantity;

use super::driver::{Driver, Next};
use super::policy::Input;
use super::{Done, Refusal, RefusalKind, Verb};
use crate::hotplug::{DeviceChange, Removals};
use crate::machine::Machine;
use crate::plan::WatchdogAction;
use crate::status::EventReason;

pub(super) type Answer = Result<Done, Refusal>;

/// What was asked for and is not over.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    /// Bytes that the guest is to get by on, also when the machine is built again.
    memory: Option<u64>,
    /// Devices that the guest is to let go.
    pub(super) removals: Removals,
}

impl Wishes {
    /// How long until the guest is late with something.
    pub(super) fn overdue_in(&self) -> Option<Duration> {
        self.removals.late_in(Instant::now())
    }
}

impl Driver {
    /// Answers requests about memory and devices; `None` for all others.
    pub(super) fn answer_for_devices(&mut self, machine: &mut Machine, verb: &Verb) -> Option<Answer> {
        match verb {
            Verb::SetMemory { bytes } => Some(self.set_memory(machine, *bytes)),
            Verb::Device(change)
                if self.migrating.is_some() && !matches!(change, DeviceChange::LookAtDisk { .. }) =>
            {
                Some(Err(Refusal::conflict(
                    "the machine is being moved: what it has cannot be changed meanwhile",
                )))
            }
            Verb::Device(change) => Some(match change {
                DeviceChange::AddDisk(disk) => self.add_disk(machine, disk),
                DeviceChange::RemoveDisk { name } => self.remove_disk(machine, name),
                DeviceChange::LookAtDisk { name } => look_at_disk(machine, name),
                DeviceChange::Cards(cards) => self.change_cards(machine, cards),
            }),
            Verb::Migrate(request) => Some(self.migrate(machine, request)),
            Verb::CancelMigration { force } => Some(self.cancel_migration(*force)),
            Verb::CancelEvacuation => Some(self.cancel_evacuation()),
            Verb::DeleteMigration { name } => Some(self.delete_migration(name)),
            _ => None,
        }
    }

    fn set_memory(&mut self, machine: &Machine, bytes: u64) -> Answer {
        let balloon = machine.balloon().ok_or_else(|| {
            Refusal::new(RefusalKind::Forbidden, "the machine has no memory balloon (autoattachMemBalloon)")
        })?;
        balloon.set_memory(bytes).map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
        self.wishes.memory = Some(bytes);
        self.keeper.update(|status| {
            if let Some(memory) = &mut status.memory {
                memory.guest_requested = Some(Quantity::of_bytes(bytes));
            }
        });
        Ok(Done::Begun)
    }

    /// Tells a machine that was built again what was asked of the one before.
    pub(super) fn wish_again(&self, machine: &Machine) {
        if let (Some(bytes), Some(balloon)) = (self.wishes.memory, machine.balloon()) {
            // It was possible before, and the machine has as much memory as then.
            let _ = balloon.set_memory(bytes);
        }
    }

    /// The guest has let its watchdog run out.
    pub(super) fn hung(&mut self, action: WatchdogAction) -> Next {
        let (does, input) = match action {
            WatchdogAction::Reset => ("resets the machine", Input::GuestReset),
            WatchdogAction::PowerOff => ("switches the machine off", Input::GuestHung),
            WatchdogAction::Shutdown => ("asks the guest to power off", self.stop_request()),
        };
        let message = format!("the guest hangs: its watchdog {does}");
        say!("kubevmm: {message}");
        self.keeper.tell(EventReason::WatchdogExpired, message);
        Next::Happened(input)
    }
}

/// Has all disks looked at, without waiting for them.
fn look_at_disk(machine: &mut Machine, name: &str) -> Answer {
    if !machine.has_disk(name) {
        return Err(not_found(name));
    }
    machine.look_at_disks();
    Ok(Done::Begun)
}

fn not_found(name: &str) -> Refusal {
    Refusal::new(RefusalKind::NotFound, format!("the machine has no disk {name:?}"))
}
