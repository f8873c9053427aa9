//! A machine that stops where it is, and goes on.

use std::time::Duration;

use super::Machine;
use super::disks::DiskHandle;
use super::queues::QueueStop;
use crate::kvm::StoppedClocks;
use crate::vcpu::VcpuThread;

/// How long vCPUs may take to come out of the guest and out of what devices do for them. It takes microseconds.
const VCPUS: Duration = Duration::from_secs(1);
/// How long disks may take to finish the requests that they have begun.
const QUEUES: Duration = Duration::from_secs(2);

/// Something did not stop in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PauseError {
    /// A vCPU waits for something of the host's.
    #[error("a vCPU did not stop within {} s: the host keeps it waiting", .0.as_secs())]
    Vcpu(Duration),
    /// A disk does not finish its requests.
    #[error("the requests of a disk were not finished within {} s: its storage does not answer", .0.as_secs())]
    Queue(Duration),
}

impl Machine {
    /// Stops the vCPUs, then the queues, after the requests that they have begun.
    ///
    /// # Errors
    /// Something did not stop in time, and does so as soon as it can. The machine is to be resumed all the same.
    pub fn pause(&mut self) -> Result<(), PauseError> {
        self.gate.close();
        self.vcpus.iter().for_each(VcpuThread::kick);
        let stopped = self.gate.wait_for_at_most(self.vcpus.len(), VCPUS);
        if let Some(watchdog) = &self.watchdog {
            watchdog.pause();
        }
        if self.clocks.is_none() && self.clocks_stop {
            // Without them, the guest sees how long it was paused.
            self.clocks = StoppedClocks::read(&self.vm).ok();
        }
        let queues = match self.queue_stop.take() {
            Some(earlier) => earlier.again(),
            None => QueueStop::begin(self.functions.functions()),
        };
        if !stopped {
            self.queue_stop = queues.ok();
            return Err(PauseError::Vcpu(VCPUS));
        }
        let queues = queues.map_err(|_| PauseError::Queue(QUEUES))?;
        let stopped = queues.wait(QUEUES);
        self.queue_stop = Some(queues);
        if stopped { Ok(()) } else { Err(PauseError::Queue(QUEUES)) }
    }

    /// Whether all has stopped after [`Machine::pause`].
    pub(super) fn is_stopped(&self) -> bool {
        let queues = self.queue_stop.as_ref().is_some_and(|queues| queues.wait(Duration::ZERO));
        queues && self.gate.wait_for_at_most(self.vcpus.len(), Duration::ZERO)
    }

    /// Lets queues and vCPUs go on, and has disks try again what they held back.
    pub fn resume(&mut self) {
        self.functions.disks.iter().for_each(DiskHandle::retry);
        self.queue_stop = self.queue_stop.take().and_then(QueueStop::undo);
        if let Some(clocks) = self.clocks.take()
            && let Ok(ticks) = clocks.go_on(&self.vm)
        {
            self.gate.hide(ticks);
        }
        if let Some(watchdog) = &self.watchdog {
            watchdog.resume();
        }
        self.gate.open();
    }
}
