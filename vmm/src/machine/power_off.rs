//! The end of a machine.

use std::mem;
use std::time::Duration;

use super::queues::QueueStop;
use super::{Machine, PauseError};
use crate::vcpu::VcpuThread;

/// How long a machine that is powered off waits for what the host has begun. Storage may be slow; if it never answers, the
/// end must come all the same.
const LIMIT: Duration = Duration::from_secs(30);

impl Machine {
    /// Powers the machine off: vCPUs first, then queues, then the rest. Work in flight is finished.
    ///
    /// # Errors
    /// The host does not finish it. What may still be written to is given up: its memory stays until the process ends.
    pub fn power_off(mut self) -> Result<(), PauseError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), PauseError> {
        self.is_over = true;
        let ended = self.stop_for_good();
        if ended.is_err() {
            self.give_up();
        }
        ended
    }

    fn stop_for_good(&mut self) -> Result<(), PauseError> {
        self.gate.end();
        self.vcpus.iter().for_each(VcpuThread::kick);
        if !self.gate.wait_until_gone(self.vcpus.len(), LIMIT) {
            return Err(PauseError::Vcpu(LIMIT));
        }
        self.vcpus.drain(..).for_each(VcpuThread::join);
        if let Some(watchdog) = &self.watchdog {
            watchdog.stop();
        }
        let queues = match self.queue_stop.take() {
            Some(earlier) => earlier.again(),
            None => QueueStop::begin(self.functions.functions()),
        };
        match queues {
            Ok(queues) if queues.wait(LIMIT) => Ok(()),
            Ok(_) => Err(PauseError::Queue(LIMIT)),
            // Without a thread that could wait, this one does.
            Err(_) => {
                self.functions.all.iter().for_each(|made| made.function.pause());
                Ok(())
            }
        }
    }

    /// Leaves alone what somebody still works on, for ever.
    fn give_up(&mut self) {
        mem::forget(mem::take(&mut self.vcpus));
        mem::forget(mem::take(&mut self.functions));
        mem::forget(mem::take(&mut self.parts.io_threads));
        mem::forget(self.ram.clone());
        mem::forget(self.vm.clone());
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if !self.is_over
            && let Err(error) = self.end()
        {
            devices::say!("kubevmm: {error}");
        }
    }
}
