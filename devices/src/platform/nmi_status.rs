//! NMI status and control register, port 0x61 (ICH9 datasheet §13.7.1), of a machine without a PIT or a speaker.
//!
//! Old code waits here for timer 2 to run out (bit 5) or for the refresh signal to change (bit 4). There is no timer,
//! so bit 5 is always set and bit 4 changes with each read: such waits end at once. No NMI source is ever reported,
//! or Linux would take every NMI for a memory parity error.

use std::sync::atomic::{AtomicU8, Ordering};

use serde::{Deserialize, Serialize};

use super::state::{StateError, check_version};
use crate::bus::{Action, BusDevice};

/// Port of the register.
pub const BASE: u64 = 0x61;
/// Number of ports.
pub const SIZE: u64 = 1;

/// Timer 2 gate, speaker data, SERR# and IOCHK# enables: written by the guest, read back, without effect.
const STORED: u8 = 0x0f;
const REFRESH: u8 = 1 << 4;
const TIMER_2_OUT: u8 = 1 << 5;

const DEVICE: &str = "the NMI status register";
const VERSION: u32 = 1;

/// What a snapshot keeps of the register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// The enable bits as last written, and the refresh bit.
    pub value: u8,
}

/// The register.
#[derive(Debug, Default)]
pub struct NmiStatus(AtomicU8);

impl NmiStatus {
    /// A register as it is at power-on.
    pub fn new() -> Self {
        Self::default()
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        State { version: VERSION, value: self.0.load(Ordering::Relaxed) }
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// The state has an unknown version.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        check_version(DEVICE, state.version, VERSION)?;
        self.0.store(state.value & (STORED | REFRESH), Ordering::Relaxed);
        Ok(())
    }
}

impl BusDevice for NmiStatus {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = self.0.fetch_xor(REFRESH, Ordering::Relaxed) | TIMER_2_OUT;
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        if let (0, Some(&value)) = (offset, data.first()) {
            self.0.store(value & STORED, Ordering::Relaxed);
        }
        Action::None
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hammer, read8};
    use super::*;

    #[test]
    fn waits_for_timer_and_refresh_end() {
        let register = NmiStatus::new();
        let _ = register.write(0, &[0xff]);
        let (first, second) = (read8(&register, 0), read8(&register, 0));
        assert_eq!(first, TIMER_2_OUT | STORED, "no NMI source may show");
        assert_eq!(first ^ second, REFRESH);
    }

    #[test]
    fn state_survives_a_round_trip() {
        let register = NmiStatus::new();
        let _ = register.write(0, &[3]);
        read8(&register, 0);
        let copy = NmiStatus::new();
        copy.restore(&register.save()).unwrap();
        assert_eq!(copy.save(), register.save());
        assert_eq!(read8(&copy, 0), TIMER_2_OUT | REFRESH | 3);
        assert!(copy.restore(&State { version: 0, value: 0 }).is_err());
    }

    #[test]
    fn hostile_accesses_are_harmless() {
        hammer(&NmiStatus::new(), SIZE);
    }
}
