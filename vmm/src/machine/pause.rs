//! A machine that stops where it is, and goes on.

use std::time::{Duration, Instant};

use super::Machine;
use super::disks::DiskHandle;
use super::queues::QueueStop;
use crate::kvm::StoppedClocks;
use crate::turns::in_turns;
use crate::vcpu::VcpuThread;

/// How long vCPUs may take to stop.
const PATIENCE: Patience = Patience {
    usual: Duration::from_secs(1),
    busy: Duration::from_secs(20),
    look: Duration::from_millis(100),
};
/// How long disks may take to finish the requests that they have begun.
const QUEUES: Duration = Duration::from_secs(2);

/// How long vCPUs may take.
#[derive(Clone, Copy)]
struct Patience {
    /// To come out of the guest and out of what devices do for them. It takes microseconds.
    usual: Duration,
    /// Where they lack nothing but a processor of a busy host.
    busy: Duration,
    /// How often it is looked whether that is so.
    look: Duration,
}

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
        let stopped = vcpus_stop(
            |limit| self.gate.wait_for_at_most(self.vcpus.len(), limit),
            || self.vcpus.iter().any(VcpuThread::is_ready),
            PATIENCE,
        );
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
        if let Err(error) = stopped {
            self.queue_stop = queues.ok();
            return Err(error);
        }
        let queues = queues.map_err(|_| PauseError::Queue(QUEUES))?;
        let stopped = in_turns(QUEUES, |turn| queues.wait(turn).then_some(())).is_some();
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

/// Waits until all vCPUs stand, which `stand` waits for that long. While some of them are ready to run, they may take longer.
///
/// # Errors
/// Something keeps one of them; how long it was waited.
fn vcpus_stop(
    stand: impl Fn(Duration) -> bool,
    are_ready: impl Fn() -> bool,
    patience: Patience,
) -> Result<(), PauseError> {
    let begun = Instant::now();
    let mut limit = patience.usual;
    while !stand(limit) {
        limit = patience.look;
        let is_busy = are_ready() && begun.elapsed() < patience.busy;
        if !is_busy {
            // They may have come while that was looked at.
            return if stand(Duration::ZERO) { Ok(()) } else { Err(PauseError::Vcpu(begun.elapsed())) };
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SHORT: Patience = Patience {
        usual: Duration::from_millis(10),
        busy: Duration::from_millis(200),
        look: Duration::from_millis(5),
    };

    /// vCPUs that never stand.
    fn wait(limit: Duration) -> bool {
        std::thread::sleep(limit);
        false
    }

    #[test]
    fn it_is_said_how_long_was_waited_for_vcpus() {
        let Err(PauseError::Vcpu(waited)) = vcpus_stop(wait, || true, SHORT) else { panic!("they stand") };
        assert!(waited >= SHORT.busy, "{waited:?} on a busy host");
        let Err(PauseError::Vcpu(waited)) = vcpus_stop(wait, || false, SHORT) else { panic!("they stand") };
        assert!(waited >= SHORT.usual, "{waited:?}");
        let said = PauseError::Vcpu(Duration::from_millis(20_050)).to_string();
        assert!(said.contains("within 20 s"), "{said}");
    }

    #[test]
    fn vcpus_that_come_late_have_stopped() {
        let waits = Cell::new(0);
        let stand = |_| waits.replace(waits.get() + 1) == 3;
        let patient = Patience { busy: Duration::from_secs(600), ..SHORT };
        assert_eq!(vcpus_stop(stand, || true, patient), Ok(()));
        waits.set(2);
        assert_eq!(vcpus_stop(stand, || false, SHORT), Ok(()), "while it was looked at");
    }
}
