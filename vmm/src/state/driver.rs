//! Runs a machine to its end: builds it, watches it, rebuilds it when the guest resets it.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use devices::chain;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use super::transition::{Input, Order, Phase, react};
use super::{Event, ExitReason, Mailbox};
use crate::machine::{BuildError, Machine};
use crate::milestone::{Milestone, Milestones};
use crate::open::Resources;
use crate::plan::Plan;
use crate::sys::signals::TerminationSignals;
use crate::vcpu::GuestEvent;

/// Tokens of what the driver waits for: something is in a queue, or the guest's clock has an alarm.
const QUEUE: u64 = 0;
const CLOCK: u64 = 1;

/// A machine could not be brought up, or up again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Building failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The driver's own descriptors failed.
    #[error("waiting for events failed")]
    Events(#[from] io::Error),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why.
    pub reason: ExitReason,
    /// How often the guest reset the machine before.
    pub reboots: u32,
}

impl Outcome {
    /// The end of a machine that never ran, because of what `message` says.
    pub fn failed(message: String) -> Self {
        Self { reason: ExitReason::HostFailure { message }, reboots: 0 }
    }
}

/// Owner of one machine from its first boot to its end.
pub struct Driver {
    plan: Plan,
    resources: Resources,
    milestones: Arc<Milestones>,
    signals: TerminationSignals,
    mailbox: Mailbox,
    waiting: Epoll,
    first_output: Arc<OnceLock<Instant>>,
}

impl Driver {
    /// A driver for the planned machine. `signals` are blocked already, so that no thread to come takes them.
    pub fn new(
        plan: Plan,
        resources: Resources,
        milestones: Arc<Milestones>,
        signals: TerminationSignals,
    ) -> Result<Self, RunError> {
        let mailbox = Mailbox::new()?;
        let waiting = Epoll::new()?;
        for fd in [mailbox.ready().as_raw_fd(), signals.as_fd().as_raw_fd()] {
            waiting.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, QUEUE))?;
        }
        Ok(Self { plan, resources, milestones, signals, mailbox, waiting, first_output: Arc::default() })
    }

    /// Runs the machine until it ends for good. All that was opened is closed when this returns.
    pub fn run(self) -> Result<Outcome, RunError> {
        let mut reboots = 0;
        if self.signals.next().is_some() {
            return Ok(Outcome { reason: ExitReason::Killed, reboots });
        }
        let reason = loop {
            let machine = self.build()?;
            self.milestones.reach(Milestone::Built);
            machine.start();
            let end = self.watch(&machine);
            self.stop(machine);
            self.mailbox.forget_guest();
            match end? {
                Some(reason) => break reason,
                None => reboots += 1,
            }
        };
        self.milestones.reach(Milestone::GuestExit);
        Ok(Outcome { reason, reboots })
    }

    fn build(&self) -> Result<Machine, RunError> {
        let machine =
            Machine::build(&self.plan, &self.resources, &self.mailbox, &self.milestones, &self.first_output)?;
        let timer = EpollEvent::new(EventSet::IN, CLOCK);
        self.waiting.ctl(ControlOperation::Add, machine.clock_timer(), timer)?;
        Ok(machine)
    }

    fn stop(&self, machine: Machine) {
        // Closing the descriptor would do the same; nothing is lost if this fails.
        let _ = self.waiting.ctl(ControlOperation::Delete, machine.clock_timer(), EpollEvent::default());
        drop(machine);
        if let Some(first) = self.first_output.get() {
            self.milestones.reach_at(Milestone::FirstConsoleByte, *first);
        }
    }

    /// Watches a running machine; gives back why it ended, or `None` if it is to boot again.
    fn watch(&self, machine: &Machine) -> Result<Option<ExitReason>, RunError> {
        let mut phase = Phase::Running;
        let mut deadline = None;
        loop {
            let input = self.next_input(machine, deadline)?;
            let (next, order) = react(phase, input);
            phase = next;
            match order {
                Order::Nothing => {}
                Order::PressPowerButton => {
                    machine.press_power_button();
                    deadline = Instant::now().checked_add(self.plan.grace_period);
                }
                Order::Reboot => return Ok(None),
                Order::End(reason) => return Ok(Some(reason)),
            }
        }
    }

    /// Waits for the next thing that happens.
    fn next_input(&self, machine: &Machine, deadline: Option<Instant>) -> Result<Input, RunError> {
        loop {
            // The host's wishes first: no guest can keep them waiting.
            if self.signals.next().is_some() {
                return Ok(self.stop_request());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Input::GraceOver);
            }
            if let Some(event) = self.mailbox.take() {
                return Ok(self.input_of(event));
            }
            if self.wait(left)? {
                machine.clock_timer_fired();
            }
        }
    }

    /// Waits for anything; true if the real-time clock's timer is due.
    fn wait(&self, left: Option<Duration>) -> io::Result<bool> {
        // Rounded up, so that the deadline has passed when the time is over.
        let milliseconds =
            left.map_or(-1, |left| i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX));
        let mut events = [EpollEvent::default(); 3];
        match self.waiting.wait(milliseconds, &mut events) {
            Ok(count) => Ok(events.iter().take(count).any(|event| event.data() == CLOCK)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn stop_request(&self) -> Input {
        Input::Stop { patience: !self.plan.grace_period.is_zero() }
    }

    fn input_of(&self, event: Event) -> Input {
        match event {
            Event::Escape => self.stop_request(),
            Event::Guest(GuestEvent::Reset) => Input::GuestReset { again: self.plan.reboots },
            Event::Guest(GuestEvent::PowerOff) => Input::GuestPowerOff,
            Event::Guest(GuestEvent::Panicked) => Input::GuestPanicked,
            Event::Guest(GuestEvent::TripleFault { vcpu }) => Input::TripleFault { vcpu },
            Event::Guest(GuestEvent::VcpuFailed { vcpu, error }) => {
                Input::HostFailure(format!("vCPU {vcpu} stopped: {}", chain(&error)))
            }
        }
    }
}
