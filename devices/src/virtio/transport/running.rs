//! Queues that start and stop: activation, queue reset, device reset, pause.

use std::io;

use virtio_queue::QueueT;

use super::queues::QueueRegisters;
use super::registers::Registers;
use crate::chain;
use crate::virtio::{Ring, StartError};

/// Why an enabled queue does not run; the device is in need of a reset.
#[derive(Debug, thiserror::Error)]
enum NotStarted {
    #[error("the driver gave queue {0} an impossible place")]
    Place(u16),
    #[error("queue {0} cannot wait for its doorbell")]
    Doorbell(u16, #[source] io::Error),
    #[error(transparent)]
    Device(#[from] StartError),
}

impl Registers {
    pub(super) fn enable_queue(&mut self, index: u16) {
        let index = usize::from(index);
        if let Some(queue) = self.queues.get_mut(index) {
            queue.enabled = true;
        }
        if self.is_live() {
            self.start(index);
        }
    }

    pub(super) fn reset_queue(&mut self, index: u16) {
        let index = usize::from(index);
        self.stop(index);
        if let Ok(number) = u16::try_from(index) {
            self.device.forget_queue(number);
        }
        if let Some(queue) = self.queues.get_mut(index) {
            *queue = QueueRegisters::new(queue.state.max_size);
        }
    }

    /// Interrupts of a queue go to another vector from now on.
    pub(super) fn set_vector(&mut self, index: u16, vector: u16) {
        let index = usize::from(index);
        let Some(queue) = self.queues.get_mut(index).filter(|queue| queue.vector != vector) else { return };
        queue.vector = vector;
        if queue.running {
            self.stop(index);
            self.start(index);
        }
    }

    /// Starts all queues that are enabled and do not run, if the driver is ready.
    pub(super) fn start_enabled(&mut self) {
        if self.is_live() {
            (0..self.queues.len()).for_each(|index| self.start(index));
        }
    }

    /// Hands an enabled queue to its worker. A queue that makes no sense leaves the device in need of a reset.
    fn start(&mut self, index: usize) {
        let startable = self.queues.get(index).is_some_and(|queue| queue.enabled && !queue.running);
        let Ok(number) = u16::try_from(index) else { return };
        if !startable {
            return;
        }
        let started = self.ring(number).and_then(|ring| Ok(self.device.start_queue(number, ring)?));
        if let Err(error) = started {
            self.machine.log.say(chain(&error));
            return self.events().needs_reset();
        }
        if let Some(queue) = self.queues.get_mut(index) {
            queue.running = true;
        }
        self.machine.attach_doorbell(self.window, index);
        // Whatever the driver made available before this is found at once.
        self.machine.kick(index);
    }

    /// The queue as the driver described it, with all that its worker needs.
    fn ring(&self, number: u16) -> Result<Ring, NotStarted> {
        let (index, machine) = (usize::from(number), &self.machine);
        let misplaced = || NotStarted::Place(number);
        let registers = self.queues.get(index).ok_or_else(misplaced)?;
        let queue = registers.queue().filter(|queue| queue.is_valid(machine.mem.as_ref()));
        let queue = queue.ok_or_else(misplaced)?;
        let kick = machine.kicks.get(index).ok_or_else(misplaced)?;
        let kick = kick.try_clone().map_err(|error| NotStarted::Doorbell(number, error))?;
        let interrupt = machine.events.queue_interrupt(registers.vector);
        let events = machine.events.clone();
        Ok(Ring::new(queue, machine.mem.clone(), kick, interrupt, events, self.driver_features))
    }

    fn stop(&mut self, index: usize) {
        let Some(registers) = self.queues.get_mut(index) else { return };
        let Ok(number) = u16::try_from(index) else { return };
        if !std::mem::take(&mut registers.running) {
            return;
        }
        self.machine.detach_doorbell(self.window, index);
        match self.device.stop_queue(number) {
            Some(state) => {
                registers.state.next_avail = state.next_avail;
                registers.state.next_used = state.next_used;
            }
            // Its I/O thread is gone, and nobody knows where the queue stands.
            None => self.machine.events.needs_reset(),
        }
    }

    /// What writing 0 to the status does (virtio 1.3 §2.4).
    pub(super) fn reset(&mut self) {
        (0..self.queues.len()).for_each(|index| self.stop(index));
        self.device.reset();
        self.events().reset();
        for queue in &mut self.queues {
            *queue = QueueRegisters::new(queue.state.max_size);
        }
        self.feature_select = 0;
        self.driver_feature_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        self.status = 0;
    }

    /// The window is decoded elsewhere from now on: doorbells move with it.
    pub(super) fn move_window(&mut self, to: Option<u64>) {
        for (index, queue) in self.queues.iter().enumerate() {
            if queue.running {
                self.machine.detach_doorbell(self.window, index);
                self.machine.attach_doorbell(to, index);
            }
        }
        self.window = to;
    }

    /// Stops all queues where they are.
    pub(super) fn pause(&mut self) {
        self.paused = true;
        (0..self.queues.len()).for_each(|index| self.stop(index));
    }

    /// Starts the queues again that the driver had running.
    pub(super) fn resume(&mut self) {
        self.paused = false;
        self.start_enabled();
    }
}
