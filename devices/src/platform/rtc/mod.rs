//! Real-time clock and CMOS memory (MC146818) at ports 0x70 and 0x71.
//!
//! The clock is the host's wall clock plus an offset, which moves when the guest sets the clock. It raises no
//! interrupts: alarm, periodic and update-ended flags stay clear.
//!
//! Update-in-progress is always clear, so that no guest waits. To keep what UIP promises, a read of register A holds
//! the time still for the next two milliseconds: a driver that looks at UIP first gets all registers of one second.

mod calendar;
mod cells;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use calendar::DateTime;
pub use cells::Sizes;
use cells::{Cells, place};
use serde::{Deserialize, Serialize};

use super::state::{StateError, check_version};
use super::{lock, offsets_from};
use crate::bus::{Action, BusDevice};

/// Port of the index register; the data register follows it.
pub const BASE: u64 = 0x70;
/// Number of ports.
pub const SIZE: u64 = 2;
/// Place of the century in CMOS memory (FADT CENTURY).
pub const CENTURY: u8 = place::CENTURY;

/// How long a look at UIP holds the time still.
const HOLD: Duration = Duration::from_millis(2);
/// Register D: time and memory are valid.
const D_VALID: u8 = 1 << 7;
/// Register A without UIP, which is read-only.
const A_STORED: u8 = 0x7f;
/// The index register's bit 7 masks NMIs.
const INDEX: u8 = 0x7f;

const DEVICE: &str = "the real-time clock";
const VERSION: u32 = 1;

/// What a snapshot keeps of the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// Index register.
    pub index: u8,
    /// All 128 bytes of CMOS memory.
    pub cells: Vec<u8>,
    /// Seconds by which the clock is ahead of the host's.
    pub offset: i64,
}

/// The clock and its memory.
#[derive(Debug)]
pub struct Rtc(Mutex<Clock>);

impl Rtc {
    /// A clock that is `offset` seconds ahead of the host's UTC, and whose memory tells `sizes`.
    pub fn new(sizes: &Sizes, offset: i64) -> Self {
        Self(Mutex::new(Clock { index: 0, cells: Cells::at_power_on(sizes), offset, held: None }))
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        let clock = lock(&self.0);
        State { version: VERSION, index: clock.index, cells: clock.cells.to_vec(), offset: clock.offset }
    }

    /// Takes over a saved state; the clock shows the host's time at once.
    ///
    /// # Errors
    /// The state has an unknown version or another number of bytes.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        check_version(DEVICE, state.version, VERSION)?;
        let cells = Cells::from_slice(&state.cells)
            .ok_or(StateError::Damaged { device: DEVICE, what: "CMOS memory is not 128 bytes long" })?;
        let clock = Clock { index: state.index & INDEX, cells, offset: state.offset, held: None };
        *lock(&self.0) = clock;
        Ok(())
    }
}

impl BusDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut clock = lock(&self.0);
        for (byte, port) in data.iter_mut().zip(offsets_from(offset)) {
            // The index register is write-only.
            *byte = if port == 1 { clock.read(host_time()) } else { 0xff };
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut clock = lock(&self.0);
        for (&byte, port) in data.iter().zip(offsets_from(offset)) {
            match port {
                0 => clock.index = byte & INDEX,
                1 => clock.write(byte, host_time()),
                _ => break,
            }
        }
        Action::None
    }
}

/// Time since 1970 by the host's wall clock.
fn host_time() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The clock without its host; every method is told the host's time.
#[derive(Debug)]
struct Clock {
    index: u8,
    cells: Cells,
    offset: i64,
    /// When register A was last read.
    held: Option<Duration>,
}

impl Clock {
    fn read(&mut self, now: Duration) -> u8 {
        match self.index {
            place::A => self.held = Some(now),
            place::C => return 0,
            place::D => return D_VALID,
            index if is_time(index) && !self.cells.stopped() => {
                let at = self.held.filter(|&held| now.checked_sub(held).is_some_and(|age| age < HOLD));
                self.show(at.unwrap_or(now));
            }
            _ => {}
        }
        self.cells.get(self.index)
    }

    fn write(&mut self, value: u8, now: Duration) {
        match self.index {
            place::A => self.cells.set(place::A, value & A_STORED),
            place::B => self.write_b(value, now),
            place::C | place::D => {}
            index if is_time(index) && !self.cells.stopped() => {
                self.show(now);
                self.cells.set(index, value);
                self.start(now);
            }
            index => self.cells.set(index, value),
        }
    }

    /// Stopping the clock leaves the time in the registers, in the format that it is stopped with; starting it takes
    /// the time from there.
    fn write_b(&mut self, value: u8, now: Duration) {
        let was_stopped = self.cells.stopped();
        self.cells.set(place::B, value);
        match (was_stopped, self.cells.stopped()) {
            (false, true) => self.show(now),
            (true, false) => self.start(now),
            _ => {}
        }
    }

    /// Puts the time into the registers.
    fn show(&mut self, now: Duration) {
        self.cells.show(DateTime::from_unix(seconds(now).saturating_add(self.offset)));
    }

    /// Goes on from the time in the registers.
    fn start(&mut self, now: Duration) {
        self.offset = self.cells.shown().to_unix().saturating_sub(seconds(now));
        self.held = None;
    }
}

fn is_time(index: u8) -> bool {
    matches!(
        index,
        place::SECONDS | place::MINUTES | place::HOURS | place::WEEKDAY..=place::YEAR | place::CENTURY
    )
}

fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
