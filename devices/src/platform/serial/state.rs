//! What a snapshot keeps of a serial port.

use serde::{Deserialize, Serialize};
use vm_superio::SerialState as UartState;

use super::super::state::{StateError, check_version};

const DEVICE: &str = "a serial port";
const VERSION: u32 = 1;

/// Registers and received bytes of a 16550A.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// Divisor latch, low and high byte.
    pub divisor: [u8; 2],
    /// Interrupt enable register.
    pub interrupt_enable: u8,
    /// Interrupt identification register.
    pub interrupt_identification: u8,
    /// Line control register.
    pub line_control: u8,
    /// Line status register.
    pub line_status: u8,
    /// Modem control register.
    pub modem_control: u8,
    /// Modem status register.
    pub modem_status: u8,
    /// Scratch register.
    pub scratch: u8,
    /// Bytes that the guest has not read yet, at most 64.
    pub received: Vec<u8>,
}

impl State {
    pub(super) fn from_uart(uart: &UartState) -> Self {
        Self {
            version: VERSION,
            divisor: [uart.baud_divisor_low, uart.baud_divisor_high],
            interrupt_enable: uart.interrupt_enable,
            interrupt_identification: uart.interrupt_identification,
            line_control: uart.line_control,
            line_status: uart.line_status,
            modem_control: uart.modem_control,
            modem_status: uart.modem_status,
            scratch: uart.scratch,
            received: uart.in_buffer.clone(),
        }
    }

    pub(super) fn to_uart(&self) -> Result<UartState, StateError> {
        check_version(DEVICE, self.version, VERSION)?;
        let [baud_divisor_low, baud_divisor_high] = self.divisor;
        Ok(UartState {
            baud_divisor_low,
            baud_divisor_high,
            interrupt_enable: self.interrupt_enable,
            interrupt_identification: self.interrupt_identification,
            line_control: self.line_control,
            line_status: self.line_status,
            modem_control: self.modem_control,
            modem_status: self.modem_status,
            scratch: self.scratch,
            in_buffer: self.received.clone(),
        })
    }
}

pub(super) fn overfull() -> StateError {
    StateError::Damaged { device: DEVICE, what: "more bytes received than the FIFO holds" }
}
