//! What the UART model is wired to.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use vm_superio::Trigger;
use vm_superio::serial::SerialEvents;
use vmm_sys_util::eventfd::EventFd;

use super::SerialSink;
use crate::irq::IrqLine;

/// The interrupt line, which is edge-triggered.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(pub(super) Arc<dyn IrqLine>);

impl Trigger for Interrupt {
    type E = std::convert::Infallible;

    fn trigger(&self) -> Result<(), Self::E> {
        self.0.pulse();
        Ok(())
    }
}

/// The transmit side.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) sink: Arc<dyn SerialSink>,
    pub(super) first: Arc<OnceLock<Instant>>,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.first.get_or_init(Instant::now);
        bytes.iter().for_each(|&byte| self.sink.write(byte));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The receive FIFO's room, and whether someone waits for it.
#[derive(Debug)]
pub(super) struct Room {
    awaited: AtomicBool,
    event: EventFd,
}

impl Room {
    pub(super) fn new(event: EventFd) -> Self {
        Self { awaited: AtomicBool::new(false), event }
    }

    pub(super) fn event(&self) -> &EventFd {
        &self.event
    }

    /// The next return of room is to be signalled. Called with the UART locked, as [`Room::returned`] is.
    pub(super) fn await_it(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Signals room once for each time that it was awaited.
    pub(super) fn returned(&self) {
        if self.awaited.load(Ordering::Relaxed) {
            self.awaited.store(false, Ordering::Relaxed);
            // Fails only when the counter is full, and then the reader has a signal waiting.
            let _ = self.event.write(1);
        }
    }
}

impl SerialEvents for Room {
    fn buffer_read(&self) {}
    fn out_byte(&self) {}
    fn tx_lost_byte(&self) {}

    fn in_buffer_empty(&self) {
        self.returned();
    }
}
