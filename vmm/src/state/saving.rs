//! Handing the machine's state out: to a snapshot, to a migration.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use block::MarkedDisk;
use devices::{GuestRam, chain};

use super::driver::Driver;
use super::policy::Input;
use super::{Event, ExitReason, Mailbox, Refusal, RefusalKind, Verb};
use crate::demand::Presence;
use crate::dirty::DirtyLog;
use crate::machine::{Machine, MachineState};
use crate::open::Backend;
use crate::plan::{DevicePlan, DiskSource, Function, Plan, Storage};
use crate::snapshot::Tracking;

/// What somebody is told whose order nobody fills any more.
const ENDED: &str = "the machine has ended";

/// What a machine is, all together.
#[derive(Debug)]
pub struct Saved {
    /// Its plan, with the devices that came while it ran, and without the contents of disks made of files.
    pub plan: Plan,
    /// Everything but the memory.
    pub state: MachineState,
    /// Its memory, which nothing changes until the [`Hold`] is given back.
    pub ram: GuestRam,
    /// Which of its pages were written; a reader made before says since when.
    pub dirty: DirtyLog,
    /// Its VirtualMachineInstance, as JSON.
    pub object: Arc<str>,
    /// Its disks, by their names. Nothing is written to them until the [`Hold`] is given back.
    pub disks: Vec<(String, Arc<MarkedDisk>)>,
    /// It is being moved.
    pub is_moving: bool,
    /// Something else keeps it paused, too.
    pub paused: bool,
    /// When it was stopped.
    pub stopped: Instant,
}

/// What becomes of a machine whose state was handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Release {
    /// It goes on, unless something else keeps it paused.
    GoOn,
    /// It ends: it is kept, or goes on, elsewhere.
    End(ExitReason),
}

/// A machine that stands still until this is given back. Dropped, it lets the machine go on.
#[derive(Debug)]
pub struct Hold {
    saved: Saved,
    mailbox: Mailbox,
    release: Option<Release>,
}

impl Hold {
    /// What was saved.
    pub fn saved(&self) -> &Saved {
        &self.saved
    }

    /// Gives the machine back. When it ends instead of going on, no vCPU of it runs ever again.
    pub fn release(mut self, release: Release) {
        self.release = Some(release);
    }

    /// Disks of these names go on in other storage, which shows the same.
    pub fn disks_moved(&self, disks: Vec<(String, Storage)>) {
        self.mailbox.post(Event::DisksMoved(disks));
    }

    /// From now on, the machine does not go on when this is dropped: it may run elsewhere.
    pub fn freeze(&mut self) {
        self.release = None;
    }

    /// Takes that back.
    pub fn thaw(&mut self) {
        self.release = Some(Release::GoOn);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            self.mailbox.post(Event::Released(release));
        }
    }
}

/// What others may have of a machine while it runs.
#[derive(Debug)]
pub struct Glance {
    /// Its memory.
    pub ram: GuestRam,
    /// Whether all of it is here.
    pub presence: Presence,
    /// Which of its pages are written.
    pub dirty: DirtyLog,
    /// Since when a snapshot to come may leave out what was not written.
    pub tracking: Tracking,
}

/// Somebody who wants something of the machine. It is called once, on the driver's thread, and must not block. Dropped, it
/// is told that the machine has ended.
pub struct Order<T>(Option<Answer<T>>);

type Answer<T> = Box<dyn FnOnce(Result<T, Refusal>) + Send>;

/// Somebody who wants the machine's state, for which it stops.
pub type SaveOrder = Order<Hold>;
/// Somebody who wants to look at the machine while it runs.
pub type LookOrder = Order<Glance>;

impl<T> Order<T> {
    /// What is wanted goes to `to`.
    pub fn new(to: impl FnOnce(Result<T, Refusal>) + Send + 'static) -> Self {
        Self(Some(Box::new(to)))
    }

    /// Has `ask` pass an order on, and waits for what comes of it. The driver's thread, which fills it, must not.
    ///
    /// # Errors
    /// It was refused, or the machine has ended.
    pub fn wait(ask: impl FnOnce(Self)) -> Result<T, Refusal>
    where
        T: Send + 'static,
    {
        let (sender, answer) = mpsc::channel();
        ask(Self::new(move |result| {
            // Nobody waits any more if this fails.
            let _ = sender.send(result);
        }));
        answer.recv().unwrap_or_else(|_| Err(Refusal::new(RefusalKind::Unavailable, ENDED)))
    }

    pub(crate) fn fill(mut self, answer: Result<T, Refusal>) {
        if let Some(to) = self.0.take() {
            to(answer);
        }
    }
}

impl<T> Drop for Order<T> {
    fn drop(&mut self) {
        if let Some(to) = self.0.take() {
            to(Err(Refusal::new(RefusalKind::Unavailable, ENDED)));
        }
    }
}

impl<T> fmt::Debug for Order<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Order")
    }
}

impl Driver {
    /// Lets `order` look at the machine.
    pub(super) fn show_machine(&self, machine: &Machine, order: LookOrder) {
        order.fill(Ok(Glance {
            ram: machine.ram(),
            presence: self.presence(),
            dirty: machine.dirty_log().clone(),
            tracking: self.tracking.clone(),
        }));
    }

    /// Stops the machine for `order`, which is filled as soon as all is seen to that the guest did before.
    pub(super) fn stop_for(&mut self, machine: &mut Machine, order: SaveOrder) {
        let stopped = Instant::now();
        let next = match self.rules.decide(self.state, &Verb::Save, true) {
            Ok((next, _)) => next,
            Err(refusal) => return order.fill(Err(refusal)),
        };
        if let Err(error) = machine.pause() {
            if !self.state.holds.any() {
                machine.resume();
            }
            return order.fill(Err(Refusal::new(RefusalKind::TimedOut, error.to_string())));
        }
        self.state = next;
        self.tell_pause();
        self.mailbox.post(Event::Stopped { stopped, order });
    }

    /// Hands the state out.
    pub(super) fn hand_out(&mut self, machine: &mut Machine, stopped: Instant, order: SaveOrder) {
        if !self.state.holds.saving {
            return order.fill(Err(Refusal::conflict("the guest was reset while it was being saved")));
        }
        match machine.save() {
            Ok(state) => {
                let saved = Saved {
                    plan: self.plan.clone(),
                    state,
                    ram: machine.ram(),
                    dirty: machine.dirty_log().clone(),
                    object: Arc::clone(&self.keeper.board().current().text),
                    disks: self.disks(),
                    is_moving: self.migrating.is_some(),
                    paused: self.state.holds.user || self.state.holds.disk,
                    stopped,
                };
                let hold = Hold { saved, mailbox: self.mailbox.clone(), release: Some(Release::GoOn) };
                order.fill(Ok(hold));
            }
            Err(error) => {
                self.react(machine, Input::Released);
                order.fill(Err(Refusal::new(RefusalKind::Internal, chain(&error))));
            }
        }
    }

    /// Disks go on in other storage, which shows the same.
    pub(super) fn disks_moved(&mut self, machine: &mut Machine, disks: Vec<(String, Storage)>) {
        for (name, storage) in disks {
            let planned = self.plan.functions.iter_mut().find(|function| function.name == name);
            if let Some(DevicePlan::Disk(disk)) = planned.map(|function| &mut function.device) {
                disk.source = DiskSource::Storage(storage);
                // An image that is no longer written does not grow, and one that lies over it does not either.
                machine.disk_stays_as_long(&name);
            }
        }
    }

    fn disks(&self) -> Vec<(String, Arc<MarkedDisk>)> {
        let pairs = self.plan.functions.iter().zip(&self.resources.backends);
        let disk = |(function, backend): (&Function, &Backend)| match backend {
            Backend::Disk(disk) => Some((function.name.clone(), Arc::clone(disk))),
            _ => None,
        };
        pairs.filter_map(disk).collect()
    }
}
