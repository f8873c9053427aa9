//! Reset control register of the south bridge, port 0xCF9 (ICH9 datasheet §13.7.5).
//!
//! The port lies inside the range of the PCI configuration mechanism (0xCF8 to 0xCFF), so whoever answers there hands
//! byte accesses of 0xCF9 to this register.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use super::state::{StateError, check_version};
use crate::bus::{Action, BusDevice};

/// Port of the register.
pub const BASE: u64 = 0xcf9;
/// Number of ports.
pub const SIZE: u64 = 1;

/// RST_CPU: setting it starts the reset, of the kind that the other bits choose.
const RST_CPU: u8 = 1 << 2;
/// SYS_RST and FULL_RST, the bits that keep what is written.
const STORED: u8 = 1 << 1 | 1 << 3;

const DEVICE: &str = "the reset control register";
const VERSION: u32 = 1;

/// What a snapshot keeps of the register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// SYS_RST and FULL_RST as last written.
    pub value: u8,
}

/// The register. Every kind of reset is a reset of the whole machine here.
#[derive(Debug, Default)]
pub struct ResetControl(AtomicU8);

impl ResetControl {
    /// A register as it is at power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// The register's value; RST_CPU always reads as clear, because the reset that it starts ends the machine.
    pub fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }

    /// Writes the register.
    pub fn set(&self, value: u8) -> Action {
        self.0.store(value & STORED, Ordering::Relaxed);
        if value & RST_CPU == 0 { Action::None } else { Action::Reset }
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        State { version: VERSION, value: self.get() }
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// The state has an unknown version.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        check_version(DEVICE, state.version, VERSION)?;
        self.0.store(state.value & STORED, Ordering::Relaxed);
        Ok(())
    }
}

impl BusDevice for ResetControl {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = self.get();
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        match (offset, data.first()) {
            (0, Some(&value)) => self.set(value),
            _ => Action::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::hammer;
    use super::*;

    #[test]
    fn setting_rst_cpu_resets() {
        let register = ResetControl::new();
        assert!(matches!(register.set(0x02), Action::None));
        assert_eq!(register.get(), 0x02);
        assert!(matches!(register.set(0x06), Action::Reset));
        assert!(matches!(register.write(0, &[0x0f]), Action::Reset));
        assert_eq!(register.get(), 0x0a);
    }

    #[test]
    fn state_survives_a_round_trip() {
        let register = ResetControl::new();
        let _ = register.set(0xff);
        let copy = ResetControl::new();
        copy.restore(&register.save()).unwrap();
        assert_eq!(copy.save(), register.save());
        assert_eq!(copy.get(), 0x0a);
        assert!(copy.restore(&State { version: 2, value: 0 }).is_err());
    }

    #[test]
    fn hostile_accesses_are_harmless() {
        hammer(&ResetControl::new(), SIZE);
    }
}
