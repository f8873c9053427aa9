//! ACPI power management block of the ICH9 LPC bridge: PM1 event and control, PM timer, GPE0 and the SCI.
//!
//! The machine is in ACPI mode from the start (SCI_EN set, no SMI command port), so FADT gives no SMI_CMD. TMR_STS
//! shows correctly but raises no SCI of its own accord, which would need a host timer that every ACPI system leaves
//! disabled; it raises one as soon as another access or event looks at the registers. There is no SMI and no TCO
//! watchdog: their registers read as zero.

mod regs;
#[cfg(test)]
mod tests;
mod timer;

use std::sync::{Arc, Mutex};

use regs::{Registers, Request, pm1};
use serde::{Deserialize, Serialize};
pub use timer::FREQUENCY as TIMER_FREQUENCY;
use timer::Timer;

use super::offsets_from;
use super::state::{StateError, check_version};
use crate::bus::{Action, BusDevice};
use crate::irq::IrqLine;
use crate::lock;

/// PMBASE that the machine starts with.
pub const BASE: u64 = 0x600;
/// Number of ports that the LPC bridge decodes at PMBASE.
pub const SIZE: u64 = 0x80;
/// Global system interrupt of the SCI, level-triggered and active high.
pub const SCI_GSI: u32 = 9;
/// Offset of PM1a event block: status, then enable (FADT PM1a_EVT_BLK, length 4).
pub const PM1_EVENT: u64 = 0x00;
/// Offset of PM1a control block (FADT PM1a_CNT_BLK, length 2).
pub const PM1_CONTROL: u64 = 0x04;
/// Offset of the PM timer (FADT PM_TMR_BLK, length 4; the timer has 24 bits, so TMR_VAL_EXT is clear).
pub const PM_TIMER: u64 = 0x08;
/// Offset of the GPE0 block: status, then enable.
pub const GPE0: u64 = 0x20;
/// Length of the GPE0 block (FADT GPE0_BLK_LEN).
pub const GPE0_SIZE: u8 = 16;
/// SLP_TYP of S5, soft-off, as in QEMU's q35: the DSDT's `\_S5` is `Package { 0, 0, 0, 0 }`. No other sleep state
/// exists; other types are ignored.
pub const S5_SLP_TYP: u8 = 0;

const DEVICE: &str = "the power management block";
const VERSION: u32 = 1;

/// What a snapshot keeps of the block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// PM1 status, without TMR_STS.
    pub pm1_status: u16,
    /// PM1 enable.
    pub pm1_enable: u16,
    /// PM1 control, without SCI_EN.
    pub pm1_control: u16,
    /// GPE0 status.
    pub gpe0_status: u64,
    /// GPE0 enable.
    pub gpe0_enable: u64,
    /// Full count of the PM timer when it was saved; it goes on from there.
    pub timer: u64,
    /// Half periods of the timer up to which the guest cleared TMR_STS.
    pub timer_seen: u64,
}

/// The power management block.
#[derive(Debug)]
pub struct Pm {
    inner: Mutex<Inner>,
    sci: Arc<dyn IrqLine>,
}

#[derive(Debug)]
struct Inner {
    registers: Registers,
    timer: Timer,
    /// Level that the SCI was last driven to.
    level: bool,
}

impl Pm {
    /// A block as it is at power-on, whose SCI is `sci` (see [`SCI_GSI`]).
    pub fn new(sci: Arc<dyn IrqLine>) -> Self {
        let inner = Inner { registers: Registers::default(), timer: Timer::at(0), level: false };
        Self { inner: Mutex::new(inner), sci }
    }

    /// Presses and releases the power button. The guest gets an SCI if it listens to the button.
    pub fn press_power_button(&self) {
        let mut inner = lock(&self.inner);
        inner.registers.status |= pm1::POWER_BUTTON;
        self.drive(&mut inner);
    }

    /// Raises general-purpose event `number` (0 to 63, the DSDT's `\_GPE._Exx` or `_Lxx`); others are ignored.
    pub fn raise_gpe(&self, number: u8) {
        let mut inner = lock(&self.inner);
        inner.registers.gpe_status |= 1u64.checked_shl(number.into()).unwrap_or(0);
        self.drive(&mut inner);
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        let inner = lock(&self.inner);
        let registers = inner.registers.clone();
        State {
            version: VERSION,
            pm1_status: registers.status,
            pm1_enable: registers.enable,
            pm1_control: registers.control,
            gpe0_status: registers.gpe_status,
            gpe0_enable: registers.gpe_enable,
            timer: inner.timer.count(),
            timer_seen: registers.timer_seen,
        }
    }

    /// Takes over a saved state and drives the SCI to its level.
    ///
    /// # Errors
    /// The state has an unknown version.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        check_version(DEVICE, state.version, VERSION)?;
        let registers = Registers {
            status: state.pm1_status & pm1::ENABLES & !pm1::TIMER,
            enable: state.pm1_enable & pm1::ENABLES,
            control: state.pm1_control & regs::CONTROL_STORED,
            gpe_status: state.gpe0_status,
            gpe_enable: state.gpe0_enable,
            timer_seen: state.timer_seen,
        };
        let timer = Timer::at(state.timer);
        let mut inner = lock(&self.inner);
        inner.level = registers.sci(timer.count());
        inner.registers = registers;
        inner.timer = timer;
        self.sci.set_level(inner.level);
        Ok(())
    }

    /// Brings the SCI to its level. The lock is held meanwhile, so that two vCPUs cannot cross.
    fn drive(&self, inner: &mut Inner) {
        let level = inner.registers.sci(inner.timer.count());
        if level != inner.level {
            inner.level = level;
            self.sci.set_level(level);
        }
    }
}

impl BusDevice for Pm {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let inner = lock(&self.inner);
        let count = inner.timer.count();
        for (byte, offset) in data.iter_mut().zip(offsets_from(offset)) {
            *byte = inner.registers.read(offset, count);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut inner = lock(&self.inner);
        let count = inner.timer.count();
        let mut action = Action::None;
        for (&byte, offset) in data.iter().zip(offsets_from(offset)) {
            if inner.registers.write(offset, byte, count) == Request::Sleep(S5_SLP_TYP) {
                action = Action::PowerOff;
            }
        }
        self.drive(&mut inner);
        action
    }
}
