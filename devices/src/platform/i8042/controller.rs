//! The controller itself: commands, their parameters, and the output buffer.

use serde::{Deserialize, Serialize};

use super::super::state::{StateError, check_version};
use crate::bus::Action;

const DEVICE: &str = "the keyboard controller";
const VERSION: u32 = 1;

/// Status register (port 0x64, read).
mod status {
    pub(super) const OUTPUT_FULL: u8 = 1 << 0;
    pub(super) const SYSTEM_FLAG: u8 = 1 << 2;
    pub(super) const LAST_WAS_COMMAND: u8 = 1 << 3;
    pub(super) const NOT_LOCKED: u8 = 1 << 4;
    pub(super) const FROM_MOUSE: u8 = 1 << 5;
    pub(super) const TIME_OUT: u8 = 1 << 6;
}

/// Configuration byte (internal RAM, address 0).
mod config {
    pub(super) const SYSTEM_FLAG: u8 = 1 << 2;
    pub(super) const KEYBOARD_OFF: u8 = 1 << 4;
    pub(super) const MOUSE_OFF: u8 = 1 << 5;
}

/// Bit 0 of the output port, low while the CPU is held in reset.
const NOT_RESET: u8 = 1 << 0;
/// Output port: not in reset, A20 open. Its other lines belong to devices that are absent.
const OUTPUT_PORT: u8 = NOT_RESET | 1 << 1;
/// Input port: keyboard not locked.
const INPUT_PORT: u8 = 1 << 7;
/// Self test passed.
const SELF_TEST_OK: u8 = 0x55;
/// Interface test: clock line stuck high, as on a port without a device.
const NO_DEVICE: u8 = 0x02;
/// What the controller makes of a device that does not answer.
const RESEND: u8 = 0xfe;

/// What the next byte at port 0x60 is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Parameter {
    /// New configuration byte (command 0x60).
    Config,
    /// A byte of internal RAM that nothing uses (commands 0x61 to 0x7F).
    Ram,
    /// Output port lines (0xD1).
    OutputPort,
    /// Byte to be read back as if a device had sent it (0xD2 and 0xD3).
    Loopback,
    /// Byte for the mouse (0xD4).
    Mouse,
}

/// What a snapshot keeps of the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// Configuration byte.
    pub config: u8,
    /// Output buffer.
    pub output: u8,
    /// Status bits that describe the output buffer.
    pub output_status: u8,
    /// The last write was a command.
    pub command: bool,
    /// Parameter that is waited for.
    pub parameter: Option<Parameter>,
}

#[derive(Debug)]
pub(super) struct Controller {
    config: u8,
    output: u8,
    output_status: u8,
    command: bool,
    parameter: Option<Parameter>,
}

impl Default for Controller {
    fn default() -> Self {
        let config = config::KEYBOARD_OFF | config::MOUSE_OFF;
        Self { config, output: 0, output_status: 0, command: false, parameter: None }
    }
}

impl Controller {
    /// Port 0x64, read. The input buffer is never full: every write is handled at once.
    pub(super) fn status(&self) -> u8 {
        let system = if self.config & config::SYSTEM_FLAG == 0 { 0 } else { status::SYSTEM_FLAG };
        let command = if self.command { status::LAST_WAS_COMMAND } else { 0 };
        status::NOT_LOCKED | system | command | self.output_status
    }

    /// Port 0x60, read. An empty buffer repeats its last byte.
    pub(super) fn take_output(&mut self) -> u8 {
        self.output_status = 0;
        self.output
    }

    /// Port 0x64, write.
    pub(super) fn command(&mut self, command: u8) -> Action {
        self.command = true;
        self.parameter = None;
        match command {
            0x20 => self.answer(self.config),
            0x21..=0x3f => self.answer(0),
            0x60 => self.parameter = Some(Parameter::Config),
            0x61..=0x7f => self.parameter = Some(Parameter::Ram),
            0xa7 => self.config |= config::MOUSE_OFF,
            0xa8 => self.config &= !config::MOUSE_OFF,
            0xa9 | 0xab => self.answer(NO_DEVICE),
            0xaa => {
                self.config |= config::SYSTEM_FLAG;
                self.answer(SELF_TEST_OK);
            }
            0xad => self.config |= config::KEYBOARD_OFF,
            0xae => self.config &= !config::KEYBOARD_OFF,
            0xc0 => self.answer(INPUT_PORT),
            0xd0 => self.answer(OUTPUT_PORT),
            0xd1 => self.parameter = Some(Parameter::OutputPort),
            // A mouse loop-back that comes back as the keyboard's tells drivers that there is no mouse port.
            0xd2 | 0xd3 => self.parameter = Some(Parameter::Loopback),
            0xd4 => self.parameter = Some(Parameter::Mouse),
            0xf0..=0xff if command & NOT_RESET == 0 => return Action::Reset,
            // Among the rest are the commands that switch the A20 gate, which is open for good.
            _ => {}
        }
        Action::None
    }

    /// Port 0x60, write: the parameter of a command, or a byte for the keyboard.
    pub(super) fn input(&mut self, value: u8) -> Action {
        self.command = false;
        match self.parameter.take() {
            Some(Parameter::Config) => self.config = value,
            Some(Parameter::Ram) => {}
            Some(Parameter::OutputPort) if value & NOT_RESET == 0 => return Action::Reset,
            Some(Parameter::OutputPort) => {}
            Some(Parameter::Loopback) => self.answer(value),
            Some(Parameter::Mouse) => self.fail(status::FROM_MOUSE),
            None => self.fail(0),
        }
        Action::None
    }

    fn answer(&mut self, value: u8) {
        self.output = value;
        self.output_status = status::OUTPUT_FULL;
    }

    fn fail(&mut self, source: u8) {
        self.output = RESEND;
        self.output_status = status::OUTPUT_FULL | status::TIME_OUT | source;
    }

    pub(super) fn save(&self) -> State {
        State {
            version: VERSION,
            config: self.config,
            output: self.output,
            output_status: self.output_status,
            command: self.command,
            parameter: self.parameter,
        }
    }

    pub(super) fn restore(&mut self, state: &State) -> Result<(), StateError> {
        check_version(DEVICE, state.version, VERSION)?;
        let described = status::OUTPUT_FULL | status::TIME_OUT | status::FROM_MOUSE;
        *self = Self {
            config: state.config,
            output: state.output,
            output_status: state.output_status & described,
            command: state.command,
            parameter: state.parameter,
        };
        Ok(())
    }
}
