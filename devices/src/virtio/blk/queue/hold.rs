//! Requests that the host failed, held back until somebody has them tried again.

use std::io;
use std::os::fd::AsRawFd;

use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::{BlkQueue, DiskFault, InFlight, RETRY};
use crate::lock;
use crate::virtio::RingError;
use crate::virtio::worker::Watch;

impl BlkQueue {
    /// Keeps a request that failed for later.
    pub(super) fn hold(&mut self, head: u16, request: &InFlight, error: &io::Error) {
        // The chain is the device's still, and must not come again.
        self.keep(head, *request);
        self.held.push(head);
        self.faults.push(DiskFault::new(&request.command, error));
    }

    /// Sees to it that the queue is woken when what it holds is to be tried again; then tells of it.
    pub(super) fn wait_for_retry(&mut self, watch: &mut Watch<'_, '_>) {
        if !self.held.is_empty() && !self.waits {
            self.ask_to_be_woken(watch);
        }
        for fault in self.faults.drain(..) {
            self.shared.held.tell(fault);
        }
    }

    fn ask_to_be_woken(&mut self, watch: &mut Watch<'_, '_>) {
        if self.retry.is_none()
            && let Ok(fd) = EventFd::new(EFD_NONBLOCK)
            && watch.add(fd.as_raw_fd(), RETRY, EventSet::IN | EventSet::EDGE_TRIGGERED)
        {
            self.retry = Some(fd);
        }
        match self.retry.as_ref().map(EventFd::try_clone) {
            Some(Ok(fd)) => {
                self.shared.held.wait(fd);
                self.waits = true;
            }
            // Without a way to be woken, the guest is told the truth.
            _ => self.give_up(),
        }
    }

    /// Answers what is held with an error.
    fn give_up(&mut self) {
        for head in std::mem::take(&mut self.held) {
            if let Some(request) = self.in_flight.get_mut(usize::from(head)).and_then(Option::take) {
                self.finish(head, &request, false);
            }
        }
    }

    /// Leaves what is held to the queue that goes on where this one stops.
    pub(super) fn leave_held(&mut self) {
        for fault in self.faults.drain(..) {
            self.shared.held.tell(fault);
        }
        if !self.held.is_empty() {
            lock(&self.shared.left).insert(self.index, std::mem::take(&mut self.held));
        }
    }

    /// Tries again what the queue left that this one goes on for.
    pub(super) fn take_over(&mut self) -> Result<(), RingError> {
        self.held = lock(&self.shared.left).remove(&self.index).unwrap_or_default();
        if self.held.is_empty() { Ok(()) } else { self.try_again() }
    }

    /// Tries again what is held.
    pub(super) fn try_again(&mut self) -> Result<(), RingError> {
        self.waits = false;
        for head in std::mem::take(&mut self.held) {
            if let Some(slot) = self.in_flight.get_mut(usize::from(head)) {
                *slot = None;
            }
            let taken = self.ring.take_again(head, &mut self.buffers)?;
            self.accept(taken)?;
        }
        self.disk.push();
        self.reap();
        self.ring.give_back(&mut self.done)
    }
}
