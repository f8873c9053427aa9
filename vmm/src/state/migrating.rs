//! Machines that move away.

use devices::{chain, say};
use serde_json::json;
use spec::api::{MigrationSourceState, MigrationState};

use super::devices::Answer;
use super::driver::{Driver, RunError};
use super::policy::Input;
use super::{Done, ExitReason, Refusal, RefusalKind};
use crate::machine::Machine;
use crate::migration::facts::leaving;
use crate::migration::machine::{MigrationReport, Order, begin};
use crate::migration::options::PostCopy;
use crate::migration::record::Records;
use crate::migration::source::{Cancel, Phase, Progress};
use crate::migration::transport::{Address, Route};
use crate::migration::{MigrationOptions, MigrationRequest};
use crate::plan::Backing;
use crate::status::{Deleted, EventReason, MigrationPhase, now};

/// Annotation that says how far a migration is, as JSON: KubeVirt's `migrationState` has no room for it.
const PROGRESS: &str = "kubevmm.io/migration-progress";

/// A migration that goes on.
#[derive(Debug)]
pub(super) struct Migrating {
    cancel: Cancel,
    to: Address,
    /// The ID of its object.
    uid: String,
}

/// Why a machine is not watched any more; nothing if it is to boot again.
type End = Result<Option<ExitReason>, RunError>;

impl Migrating {
    /// If the machine ends, by a failure of its owner's, too, a destination that was not told to go is not told any more. Why it ends,
    /// where it ends by force while nobody knows whether it runs elsewhere.
    fn or_in_doubt(&self, end: End) -> End {
        // Before another one boots, the migration is broken off as always.
        if !matches!(end, Ok(None)) {
            self.cancel.end();
        }
        match end {
            Ok(Some(ExitReason::Killed)) if self.cancel.is_handed_over() && !self.cancel.is_serving() => {
                Ok(Some(ExitReason::InDoubt { to: self.to.to_string() }))
            }
            end => end,
        }
    }
}

impl Driver {
    /// Begins to move the machine.
    pub(super) fn migrate(&mut self, machine: &Machine, request: &MigrationRequest) -> Answer {
        let MigrationRequest { address, options, object } = request;
        if let Some(Migrating { uid, .. }) = &self.migrating {
            // KubeVirt's words.
            let message = format!(
                "in-flight migration detected. Active migration job ({uid}) is currently already in progress for VMI {}.",
                self.plan.name
            );
            return Err(Refusal::conflict(message));
        }
        if self.state.holds.saving {
            return Err(Refusal::conflict("the machine is being saved: try again in a moment"));
        }
        let route = Route::new(address.clone(), &options.protection())
            .map_err(|error| Refusal::new(RefusalKind::Invalid, chain(&error)))?;
        if options.post_copy == PostCopy::AtOnce && !self.plan.memory.backing.comes_on_demand() {
            let message = "the machine's memory is in huge pages of 1 GiB, which come whole or not at all: it cannot follow the machine";
            return Err(Refusal::new(RefusalKind::Invalid, message));
        }
        let disks = self.leaving_disks();
        if let Some(unknown) =
            options.copy_disks.iter().find(|name| !disks.iter().any(|disk| disk.name == **name))
        {
            return Err(Refusal::new(
                RefusalKind::Invalid,
                format!("the machine has no disk {unknown:?} to copy"),
            ));
        }
        let fail = |message: String| Refusal::new(RefusalKind::Internal, message);
        let processor = machine.processor(&self.plan.cpu).map_err(|error| fail(chain(&error)))?;
        let order = Order {
            route,
            options: fitting(options, self.plan.memory.backing),
            facts: leaving(&self.plan, object.spec.migration_id(), &processor),
            disks,
            added: self.added_devices()?,
            ram: machine.ram(),
            presence: self.presence(),
            dirty: machine.dirty_log().clone(),
            brake: machine.brake(),
            records: Records::new(&self.runtime),
        };
        let cancel = begin(order, self.mailbox.clone()).map_err(|error| fail(error.to_string()))?;
        let uid = object.metadata.uid.clone();
        self.migrating = Some(Migrating { cancel, to: address.clone(), uid });
        say!("kubevmm: the machine is being moved to {address}");
        self.keeper
            .tell(EventReason::Migrating, format!("VirtualMachineInstance is migrating to {address}."));
        self.keeper.migration_begins(object.clone());
        self.keeper.update(|status| {
            let begun = migration_state(request, &status.node_name, &object.metadata.uid);
            status.migration_state = Some(begun);
        });
        // What the last one left is not this one's.
        self.note_progress(&Progress::default());
        Ok(Done::Begun)
    }

    /// Where the machine is or may be, if it has been handed over: it runs there already, and its memory is served from here, or it is
    /// not known whether it does.
    pub(super) fn handed_over_to(&self) -> Option<&Address> {
        self.migrating
            .as_ref()
            .filter(|migrating| migrating.cancel.is_handed_over())
            .map(|migrating| &migrating.to)
    }

    /// What the end of a machine that is not watched any more is while it is being moved.
    pub(super) fn or_in_doubt(&self, end: End) -> End {
        match &self.migrating {
            Some(migrating) => migrating.or_in_doubt(end),
            None => end,
        }
    }

    /// Ends a migration; with `force`, also one whose destination does not answer.
    pub(super) fn cancel_migration(&mut self, force: bool) -> Answer {
        let Some(Migrating { cancel, .. }) = &self.migrating else {
            return Err(Refusal::new(RefusalKind::NotFound, "no migration is on its way"));
        };
        match cancel.cancel() {
            Ok(()) => {}
            Err(_) if force => cancel.force().map_err(|error| Refusal::conflict(error.to_string()))?,
            Err(error) => return Err(Refusal::conflict(error.to_string())),
        }
        self.note_abort_request();
        self.keeper.migration_is_to_end();
        Ok(Done::Begun)
    }

    /// Forgets a migration; one that is on its way is broken off, if it is not too late, and forgotten when it is over.
    pub(super) fn delete_migration(&mut self, name: &str) -> Answer {
        match self.keeper.delete_migration(name) {
            None => Err(Refusal::new(
                RefusalKind::NotFound,
                format!("virtualmachineinstancemigrations.kubevirt.io \"{name}\" not found"),
            )),
            Some(Deleted::Gone) => Ok(Done::Finished),
            Some(Deleted::Aborts) => {
                if let Some(Migrating { cancel, .. }) = &self.migrating {
                    // One that is too late comes to its end, and the object goes then.
                    let _ = cancel.cancel();
                }
                self.note_abort_request();
                Ok(Done::Begun)
            }
        }
    }

    fn note_abort_request(&mut self) {
        self.keeper.update(|status| {
            if let Some(state) = &mut status.migration_state {
                state.abort_requested = true;
                state.abort_status = "Aborting".into();
            }
        });
    }

    /// The machine is about to be another one: what was copied of it is of no use.
    pub(super) fn forget_migration(&self) {
        if let Some(migrating) = &self.migrating {
            // One that is too late to be cancelled holds the machine, which then cannot be reset.
            let _ = migrating.cancel.cancel();
        }
    }

    /// Takes news of a migration.
    /// What the machine does now, if something follows from it.
    pub(super) fn note_migration(&mut self, report: MigrationReport) -> Option<Input> {
        match report {
            MigrationReport::Progress(progress) => {
                self.note_progress(&progress);
                None
            }
            MigrationReport::Moved(moved) => {
                self.note_progress(&moved.progress);
                self.migrating = None;
                let message = format!(
                    "The VirtualMachineInstance migrated in {:.2} s: {} rounds, {} MiB, its guest stood still for {} ms \
                     (stop {}, last pages {}, state {}, load {}, hand-over {}).",
                    moved.took.as_secs_f64(),
                    moved.progress.rounds,
                    moved.progress.sent >> 20,
                    moved.downtime.total().as_millis(),
                    moved.downtime.stop.as_millis(),
                    moved.downtime.rest.as_millis(),
                    moved.downtime.send.as_millis(),
                    moved.downtime.load.as_millis(),
                    moved.downtime.hand_over.as_millis()
                );
                say!("kubevmm: {message}");
                self.keeper.tell(EventReason::Migrated, message);
                self.conclude_migration(MigrationPhase::Succeeded, |state| {
                    state.completed = true;
                    if state.abort_requested {
                        state.abort_status = "Failed".into();
                    }
                });
                None
            }
            MigrationReport::Stayed(stayed) => {
                self.migrating = None;
                say!("kubevmm: the machine was not moved: {stayed}");
                let reason = match stayed.cancelled {
                    true => EventReason::MigrationAborted,
                    false => EventReason::MigrationFailed,
                };
                self.keeper.tell(reason, format!("VirtualMachineInstance stays: {stayed}"));
                self.conclude_migration(MigrationPhase::Failed, |state| {
                    state.completed = true;
                    state.failed = true;
                    state.failure_reason = stayed.message;
                    // It may have failed by itself just before it was to be broken off.
                    if stayed.cancelled || state.abort_requested {
                        state.abort_status = "Succeeded".into();
                    }
                });
                self.attempt_failed()
            }
        }
    }

    fn conclude_migration(&mut self, phase: MigrationPhase, change: impl FnOnce(&mut MigrationState)) {
        self.keeper.update(|status| {
            if let Some(state) = &mut status.migration_state {
                state.end_timestamp = Some(now());
                change(state);
            }
        });
        self.keeper.migration_reaches(phase);
    }

    fn note_progress(&mut self, progress: &Progress) {
        if progress.phase == Phase::Asking
            && let Some(Migrating { to, .. }) = &self.migrating
        {
            let message = format!(
                "whether the machine runs at {to} cannot be told: it stands still here until {to} answers. If no process \
                 there has it or ever had it, take it back: kubevmm migrate-cancel {} --force",
                self.plan.name
            );
            say!("kubevmm: {message}");
            self.keeper.tell(EventReason::MigrationInDoubt, message);
        }
        self.keeper.migration_reaches(match progress.phase {
            Phase::Connecting => MigrationPhase::Scheduling,
            _ => MigrationPhase::Running,
        });
        self.keeper.note_progress(*progress);
        if progress.phase == Phase::Serving {
            self.keeper.update(|status| {
                if let Some(state) = &mut status.migration_state {
                    state.mode = "PostCopy".into();
                }
            });
        }
        let text = json!({
            "phase": format!("{:?}", progress.phase),
            "rounds": progress.rounds,
            "memoryBytes": progress.memory,
            "diskBytes": progress.disks,
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

/// Memory in huge pages of 1 GiB does not follow its machine.
fn fitting(options: &MigrationOptions, backing: Backing) -> MigrationOptions {
    let post_copy = if backing.comes_on_demand() { options.post_copy } else { PostCopy::Never };
    MigrationOptions { post_copy, ..options.clone() }
}

/// What the status says of a migration that begins on `node`.
fn migration_state(request: &MigrationRequest, node: &str, uid: &str) -> MigrationState {
    let MigrationRequest { address, options, .. } = request;
    // Sockets of this host do not leave it.
    let target = if address.is_network() { String::new() } else { node.to_owned() };
    let source = MigrationSourceState {
        migration_uid: uid.to_owned(),
        node: node.to_owned(),
        sync_address: address.to_string(),
        ..MigrationSourceState::default()
    };
    MigrationState {
        start_timestamp: Some(now()),
        migration_uid: uid.to_owned(),
        source_node: node.to_owned(),
        target_node: target,
        target_node_address: address.to_string(),
        mode: "PreCopy".into(),
        migration_configuration: Some(options.configuration()),
        migration_policy_name: options.policy.clone().unwrap_or_default(),
        source_state: Some(source),
        ..MigrationState::default()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn migrating() -> Migrating {
        Migrating { cancel: Cancel::default(), to: "unix:/there".parse().unwrap(), uid: String::new() }
    }

    fn failed() -> End {
        Err(RunError::Events(io::ErrorKind::OutOfMemory.into()))
    }

    #[test]
    fn however_a_machine_ends_it_is_not_handed_over_after_that() {
        for end in [Ok(Some(ExitReason::GuestShutdown)), Ok(Some(ExitReason::Killed)), failed()] {
            let (before, late, text) = (migrating(), migrating(), format!("{end:?}"));
            assert!(late.cancel.hand_over() && late.cancel.may_go());
            let again = end.as_ref().map_or_else(|_| failed(), |reason| Ok(reason.clone()));
            assert_eq!(format!("{:?}", before.or_in_doubt(end)), text, "it is not in doubt");
            assert!(!before.cancel.hand_over(), "{text}");
            let is_in_doubt = matches!(late.or_in_doubt(again), Ok(Some(ExitReason::InDoubt { to })) if to == "unix:/there");
            assert_eq!(is_in_doubt, text.contains("Killed"), "{text}");
            assert!(!late.cancel.may_go() && late.cancel.is_handed_over(), "{text}");
        }
    }

    #[test]
    fn a_machine_that_boots_again_has_not_ended() {
        let migrating = migrating();
        assert!(matches!(migrating.or_in_doubt(Ok(None)), Ok(None)));
        assert!(migrating.cancel.hand_over() && migrating.cancel.may_go());
    }
}
