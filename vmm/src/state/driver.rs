//! Runs a machine to its end: builds it, watches it, rebuilds it when it is reset.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use devices::pci::{PciAddress, SlotEvent};
use devices::{chain, say};
use spec::api::EvictionStrategy;

use super::devices::Wishes;
use super::evicting::{Eviction, Refuge};
use super::migrating::Migrating;
use super::policy::{Holds, Input, Order, Rules, State};
use super::waiting::Waiting;
use super::{Arrival, ArrivalError, Event, ExitReason, Mailbox, Release, Reply, SaveOrder, Verb, loading};
use crate::agent::AgentReport;
use crate::demand::Demand;
use crate::hotplug::Depot;
use crate::machine::{BuildError, Machine, PauseError, Start};
use crate::milestone::{Milestone, Milestones};
use crate::open::Resources;
use crate::plan::Plan;
use crate::snapshot::Tracking;
use crate::status::{EventReason, Phase, StatusKeeper};
use crate::sys::code;
use crate::sys::signals::{Signals, Wish};
use crate::vcpu::GuestEvent;

/// A machine could not be brought up, or up again.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Building failed.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A machine that was to come from elsewhere did not arrive.
    #[error("the machine could not be brought back")]
    Arrival(#[source] ArrivalError),
    /// The driver's own descriptors failed.
    #[error("waiting for events failed")]
    Events(#[from] io::Error),
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why.
    pub reason: ExitReason,
    /// How often the machine was reset or restarted before.
    pub reboots: u32,
}

impl Outcome {
    /// The end of a machine that never ran, because of what `message` says.
    pub fn failed(message: String) -> Self {
        Self { reason: ExitReason::HostFailure { message }, reboots: 0 }
    }
}

/// What happens next.
pub(super) enum Next {
    Happened(Input),
    Asked(Verb, Reply),
    Reported(AgentReport),
    NoReboot,
    /// The guest did something with the slot of the device at this address.
    Slot(PciAddress, SlotEvent),
    /// Somebody wants the machine's state.
    Save(SaveOrder),
    /// The machine stands still for that.
    Stopped(Instant, SaveOrder),
}

/// Owner of one machine from its first boot to its end.
pub struct Driver {
    pub(super) plan: Plan,
    pub(super) resources: Resources,
    /// Where things are that are plugged in later.
    pub(super) depot: Depot,
    milestones: Arc<Milestones>,
    signals: Signals,
    pub(super) mailbox: Mailbox,
    waiting: Waiting,
    first_output: Arc<OnceLock<Instant>>,
    pub(super) keeper: StatusKeeper,
    pub(super) rules: Rules,
    pub(super) state: State,
    /// When the guest's time to go down is over.
    pub(super) deadline: Option<Instant>,
    /// The end was asked for without any time for the guest.
    pub(super) at_once: bool,
    /// Why the guest counts as hung, if it does: it is being ended for it.
    pub(super) hung: Option<String>,
    /// What was asked of the guest's memory and devices, for when the machine is built again.
    pub(super) wishes: Wishes,
    /// The end was asked for while the machine's state was handed out.
    pub(super) ends_later: bool,
    /// What was written since the last snapshot, if somebody wants to know.
    pub(super) tracking: Tracking,
    /// The machine's runtime directory.
    pub(super) runtime: PathBuf,
    /// Where it goes if its process is to end.
    pub(super) eviction: Eviction,
    /// The rest of its memory, if that is not here yet.
    pub(super) demand: Option<Demand>,
    /// It is being moved away.
    pub(super) migrating: Option<Migrating>,
    /// Where the first machine comes from, if it does not begin at power-on.
    arrival: Option<Arrival>,
}

impl Driver {
    /// A driver for the planned machine, which others reach by `mailbox` and whose status is in `keeper`; devices that are
    /// added later are found by `depot`. `signals` are blocked already, so that no thread to come takes them.
    pub fn new(
        plan: Plan,
        resources: Resources,
        milestones: Arc<Milestones>,
        signals: Signals,
        mailbox: Mailbox,
        keeper: StatusKeeper,
        depot: Depot,
    ) -> Result<Self, RunError> {
        let waiting = Waiting::new(&[mailbox.ready().as_raw_fd(), signals.as_fd().as_raw_fd()])?;
        let rules = Rules { reboots: plan.reboots, starts_paused: plan.starts_paused };
        Ok(Self {
            plan,
            resources,
            depot,
            milestones,
            signals,
            mailbox,
            waiting,
            first_output: Arc::default(),
            keeper,
            rules,
            state: rules.first(),
            deadline: None,
            at_once: false,
            hung: None,
            wishes: Wishes::default(),
            ends_later: false,
            tracking: Tracking::default(),
            runtime: PathBuf::new(),
            eviction: Eviction::default(),
            demand: None,
            migrating: None,
            arrival: None,
        })
    }

    /// What became of the machine when it was moved is kept in `directory`.
    pub fn keeping_records_in(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.runtime);
        self
    }

    /// If the process is to end, the machine goes to `refuge`, as `strategy` says.
    pub fn evicted_to(mut self, refuge: Option<Refuge>, strategy: Option<EvictionStrategy>) -> Self {
        self.eviction = Eviction::new(strategy, refuge);
        self
    }

    /// The first machine comes from elsewhere.
    pub fn arriving(mut self, arrival: Arrival) -> Self {
        self.state = State { holds: Holds::default(), leaving: None, fresh: false };
        self.arrival = Some(arrival);
        self
    }

    /// Runs the machine until it ends for good. All that was opened is closed when this returns; the status says how it
    /// ended.
    pub fn run(mut self) -> Result<Outcome, RunError> {
        let ended = self.run_to_end();
        match &ended {
            Ok(outcome) => self.keeper.end(&outcome.reason, self.at_once),
            Err(error) => self.keeper.fail(&chain(error)),
        }
        // Whoever still waits for an answer gets it now.
        self.mailbox.close();
        ended
    }

    fn run_to_end(&mut self) -> Result<Outcome, RunError> {
        let mut reboots = 0;
        // Before there was anything to end.
        if self.signals.wish_the_end() {
            return Ok(Outcome { reason: ExitReason::Killed, reboots });
        }
        self.keeper.enter(Phase::Scheduled);
        self.keeper.publish();
        let reason = loop {
            let (mut machine, arrived) = match self.build() {
                // It has not run here, as above.
                Err(RunError::Arrival(error)) if loading::is_end_wished(&error) => {
                    say!("kubevmm: {error}");
                    return Ok(Outcome { reason: ExitReason::Killed, reboots });
                }
                built => built?,
            };
            self.milestones.reach(Milestone::Built);
            self.begin(&mut machine, arrived, reboots);
            let end = self.watch(&mut machine);
            let end = self.or_in_doubt(end);
            let stopped = self.stop(machine);
            self.forget_migration();
            self.mailbox.forget_guest();
            self.settle_slots();
            match (end?, stopped) {
                (Some(reason), _) => break reason,
                (None, Ok(())) => reboots += 1,
                // Its disks are in use still.
                (None, Err(error)) => break ExitReason::HostFailure { message: error.to_string() },
            }
        };
        self.milestones.reach(Milestone::GuestExit);
        let reason = match (reason, self.hung.take()) {
            (ExitReason::Terminated | ExitReason::Killed, Some(message)) => ExitReason::Unhealthy { message },
            (reason, _) => reason,
        };
        Ok(Outcome { reason, reboots })
    }

    /// Builds a machine; says whether it came from elsewhere.
    fn build(&mut self) -> Result<(Machine, bool), RunError> {
        let arrival = self.arrival.take();
        let start = arrival.as_ref().map_or(Start::Kernel, Arrival::start);
        let (plan, resources, first_output) = (&self.plan, &self.resources, &self.first_output);
        let built = Machine::build(plan, resources, &self.mailbox, &self.milestones, first_output, start);
        let mut machine = match built {
            Ok(machine) => machine,
            Err(error) => {
                arrival.into_iter().for_each(|arrival| arrival.refuse(&chain(&error)));
                return Err(error.into());
            }
        };
        let arrived = arrival.is_some();
        if let Some(arrival) = arrival {
            let snapshot = arrival.tracked.clone();
            let moment = arrival.load(&mut machine, &self.signals).map_err(RunError::Arrival)?;
            self.state.holds.user = moment.paused;
            self.demand = moment.demand;
            self.hear_of_memory();
            if let Some(snapshot) = snapshot {
                let reader = machine.dirty_log().reader().map_err(|error| RunError::Arrival(error.into()))?;
                self.tracking.begin(snapshot, reader);
            }
        }
        self.waiting.add(&machine)?;
        Ok((machine, arrived))
    }

    /// Lets a machine go that was just built, unless it is to be paused.
    fn begin(&mut self, machine: &mut Machine, arrived: bool, reboots: u32) {
        if reboots == 0 {
            self.keeper.tell(EventReason::Created, "VirtualMachineInstance defined.");
            self.keeper.enter(Phase::Running);
            self.keeper.tell(EventReason::Started, "VirtualMachineInstance started.");
        } else {
            self.keeper.tell(EventReason::Rebooted, "VirtualMachineInstance was built again.");
        }
        self.wish_again(machine);
        self.tell_pause();
        if self.state.holds.any() {
            say!("kubevmm: the machine is paused until it is told to go on");
        } else if arrived {
            machine.resume();
            machine.announce();
        } else {
            machine.start();
        }
        if reboots == 0 {
            code::let_go();
        }
    }

    fn stop(&mut self, machine: Machine) -> Result<(), PauseError> {
        self.waiting.remove(&machine);
        let stopped = machine.power_off();
        match &stopped {
            Ok(()) => {
                // It knows nothing of the memory of the next one.
                self.tracking.forget();
                self.release_memory();
            }
            Err(error) => {
                say!("kubevmm: {error}");
                // To end its log, the kernel would wait for whoever still waits for a page.
                std::mem::forget(self.tracking.clone());
            }
        }
        if let Some(first) = self.first_output.get() {
            self.milestones.reach_at(Milestone::FirstConsoleByte, *first);
        }
        stopped
    }

    /// Watches a running machine; gives back why it ended, or `None` if it is to boot again.
    fn watch(&mut self, machine: &mut Machine) -> Result<Option<ExitReason>, RunError> {
        loop {
            let order = match self.next(machine)? {
                Next::Happened(input) => self.react(machine, input),
                Next::Asked(verb, reply) => self.answer(machine, &verb, reply),
                Next::Reported(report) => self.note(machine, report),
                Next::NoReboot => self.reboot_by_button(machine),
                Next::Save(order) => {
                    self.stop_for(machine, order);
                    Order::Nothing
                }
                Next::Stopped(stopped, order) => {
                    self.hand_out(machine, stopped, order);
                    Order::Nothing
                }
                Next::Slot(card, event) => {
                    self.slot_changed(machine, card, event);
                    Order::Nothing
                }
            };
            match order {
                Order::BootAgain => return Ok(None),
                Order::End(reason) => return Ok(Some(reason)),
                _ => {}
            }
        }
    }

    /// Waits for the next thing that happens.
    fn next(&mut self, machine: &mut Machine) -> Result<Next, RunError> {
        loop {
            self.keeper.publish();
            // The host's wishes first: no guest can keep them waiting.
            match self.signals.next() {
                Some(Wish::End) if self.evict(machine) => continue,
                Some(Wish::End) => return Ok(Next::Happened(self.stop_request())),
                Some(Wish::GoOn) => return Ok(Next::Happened(Input::DiskSeenTo)),
                None => {}
            }
            let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(Next::Happened(Input::GraceOver));
            }
            if let Some(event) = self.mailbox.take() {
                match self.next_of(machine, event) {
                    Some(next) => return Ok(next),
                    None => continue,
                }
            }
            if let Some(input) = self.flee_again(machine) {
                return Ok(Next::Happened(input));
            }
            let times = [left, self.keeper.retry_in(), self.wishes.overdue_in(), self.flees_in()];
            let due = self.waiting.wait(times.into_iter().flatten().min())?;
            if due.clock {
                machine.clock_timer_fired();
            }
            if due.disk_change {
                machine.disk_changed();
            }
            if due.disk_look {
                machine.look_at_disks();
            }
            self.keeper.write_again();
            self.tell_of_overdue();
            self.keeper.publish();
        }
    }

    /// What somebody asks for who wants the end. Whoever asks again, while the machine stands still, has lost patience, unless the
    /// machine that was handed over may need what is here.
    pub(super) fn stop_request(&self) -> Input {
        if self.ends_later && self.handed_over_to().is_none() {
            return Input::Insist;
        }
        Input::Terminate { patience: !self.usual_grace().is_zero() }
    }

    /// What follows from an event, unless it concerns nothing but the device or the status that it is about.
    fn next_of(&mut self, machine: &mut Machine, event: Event) -> Option<Next> {
        Some(Next::Happened(match event {
            Event::Request(verb, reply) => return Some(Next::Asked(verb, reply)),
            Event::Agent(report) => return Some(Next::Reported(report)),
            Event::Migration(report) => self.note_migration(report)?,
            Event::Memory(news) => self.note_memory(news)?,
            Event::NoReboot => return Some(Next::NoReboot),
            Event::Damaged(why) => {
                say!("kubevmm: the machine is paused, for its memory is not what was saved: {why}");
                self.keeper.tell(EventReason::MemoryDamaged, why);
                return Some(Next::Asked(Verb::Pause, Reply::new(|_| ())));
            }
            Event::RunsElsewhere(address) => {
                let message = format!(
                    "the machine was not moved, but {address} says that it runs there, or did: it is paused here. End one of the two"
                );
                say!("kubevmm: {message}");
                self.keeper.tell(EventReason::RunsElsewhere, message);
                return Some(Next::Asked(Verb::Pause, Reply::new(|_| ())));
            }
            Event::Look(order) => {
                self.show_machine(machine, order);
                return None;
            }
            Event::Save(order) => return Some(Next::Save(order)),
            Event::Stopped { stopped, order } => return Some(Next::Stopped(stopped, order)),
            Event::DisksMoved(disks) => {
                self.disks_moved(machine, disks);
                return None;
            }
            Event::Released(Release::GoOn) => Input::Released,
            Event::Released(Release::End(reason)) => Input::Left(reason),
            Event::DisksLooked { again } => {
                machine.disks_looked(again);
                return None;
            }
            Event::Leased { card, address } => {
                let message = format!("The guest has taken the address {address} on interface {card}.");
                self.keeper.tell(EventReason::AddressLeased, message);
                return None;
            }
            Event::Escape => self.stop_request(),
            Event::Slot(card, event) => return Some(Next::Slot(card, event)),
            Event::DiskFault { disk, fault } => {
                say!("kubevmm: disk {disk}: {fault}");
                if !self.state.holds.disk {
                    let message = format!("VM Paused due to IO error at the volume: {disk}");
                    self.keeper.tell(EventReason::IoError, message);
                }
                Input::DiskFault
            }
            Event::Guest(GuestEvent::Reset) => Input::GuestReset,
            Event::Guest(GuestEvent::PowerOff) => Input::GuestPowerOff,
            Event::Guest(GuestEvent::Hung(action)) => return Some(self.hung(action)),
            Event::Guest(GuestEvent::Panicked) => Input::GuestPanicked,
            Event::Guest(GuestEvent::TripleFault { vcpu }) => Input::TripleFault { vcpu },
            Event::Guest(GuestEvent::VcpuFailed { vcpu, error }) => {
                Input::HostFailure(format!("vCPU {vcpu} stopped: {}", chain(&error)))
            }
        }))
    }
}
