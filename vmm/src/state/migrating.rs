//! Machines that move away.

use devices::{chain, say};
use serde_json::json;
use spec::api::MigrationState;

use super::devices::Answer;
use super::driver::Driver;
use super::{Done, Refusal, RefusalKind};
use crate::machine::Machine;
use crate::migration::facts::{facts, obstacle};
use crate::migration::machine::{MigrationReport, Order, begin};
use crate::migration::record::Records;
use crate::migration::source::{Cancel, Phase, Progress};
use crate::migration::transport::Address;
use crate::migration::{MigrationOptions, MigrationRequest};
use crate::status::{EventReason, now};

/// Annotation that says how far a migration is, as JSON: KubeVirt's `migrationState` has no room for it.
const PROGRESS: &str = "kubevmm.io/migration-progress";

/// A migration that goes on.
#[derive(Debug)]
pub(super) struct Migrating {
    cancel: Cancel,
    to: Address,
}

impl Driver {
    /// Begins to move the machine.
    pub(super) fn migrate(&mut self, machine: &Machine, request: &MigrationRequest) -> Answer {
        if self.migrating.is_some() {
            return Err(Refusal::conflict("in-flight migration detected. Another migration is on its way"));
        }
        let MigrationRequest { address, options } = request;
        if address.is_network() && !options.insecure {
            let message = "what goes over a network is not encrypted: say --insecure if that does not matter";
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
        if let Some((reason, message)) = obstacle(&self.plan) {
            return Err(Refusal::new(RefusalKind::Forbidden, format!("{reason}: {message}")));
        }
        let fail = |message: String| Refusal::new(RefusalKind::Internal, message);
        let written = machine.dirty_log().reader().map_err(|error| fail(chain(&error)))?;
        let order = Order {
            address: address.clone(),
            options: options.clone(),
            facts: facts(&self.plan),
            ram: machine.ram(),
            written,
            brake: machine.brake(),
            records: Records::new(&self.runtime),
        };
        let cancel = begin(order, self.mailbox.clone()).map_err(|error| fail(error.to_string()))?;
        self.migrating = Some(Migrating { cancel, to: address.clone() });
        say!("kubevmm: the machine is being moved to {address}");
        self.keeper
            .tell(EventReason::Migrating, format!("VirtualMachineInstance is migrating to {address}."));
        let begun = migration_state(address, options);
        self.keeper.update(|status| status.migration_state = Some(begun));
        // What the last one left is not this one's.
        self.note_progress(&Progress::default());
        Ok(Done::Begun)
    }

    /// Ends a migration; with `force`, also one whose destination does not answer.
    pub(super) fn cancel_migration(&mut self, force: bool) -> Answer {
        let Some(Migrating { cancel, .. }) = &self.migrating else {
            return Err(Refusal::new(RefusalKind::NotFound, "no migration is on its way"));
        };
        match cancel.cancel() {
            Ok(()) => {}
            Err(_) if force => cancel.force(),
            Err(error) => return Err(Refusal::conflict(error.to_string())),
        }
        self.keeper.update(|status| {
            if let Some(state) = &mut status.migration_state {
                state.abort_requested = true;
            }
        });
        Ok(Done::Begun)
    }

    /// The machine is about to be another one: what was copied of it is of no use.
    pub(super) fn forget_migration(&self) {
        if let Some(migrating) = &self.migrating {
            // One that is too late to be cancelled holds the machine, which then cannot be reset.
            let _ = migrating.cancel.cancel();
        }
    }

    /// Takes news of a migration.
    pub(super) fn note_migration(&mut self, report: MigrationReport) {
        match report {
            MigrationReport::Progress(progress) => self.note_progress(&progress),
            MigrationReport::Moved(moved) => {
                self.note_progress(&moved.progress);
                self.migrating = None;
                let message = format!(
                    "The VirtualMachineInstance migrated in {:.1} s: {} rounds, {} MiB, its guest stood still for {} ms \
                     (stop {}, send {}, load {}, hand-over {}).",
                    moved.took.as_secs_f64(),
                    moved.progress.rounds,
                    moved.progress.sent >> 20,
                    moved.downtime.total().as_millis(),
                    moved.downtime.stop.as_millis(),
                    moved.downtime.send.as_millis(),
                    moved.downtime.load.as_millis(),
                    moved.downtime.hand_over.as_millis()
                );
                say!("kubevmm: {message}");
                self.keeper.tell(EventReason::Migrated, message);
                self.conclude_migration(|state| state.completed = true);
            }
            MigrationReport::Stayed(stayed) => {
                self.migrating = None;
                say!("kubevmm: the machine was not moved: {stayed}");
                self.keeper
                    .tell(EventReason::MigrationFailed, format!("VirtualMachineInstance stays: {stayed}"));
                self.conclude_migration(|state| {
                    state.completed = true;
                    state.failed = true;
                    state.failure_reason = stayed.message;
                    if stayed.cancelled {
                        state.abort_status = "Succeeded".into();
                    }
                });
            }
        }
    }

    fn conclude_migration(&mut self, change: impl FnOnce(&mut MigrationState)) {
        self.keeper.update(|status| {
            if let Some(state) = &mut status.migration_state {
                state.end_timestamp = Some(now());
                change(state);
            }
        });
    }

    fn note_progress(&mut self, progress: &Progress) {
        if progress.phase == Phase::Asking
            && let Some(Migrating { to, .. }) = &self.migrating
        {
            let message = format!(
                "whether the machine runs at {to} cannot be told: it stands still here until {to} answers. If no process \
                 there has it or ever had it, take it back: kubevmm migrate-cancel --force"
            );
            say!("kubevmm: {message}");
            self.keeper.tell(EventReason::MigrationInDoubt, message);
        }
        let text = json!({
            "phase": format!("{:?}", progress.phase),
            "rounds": progress.rounds,
            "memoryBytes": progress.memory,
            "sentBytes": progress.sent,
            "remainingBytes": progress.left,
            "bytesPerSecond": progress.rate,
            "dirtyBytesPerSecond": progress.dirty_rate,
            "estimatedDowntimeMs": progress.downtime.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "throttlePercent": progress.throttle,
        });
        self.keeper.annotate(PROGRESS, text.to_string());
    }
}

fn migration_state(address: &Address, options: &MigrationOptions) -> MigrationState {
    MigrationState {
        start_timestamp: Some(now()),
        target_node_address: address.to_string(),
        mode: "PreCopy".into(),
        migration_configuration: Some(options.configuration()),
        ..MigrationState::default()
    }
}
