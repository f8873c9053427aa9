//! The timer's place on an I/O thread.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Weak;

use event_manager::{EventOps, Events, MutEventSubscriber};
use virtio_queue::QueueState;
use vmm_sys_util::epoll::EventSet;

use super::Watchdog;
use crate::io_thread::Worker;

/// Waits for the watchdog's timer. It owns nothing: a watchdog that is gone has nothing to wait for.
pub(super) struct TimerWorker {
    pub(super) watchdog: Weak<Watchdog>,
    pub(super) timer: RawFd,
}

impl MutEventSubscriber for TimerWorker {
    fn init(&mut self, ops: &mut EventOps) {
        // It fails only where the host is out of memory; the guest then has no watchdog.
        if ops.add(Events::with_data_raw(self.timer, 0, EventSet::IN)).is_err() {
            crate::say!("kubevmm: the watchdog's timer cannot be waited for");
        }
    }

    fn process(&mut self, _events: Events, _ops: &mut EventOps) {
        if let Some(watchdog) = self.watchdog.upgrade() {
            watchdog.timer_fired();
        }
    }
}

impl Worker for TimerWorker {
    fn stop(self: Box<Self>) -> QueueState {
        QueueState::default()
    }
}

impl std::fmt::Debug for TimerWorker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TimerWorker").field("timer", &self.timer.as_raw_fd()).finish_non_exhaustive()
    }
}
