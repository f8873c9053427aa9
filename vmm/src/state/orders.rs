//! What the driver does about what happened and what was asked.

use std::time::{Duration, Instant};

use devices::say;

use super::driver::Driver;
use super::policy::{Input, Leaving, Order};
use super::{Done, Event, Refusal, RefusalKind, Reply, Verb};
use crate::agent::{AgentCommand, AgentReply, AgentReport, ProbeKind, ProbeResult, ShutdownMode};
use crate::machine::{Machine, PauseError};
use crate::status::{EventReason, Pause};

/// A guest that was asked to reboot has at least this long for it; later, going down is what it wants itself.
const REBOOT: Duration = Duration::from_secs(30);

impl Driver {
    /// Reacts to what happened.
    pub(super) fn react(&mut self, machine: &mut Machine, input: Input) -> Order {
        let patience = match &input {
            Input::Terminate { patience } => *patience,
            _ => true,
        };
        if input == Input::GraceOver {
            self.deadline = None;
        }
        let is_over = matches!(input, Input::Released);
        let (next, order) = self.rules.react(self.state, input);
        self.state = next;
        self.stay_to_power_off();
        self.at_once |= !patience;
        if let Err(error) = self.carry_out(machine, &order, self.plan.grace_period) {
            // The vCPUs stand, and the rest follows as soon as it can: all that a disk's fault needs.
            say!("kubevmm: {error}");
            self.tell_pause();
        }
        if is_over && std::mem::take(&mut self.ends_later) {
            return self.react(machine, self.stop_request());
        }
        if is_over && let Some(input) = self.flee_after_save(machine) {
            return self.react(machine, input);
        }
        order
    }

    /// Does what was asked, or refuses, and says so.
    pub(super) fn answer(&mut self, machine: &mut Machine, verb: &Verb, reply: Reply) -> Order {
        let saving = self.state.holds.saving;
        // One whose destination does not answer holds the machine itself.
        let is_cancel = matches!(
            verb,
            Verb::CancelMigration { .. } | Verb::DeleteMigration { .. } | Verb::CancelEvacuation
        );
        if (!saving || is_cancel)
            && let Some(answer) = self.answer_for_devices(machine, verb)
        {
            self.keeper.publish();
            reply.send(answer);
            return Order::Nothing;
        }
        let grace = self.grace(verb);
        let (next, order) = match self.rules.decide(self.state, verb, !grace.is_zero()) {
            Ok(decided) => decided,
            Err(refusal) => {
                reply.send(Err(refusal));
                return Order::Nothing;
            }
        };
        let before = std::mem::replace(&mut self.state, next);
        self.at_once |= grace.is_zero() && matches!(verb, Verb::Stop { .. });
        if let Err(error) = self.carry_out(machine, &order, grace) {
            // Only a pause fails, and nothing has changed if it is taken back.
            self.state = before;
            machine.resume();
            self.tell_pause();
            self.keeper.tell(EventReason::Failed, format!("{}: {error}", verb.name()));
            reply.send(Err(Refusal::new(RefusalKind::TimedOut, error.to_string())));
            return Order::Nothing;
        }
        self.stay_to_power_off();
        let done = match order {
            Order::AskToPowerOff
            | Order::ResumeAndAskToPowerOff
            | Order::HurryUp
            | Order::AskToReboot
            | Order::BootAgain
            | Order::End(_) => Done::Begun,
            _ => Done::Finished,
        };
        // The status has to say so before anybody hears of it.
        self.keeper.publish();
        reply.send(Ok(done));
        order
    }

    /// How long the guest has to go down when nobody says otherwise. One that was handed over, and may need the memory that is here, is
    /// not lost by the way: that takes somebody who says that it is to end at once.
    pub(super) fn usual_grace(&self) -> Duration {
        if self.handed_over_to().is_some() { Duration::MAX } else { self.plan.grace_period }
    }

    /// How long the guest has to go down.
    fn grace(&self, verb: &Verb) -> Duration {
        match verb {
            Verb::Stop { grace } | Verb::Restart { grace } => grace.unwrap_or_else(|| self.usual_grace()),
            _ => self.plan.grace_period.max(REBOOT),
        }
    }

    fn carry_out(&mut self, machine: &mut Machine, order: &Order, grace: Duration) -> Result<(), PauseError> {
        match order {
            Order::Nothing | Order::End(_) => {}
            Order::Pause => self.pause(machine)?,
            Order::Resume => self.resume(machine),
            Order::AskToPowerOff => self.ask_to_power_off(machine, grace),
            Order::ResumeAndAskToPowerOff => {
                self.resume(machine);
                self.ask_to_power_off(machine, grace);
            }
            Order::PressPowerButton => machine.press_power_button(),
            Order::AskToReboot => {
                self.ask_to_reboot(machine);
                self.deadline = Instant::now().checked_add(grace);
            }
            Order::HurryUp => {
                let sooner = Instant::now().checked_add(grace);
                self.deadline = [self.deadline, sooner].into_iter().flatten().min();
            }
            Order::InjectNmi => machine.inject_nmi(),
            Order::EndLater => {
                self.ends_later = true;
                if let Some(to) = self.handed_over_to() {
                    let name = &self.plan.name;
                    say!(
                        "kubevmm: the process stays as long as the machine at {to} may need its memory; kubevmm stop {name} --force \
                         ends it all the same"
                    );
                }
            }
            Order::BootAgain => self.deadline = None,
        }
        self.tell_pause();
        Ok(())
    }

    fn pause(&mut self, machine: &mut Machine) -> Result<(), PauseError> {
        let paused = machine.pause();
        if self.state.holds.disk {
            let id = std::process::id();
            say!("kubevmm: the machine is paused; when the host can do it, resume it: kill -CONT {id}");
        } else if paused.is_ok() {
            say!("kubevmm: the machine is paused");
            self.keeper.tell(EventReason::Paused, "VirtualMachineInstance paused.");
        }
        paused
    }

    fn resume(&mut self, machine: &mut Machine) {
        machine.resume();
        say!("kubevmm: the machine goes on");
        self.keeper.tell(EventReason::Resumed, "VirtualMachineInstance resumed.");
    }

    /// Has the guest's agent reboot the guest, if there is one, else presses the power button, as KubeVirt does.
    fn ask_to_reboot(&self, machine: &Machine) {
        let agent = self.resources.agent().filter(|_| self.keeper.has_agent());
        let Some(agent) = agent else { return machine.press_power_button() };
        let mailbox = self.mailbox.clone();
        let reply = AgentReply::new(move |answer| {
            if answer.is_err() {
                mailbox.post(Event::NoReboot);
            }
        });
        agent.ask(AgentCommand::ShutDown(ShutdownMode::Reboot), reply);
    }

    /// The guest's agent will not reboot the guest: the power button is pressed instead.
    pub(super) fn reboot_by_button(&self, machine: &Machine) -> Order {
        if self.state.leaving == Some(Leaving::SoftReboot) {
            machine.press_power_button();
        }
        Order::Nothing
    }

    /// Takes news of the guest's agent, or of probes. A guest that is not alive any more is ended as by its user; what
    /// restarts it is whoever started it.
    pub(super) fn note(&mut self, machine: &mut Machine, report: AgentReport) -> Order {
        self.keeper.note_agent(&report);
        let AgentReport::Probe(ProbeResult { kind: ProbeKind::Liveness, health: Err(why) }) = report else {
            return Order::Nothing;
        };
        if self.hung.is_some() || self.state.leaving == Some(Leaving::Stop) || self.ends_later {
            return Order::Nothing;
        }
        say!("kubevmm: the machine is ended because its liveness probe failed: {why}");
        self.hung = Some(why);
        self.react(machine, self.stop_request())
    }

    fn ask_to_power_off(&mut self, machine: &Machine, grace: Duration) {
        machine.press_power_button();
        self.deadline = Instant::now().checked_add(grace);
        self.keeper.tell(EventReason::ShuttingDown, "Signaled Graceful Shutdown");
    }

    /// Has the status say whether the machine is paused.
    pub(super) fn tell_pause(&mut self) {
        let holds = self.state.holds;
        if let Some(agent) = self.resources.agent() {
            agent.set_paused(holds.any());
        }
        self.keeper.set_pause(match (holds.memory, holds.disk, holds.user) {
            (true, _, _) => Some(Pause::Memory),
            (false, true, _) => Some(Pause::Disk),
            (false, false, true) => Some(Pause::User),
            (false, false, false) => None,
        });
    }
}
