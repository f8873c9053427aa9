//! The clock without its host: every method is told the host's time.

use std::time::Duration;

use super::calendar::DateTime;
use super::cells::{Cells, place};

/// How long a look at UIP holds the time still.
pub(super) const HOLD: Duration = Duration::from_millis(2);
/// Register A without UIP, which is read-only.
const A_STORED: u8 = 0x7f;
/// Interrupts, as enabled in register B and flagged in register C.
const UPDATE_ENDED: u8 = 1 << 4;
const ALARM: u8 = 1 << 5;
const INTERRUPTS: u8 = UPDATE_ENDED | ALARM;
/// Register C: an enabled interrupt is flagged.
const REQUEST: u8 = 1 << 7;
/// Register D: time and memory are valid.
const D_VALID: u8 = 1 << 7;
/// Alarms recur daily, so a longer gap between two looks at the clock needs no longer search.
const DAY: i64 = 86_400;

#[derive(Debug)]
pub(super) struct Clock {
    pub(super) index: u8,
    pub(super) cells: Cells,
    /// Seconds ahead of the host.
    pub(super) offset: i64,
    /// When register A was last read.
    held: Option<Duration>,
    /// The second up to which the flags are set.
    seen: i64,
}

impl Clock {
    pub(super) fn new(index: u8, cells: Cells, offset: i64, now: Duration) -> Self {
        Self { index, cells, offset, held: None, seen: seconds(now).saturating_add(offset) }
    }

    /// The register that the index selects.
    pub(super) fn read(&mut self, now: Duration) -> u8 {
        match self.index {
            place::A => self.held = Some(now),
            place::C => return self.take_flags(now),
            place::D => return D_VALID,
            index if is_time(index) && !self.cells.stopped() => {
                let at = self.held.filter(|&held| now.checked_sub(held).is_some_and(|age| age < HOLD));
                self.show(at.unwrap_or(now));
            }
            _ => {}
        }
        self.cells.get(self.index)
    }

    /// Writes the register that the index selects; true if that raises an interrupt.
    pub(super) fn write(&mut self, value: u8, now: Duration) -> bool {
        match self.index {
            place::A => self.cells.set(place::A, value & A_STORED),
            place::B => return self.write_b(value, now),
            place::C | place::D => {}
            index if is_time(index) && !self.cells.stopped() => {
                self.show(now);
                self.cells.set(index, value);
                self.start(now);
            }
            index => self.cells.set(index, value),
        }
        false
    }

    /// An interrupt is enabled and the clock runs: [`Clock::advance`] must be called each second.
    pub(super) fn needs_timer(&self) -> bool {
        !self.cells.stopped() && self.cells.get(place::B) & INTERRUPTS != 0
    }

    /// Sets the flags of the seconds that passed since the last call; true if that raises an interrupt.
    pub(super) fn advance(&mut self, now: Duration) -> bool {
        let before = self.requested();
        let second = self.time(now);
        let passed = self.seen.max(second.saturating_sub(DAY))..second;
        self.seen = second;
        if !self.cells.stopped() && !passed.is_empty() {
            let alarm = passed.map(|second| second.saturating_add(1)).any(|second| self.is_alarm(second));
            self.flag(UPDATE_ENDED | if alarm { ALARM } else { 0 });
        }
        !before && self.requested()
    }

    /// Register C, which is cleared by reading it.
    fn take_flags(&mut self, now: Duration) -> u8 {
        self.advance(now);
        let request = if self.requested() { REQUEST } else { 0 };
        let flags = self.cells.get(place::C);
        self.cells.set(place::C, 0);
        flags & INTERRUPTS | request
    }

    /// Stopping the clock leaves the time in the registers, in the format that it is stopped with; starting it takes
    /// the time from there.
    fn write_b(&mut self, value: u8, now: Duration) -> bool {
        self.advance(now);
        let (was_requested, was_stopped) = (self.requested(), self.cells.stopped());
        self.cells.set(place::B, value);
        match (was_stopped, self.cells.stopped()) {
            (false, true) => self.show(now),
            (true, false) => self.start(now),
            _ => {}
        }
        !was_requested && self.requested()
    }

    fn requested(&self) -> bool {
        self.cells.get(place::B) & self.cells.get(place::C) & INTERRUPTS != 0
    }

    fn flag(&mut self, flags: u8) {
        self.cells.set(place::C, self.cells.get(place::C) | flags);
    }

    fn is_alarm(&self, second: i64) -> bool {
        let at = DateTime::from_unix(second);
        self.cells.alarm_matches(at.hour, at.minute, at.second)
    }

    /// The clock's own time in seconds since 1970.
    fn time(&self, now: Duration) -> i64 {
        seconds(now).saturating_add(self.offset)
    }

    /// Puts the time into the registers.
    fn show(&mut self, now: Duration) {
        self.cells.show(DateTime::from_unix(self.time(now)));
    }

    /// Goes on from the time in the registers.
    fn start(&mut self, now: Duration) {
        self.seen = self.cells.shown().to_unix();
        self.offset = self.seen.saturating_sub(seconds(now));
        self.held = None;
    }
}

fn is_time(index: u8) -> bool {
    matches!(
        index,
        place::SECONDS | place::MINUTES | place::HOURS | place::WEEKDAY..=place::YEAR | place::CENTURY
    )
}

pub(super) fn seconds(time: Duration) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}
