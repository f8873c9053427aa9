//! Serial port: a 16550A UART on top of vm-superio, at COM1 or COM2.
//!
//! Output goes byte by byte to a [`SerialSink`], which must not block; [`ConsoleRing`] is the one to put in front of a
//! slow reader. Input is taken as far as the receive FIFO has room; when it had none, [`Serial::room`] is signalled as
//! soon as the guest has emptied it.

mod ring;
mod state;
#[cfg(test)]
mod tests;
mod wires;

use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

pub use ring::{ConsoleRing, Drained};
pub use state::State;
use vm_superio::Serial as Uart;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use wires::{Interrupt, Output, Room};

use super::offsets_from;
use super::state::StateError;
use crate::bus::{Action, BusDevice};
use crate::irq::IrqLine;
use crate::lock;

/// First port of COM1, whose interrupt is IRQ 4.
pub const COM1_BASE: u64 = 0x3f8;
/// First port of COM2, whose interrupt is IRQ 3.
pub const COM2_BASE: u64 = 0x2f8;
/// Number of ports of either.
pub const SIZE: u64 = 8;

/// Modem control register; leaving loop-back mode lets input in again.
const MCR: u8 = 4;

/// Where the guest's output goes.
pub trait SerialSink: Send + Sync {
    /// Takes one byte. Called on a vCPU thread with the device locked, so it must not block.
    fn write(&self, byte: u8);
}

/// A serial port.
pub struct Serial {
    uart: Mutex<Uart<Interrupt, Arc<Room>, Output>>,
    room: Arc<Room>,
    interrupt: Interrupt,
    output: Output,
}

impl Serial {
    /// A port as it is at power-on. Interrupts are edges on `irq`, output goes to `sink`, and `first_output` is set
    /// when the guest writes its first byte.
    ///
    /// # Errors
    /// The host has no eventfd left.
    pub fn new(
        irq: Arc<dyn IrqLine>,
        sink: Arc<dyn SerialSink>,
        first_output: Arc<OnceLock<Instant>>,
    ) -> io::Result<Self> {
        let room = Arc::new(Room::new(EventFd::new(EFD_NONBLOCK)?));
        let interrupt = Interrupt(irq);
        let output = Output { sink, first: first_output };
        let uart = Uart::with_events(interrupt.clone(), Arc::clone(&room), output.clone());
        Ok(Self { uart: Mutex::new(uart), room, interrupt, output })
    }

    /// Puts as much of `bytes` into the receive FIFO as fits and says how much that was. If it was not all,
    /// [`Serial::room`] will be signalled when it is worth another try.
    pub fn input(&self, bytes: &[u8]) -> usize {
        let mut uart = lock(&self.uart);
        // A full FIFO is the only error that can come: raising an interrupt cannot fail.
        let taken = uart.enqueue_raw_bytes(bytes).unwrap_or(0);
        if taken < bytes.len() {
            self.room.await_it();
        }
        taken
    }

    /// Non-blocking eventfd that tells the reader of the console's input that the FIFO has room again.
    pub fn room(&self) -> &EventFd {
        self.room.event()
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        State::from_uart(&lock(&self.uart).state())
    }

    /// Takes over a saved state; an interrupt that was pending is raised again. Input that has come here already stays, behind
    /// that of the state.
    ///
    /// # Errors
    /// The state has an unknown version, or holds more input than the FIFO can.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        let state = state.to_uart()?;
        let restored =
            Uart::from_state(&state, self.interrupt.clone(), Arc::clone(&self.room), self.output.clone())
                .map_err(|_| state::overfull())?;
        let mut uart = lock(&self.uart);
        let come = std::mem::replace(&mut *uart, restored).state().in_buffer;
        drop(uart);
        // Nobody typed more than what a FIFO holds: who types waits for room then.
        self.input(&come);
        Ok(())
    }
}

impl std::fmt::Debug for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serial").field("room", &self.room).finish_non_exhaustive()
    }
}

impl BusDevice for Serial {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut uart = lock(&self.uart);
        for (byte, register) in data.iter_mut().zip(offsets_from(offset)) {
            *byte = register_number(register).map_or(0xff, |register| uart.read(register));
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut uart = lock(&self.uart);
        for (&byte, register) in data.iter().zip(offsets_from(offset)) {
            let Some(register) = register_number(register) else { break };
            // Neither the sink nor the interrupt line can fail.
            let _ = uart.write(register, byte);
            if register == MCR {
                self.room.returned();
            }
        }
        Action::None
    }
}

fn register_number(offset: u64) -> Option<u8> {
    u8::try_from(offset).ok().filter(|&register| u64::from(register) < SIZE)
}
