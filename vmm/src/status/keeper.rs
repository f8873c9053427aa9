//! The one writer of the status.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use devices::say;
use spec::api::{
    PhaseTransition, VirtualMachineInstance, VirtualMachineInstanceSpec, VirtualMachineInstanceStatus,
};

use super::agent::AgentStatus;
use super::conditions::{self, Pause, Wanted};
use super::files::Files;
use super::migrations::{self, Migrations, News};
use super::{Board, EventReason, EventRecord, Phase, Published, clock, initial};
use crate::agent::{AgentReport, ProbeKind, ProbeResult};
use crate::migration::source::Progress;
use crate::plan::Plan;
use crate::state::ExitReason;

/// How long the driver waits until it tries again to write what could not be written.
const AGAIN: Duration = Duration::from_secs(10);

/// Keeps the machine's VirtualMachineInstance: changes go to the board at once, and to the files as soon as they take
/// them. A host that cannot write them is told about once; the machine goes on.
#[derive(Debug)]
pub struct StatusKeeper {
    vmi: VirtualMachineInstance,
    /// It has another specification than was published.
    spec_changed: bool,
    status: VirtualMachineInstanceStatus,
    phase: Phase,
    pause: Option<Pause>,
    agent: AgentStatus,
    migrations: Migrations,
    progress: Option<Progress>,
    version: u64,
    events: u64,
    board: Board,
    files: Option<Files>,
    /// When to write again what could not be written.
    again: Option<Instant>,
}

impl StatusKeeper {
    /// The status of the machine that `vmi` describes and that is planned as `plan`: it is `Pending`.
    pub fn new(vmi: VirtualMachineInstance, plan: &Plan) -> Self {
        let vmi = initial::object(vmi);
        let status = initial::status(&vmi, plan);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Later than all that an earlier process can have had.
        let version = u64::try_from(since.as_micros()).unwrap_or_default();
        let board = Board::new(published(&vmi, &status, version, None));
        let agent = AgentStatus::new(plan.readiness.is_some());
        let (phase, pause, events, files, again) = (Phase::Pending, None, 0, None, None);
        let spec_changed = false;
        let mut keeper = Self {
            vmi,
            spec_changed,
            status,
            phase,
            pause,
            agent,
            migrations: Migrations::default(),
            progress: None,
            version,
            events,
            board,
            files,
            again,
        };
        keeper.enter(Phase::Pending);
        keeper.publish();
        keeper
    }

    /// Also writes into files of `directory` from now on.
    pub fn write_to(&mut self, directory: &Path) {
        self.files = Some(Files::new(directory));
        self.write();
    }

    /// The board that shows all this.
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// The machine enters a phase of its life.
    pub fn enter(&mut self, phase: Phase) {
        let now = clock::now();
        self.phase = phase;
        self.status.phase = phase.as_str().into();
        let seen = &mut self.status.phase_transition_timestamps;
        if seen.iter().all(|seen| seen.phase != phase.as_str()) {
            seen.push(PhaseTransition {
                phase: phase.as_str().into(),
                phase_transition_timestamp: Some(now),
            });
        }
        if phase.is_final() {
            self.pause = None;
        }
        self.derive_conditions();
    }

    /// The machine is paused, or not.
    pub fn set_pause(&mut self, pause: Option<Pause>) {
        self.pause = pause;
        self.derive_conditions();
    }

    /// There is news of the guest's agent, or of probes.
    pub fn note_agent(&mut self, report: &AgentReport) {
        if let AgentReport::Probe(ProbeResult { kind, health: Err(why) }) = report {
            let kind = match kind {
                ProbeKind::Readiness => "Readiness",
                ProbeKind::Liveness => "Liveness",
            };
            self.tell(EventReason::Unhealthy, format!("{kind} probe failed: {why}"));
        }
        match report {
            AgentReport::Identity(Ok(())) => {
                self.tell(EventReason::IdentityTaken, "The guest has taken its new identity over.");
            }
            AgentReport::Identity(Err(why)) => {
                let message = format!("The guest has not taken its new identity over: {why}");
                devices::say!("kubevmm: {message}");
                self.tell(EventReason::IdentityRefused, message);
            }
            _ => {}
        }
        self.agent.note(report, &mut self.status);
        self.derive_conditions();
    }

    /// Whether the guest's agent answers.
    pub fn has_agent(&self) -> bool {
        self.agent.is_connected()
    }

    /// The machine has ended for `reason`; `at_once` if its guest was given no time by whoever ended it.
    pub fn end(&mut self, reason: &ExitReason, at_once: bool) {
        let (phase, message) = match reason {
            ExitReason::GuestShutdown | ExitReason::Terminated => {
                (Phase::Succeeded, "The VirtualMachineInstance was shut down.")
            }
            ExitReason::Saved { .. } => (Phase::Succeeded, "The VirtualMachineInstance was saved."),
            // KubeVirt: a guest that was to have time and was destroyed has failed (pkg/virt-handler/vm.go).
            ExitReason::Killed if at_once => (Phase::Succeeded, "The VirtualMachineInstance was stopped."),
            ExitReason::Killed => (Phase::Failed, "The VirtualMachineInstance was stopped by force."),
            ExitReason::InDoubt { .. } => (
                Phase::Failed,
                "The VirtualMachineInstance was stopped by force while it was not known whether it runs where it was migrated to.",
            ),
            ExitReason::Unhealthy { .. } => {
                (Phase::Failed, "The VirtualMachineInstance was stopped because its liveness probe failed.")
            }
            ExitReason::Migrated { .. } => (Phase::Succeeded, "The VirtualMachineInstance was migrated."),
            ExitReason::GuestPanic => {
                self.tell(EventReason::GuestPanicked, "Guest OS panicked.");
                (Phase::Failed, "The VirtualMachineInstance crashed.")
            }
            ExitReason::Hung | ExitReason::TripleFault { .. } | ExitReason::HostFailure { .. } => {
                (Phase::Failed, "The VirtualMachineInstance crashed.")
            }
        };
        self.conclude(phase, EventReason::Stopped, message);
    }

    /// The machine could not be brought up, or up again.
    pub fn fail(&mut self, message: &str) {
        self.conclude(Phase::Failed, EventReason::SyncFailed, message);
    }

    fn conclude(&mut self, phase: Phase, reason: EventReason, message: &str) {
        self.enter(phase);
        self.tell(reason, message);
        self.publish();
    }

    /// Changes whatever else the status says.
    pub fn update(&mut self, change: impl FnOnce(&mut VirtualMachineInstanceStatus)) {
        change(&mut self.status);
    }

    /// The machine's specification, to be changed.
    pub(super) fn change_spec(&mut self) -> &mut VirtualMachineInstanceSpec {
        self.spec_changed = true;
        &mut self.vmi.spec
    }

    /// Sets an annotation of the object.
    pub fn annotate(&mut self, name: &str, value: String) {
        self.vmi.metadata.annotations.insert(name.to_owned(), value);
        self.spec_changed = true;
    }

    /// Takes an annotation away.
    pub fn remove_annotation(&mut self, name: &str) {
        self.spec_changed |= self.vmi.metadata.annotations.remove(name).is_some();
    }

    /// Changes the migrations of the machine, and publishes what came of them: after what the machine's own status says by now, so that
    /// who sees a migration end finds its end there as well.
    pub(super) fn change_migrations<T>(
        &mut self,
        change: impl FnOnce(&mut Migrations, &VirtualMachineInstance, &VirtualMachineInstanceStatus) -> (T, News),
    ) -> T {
        self.publish();
        let (done, news) = change(&mut self.migrations, &self.vmi, &self.status);
        self.version = migrations::publish(&self.board, news, self.version);
        done
    }

    /// A migration is so far.
    pub fn note_progress(&mut self, progress: Progress) {
        self.progress = Some(progress);
    }

    /// Tells of something that happened.
    pub fn tell(&mut self, reason: EventReason, message: impl Into<String>) {
        self.events += 1;
        self.version += 1;
        let event = EventRecord::new(self.events, self.version, &self.vmi, reason, message.into());
        let event = Arc::new(event);
        if let Some(files) = &mut self.files
            && let Err(error) = files.add_event(&event.text)
        {
            self.failed(&error);
        }
        self.board.tell(event);
    }

    /// Publishes the object if it is another one than before.
    pub fn publish(&mut self) {
        let changed = std::mem::take(&mut self.spec_changed);
        if !changed && self.board.current().vmi.status.as_deref() == Some(&self.status) {
            return;
        }
        self.version += 1;
        self.board.publish(published(&self.vmi, &self.status, self.version, self.progress));
        self.write();
    }

    /// How long until [`StatusKeeper::write_again`] is to be called, if at all.
    pub fn retry_in(&self) -> Option<Duration> {
        self.again.map(|again| again.saturating_duration_since(Instant::now()))
    }

    /// Writes what could not be written before, if it is time.
    pub fn write_again(&mut self) {
        if self.retry_in() == Some(Duration::ZERO) {
            self.write();
        }
    }

    fn write(&mut self) {
        let Some(files) = &self.files else { return };
        match files.write_vmi(&self.board.current().text) {
            Ok(()) => {
                if self.again.take().is_some() {
                    say!("kubevmm: the status can be written again");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &std::io::Error) {
        if self.again.is_none() {
            say!("kubevmm: the status could not be written, which is tried again later: {error}");
        }
        self.again = Instant::now().checked_add(AGAIN);
    }

    fn derive_conditions(&mut self) {
        let now = clock::now();
        let has_claims = self.status.volume_status.iter().any(|v| v.persistent_volume_claim_info.is_some());
        let claims_ready = has_claims.then_some(Wanted {
            holds: self.phase >= Phase::Scheduled,
            reason: if self.phase >= Phase::Scheduled { "AllDVsReady" } else { "NotAllDVsReady" },
            message: if self.phase >= Phase::Scheduled {
                "All of the VMI's DVs are bound and ready".into()
            } else {
                "Not all of the VMI's DVs are ready".into()
            },
        });
        // Whatever devices it has, it can be moved.
        let migratable = Wanted { holds: true, reason: "", message: "".into() };
        let ready = conditions::ready(self.phase, self.pause, self.agent.unready());
        let of_agent = self.agent.conditions();
        let all = &mut self.status.conditions;
        conditions::set(all, conditions::READY, Some(ready), &now);
        conditions::set(all, conditions::PAUSED, conditions::paused(self.pause), &now);
        conditions::set(all, conditions::DATA_VOLUMES_READY, claims_ready, &now);
        conditions::set(all, conditions::LIVE_MIGRATABLE, Some(migratable), &now);
        for (kind, wanted) in of_agent {
            conditions::set(all, kind, wanted, &now);
        }
    }
}

/// The object with this status.
fn published(
    vmi: &VirtualMachineInstance,
    status: &VirtualMachineInstanceStatus,
    version: u64,
    progress: Option<Progress>,
) -> Published {
    let mut vmi = vmi.clone();
    vmi.metadata.resource_version = version.to_string();
    vmi.status = Some(Box::new(status.clone()));
    // Text, numbers and lists always have a JSON form.
    let text = serde_json::to_string(&vmi).unwrap_or_default();
    Published { version, vmi, text: text.into(), progress }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
