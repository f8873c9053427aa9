//! Runs a machine to its end: builds it, watches it, rebuilds it when the guest resets it.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::AsRawFd;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use devices::{chain, say};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::timerfd::TimerFd;

use super::transition::{Input, Order, Phase, react};
use super::{Event, ExitReason, Mailbox};
use crate::machine::{BuildError, Machine};
use crate::milestone::{Milestone, Milestones};
use crate::open::Resources;
use crate::plan::Plan;
use crate::sys::signals::{Signals, Wish};
use crate::vcpu::GuestEvent;

/// Tokens of what the driver waits for: something is in a queue, the guest's clock has an alarm, disks are to be looked at.
const QUEUE: u64 = 0;
const CLOCK: u64 = 1;
const DISKS: u64 = 2;
/// How often disks are looked at: nothing tells of a file that has grown without telling of every write to it, too.
const LOOK: Duration = Duration::from_secs(5);

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

/// What else there is to do.
#[derive(Clone, Copy, Debug, Default)]
struct Due {
    /// The real-time clock's timer is due.
    clock: bool,
    /// Disks are to be looked at.
    disks: bool,
}

/// Owner of one machine from its first boot to its end.
pub struct Driver {
    plan: Plan,
    resources: Resources,
    milestones: Arc<Milestones>,
    signals: Signals,
    mailbox: Mailbox,
    waiting: Epoll,
    /// Says when disks are to be looked at; it goes on only when it has been read.
    look: TimerFd,
    first_output: Arc<OnceLock<Instant>>,
}

impl Driver {
    /// A driver for the planned machine. `signals` are blocked already, so that no thread to come takes them.
    pub fn new(
        plan: Plan,
        resources: Resources,
        milestones: Arc<Milestones>,
        signals: Signals,
    ) -> Result<Self, RunError> {
        let mailbox = Mailbox::new()?;
        let waiting = Epoll::new()?;
        for fd in [mailbox.ready().as_raw_fd(), signals.as_fd().as_raw_fd()] {
            waiting.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, QUEUE))?;
        }
        let mut look = TimerFd::new().map_err(io::Error::from)?;
        look.reset(LOOK, Some(LOOK)).map_err(io::Error::from)?;
        waiting.ctl(ControlOperation::Add, look.as_raw_fd(), EpollEvent::new(EventSet::IN, DISKS))?;
        let first_output = Arc::default();
        Ok(Self { plan, resources, milestones, signals, mailbox, waiting, look, first_output })
    }

    /// Runs the machine until it ends for good. All that was opened is closed when this returns.
    pub fn run(mut self) -> Result<Outcome, RunError> {
        let mut reboots = 0;
        if self.end_is_wished() {
            return Ok(Outcome { reason: ExitReason::Killed, reboots });
        }
        let reason = loop {
            let mut machine = self.build()?;
            self.milestones.reach(Milestone::Built);
            machine.start();
            let end = self.watch(&mut machine);
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
    fn watch(&mut self, machine: &mut Machine) -> Result<Option<ExitReason>, RunError> {
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
                Order::Pause => {
                    machine.pause();
                    let id = std::process::id();
                    say!(
                        "kubevmm: the machine is paused; when the host can do it, resume it: kill -CONT {id}"
                    );
                }
                Order::Resume => {
                    machine.resume();
                    say!("kubevmm: the machine goes on");
                }
                Order::Reboot => return Ok(None),
                Order::End(reason) => return Ok(Some(reason)),
            }
        }
    }

    /// Waits for the next thing that happens.
    fn next_input(&mut self, machine: &mut Machine, deadline: Option<Instant>) -> Result<Input, RunError> {
        loop {
            // The host's wishes first: no guest can keep them waiting.
            match self.signals.next() {
                Some(Wish::End) => return Ok(self.stop_request()),
                Some(Wish::GoOn) => return Ok(Input::Resume),
                None => {}
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Input::GraceOver);
            }
            if let Some(event) = self.mailbox.take() {
                return Ok(self.input_of(event));
            }
            let due = self.wait(left)?;
            if due.clock {
                machine.clock_timer_fired();
            }
            if due.disks {
                self.look.wait().map_err(io::Error::from)?;
                machine.look_at_disks();
            }
        }
    }

    /// Waits for anything.
    fn wait(&self, left: Option<Duration>) -> io::Result<Due> {
        // Rounded up, so that the deadline has passed when the time is over.
        let milliseconds =
            left.map_or(-1, |left| i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX));
        let mut events = [EpollEvent::default(); 4];
        match self.waiting.wait(milliseconds, &mut events) {
            Ok(count) => {
                let is_due = |token| events.iter().take(count).any(|event| event.data() == token);
                Ok(Due { clock: is_due(CLOCK), disks: is_due(DISKS) })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Due::default()),
            Err(error) => Err(error),
        }
    }

    /// Whether the process was asked to end before there was anything to end.
    fn end_is_wished(&self) -> bool {
        std::iter::from_fn(|| self.signals.next()).any(|wish| wish == Wish::End)
    }

    fn stop_request(&self) -> Input {
        Input::Stop { patience: !self.plan.grace_period.is_zero() }
    }

    fn input_of(&self, event: Event) -> Input {
        match event {
            Event::Escape => self.stop_request(),
            Event::DiskFault(message) => {
                say!("kubevmm: {message}");
                Input::DiskFault
            }
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
