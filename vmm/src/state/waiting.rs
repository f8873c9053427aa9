//! What the driver waits for.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::machine::Machine;

/// Tokens: something is in a queue, the guest's clock has an alarm, the file of a disk was changed, disks are to be looked
/// at.
const QUEUE: u64 = 0;
const CLOCK: u64 = 1;
const DISK_CHANGE: u64 = 2;
const DISK_LOOK: u64 = 3;

/// What there is to do beside the queues.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    /// The real-time clock's timer is due.
    pub(super) clock: bool,
    /// The file of a disk was changed.
    pub(super) disk_change: bool,
    /// Disks are to be looked at.
    pub(super) disk_look: bool,
}

/// The descriptors that wake the driver.
#[derive(Debug)]
pub(super) struct Waiting(Epoll);

impl Waiting {
    /// Wakes up for these queues.
    pub(super) fn new(queues: &[RawFd]) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        for fd in queues {
            epoll.ctl(ControlOperation::Add, *fd, EpollEvent::new(EventSet::IN, QUEUE))?;
        }
        Ok(Self(epoll))
    }

    /// Wakes up for `machine`, too.
    pub(super) fn add(&self, machine: &Machine) -> io::Result<()> {
        watched(machine).into_iter().try_for_each(|(fd, token)| {
            self.0.ctl(ControlOperation::Add, fd, EpollEvent::new(EventSet::IN, token))
        })
    }

    /// No longer wakes up for `machine`.
    pub(super) fn remove(&self, machine: &Machine) {
        for (fd, _) in watched(machine) {
            // Closing the descriptor would do the same; nothing is lost if this fails.
            let _ = self.0.ctl(ControlOperation::Delete, fd, EpollEvent::default());
        }
    }

    /// Waits for anything, for `left` at most.
    pub(super) fn wait(&self, left: Option<Duration>) -> io::Result<Due> {
        // Rounded up, so that the deadline has passed when the time is over.
        let milliseconds =
            left.map_or(-1, |left| i32::try_from(left.as_millis().saturating_add(1)).unwrap_or(i32::MAX));
        let mut events = [EpollEvent::default(); 8];
        match self.0.wait(milliseconds, &mut events) {
            Ok(count) => {
                let is_due = |token| events.iter().take(count).any(|event| event.data() == token);
                Ok(Due {
                    clock: is_due(CLOCK),
                    disk_change: is_due(DISK_CHANGE),
                    disk_look: is_due(DISK_LOOK),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Due::default()),
            Err(error) => Err(error),
        }
    }
}

/// What of a machine is waited for.
fn watched(machine: &Machine) -> [(RawFd, u64); 3] {
    [(machine.clock_timer(), CLOCK), (machine.disk_changes(), DISK_CHANGE), (machine.disk_timer(), DISK_LOOK)]
}
