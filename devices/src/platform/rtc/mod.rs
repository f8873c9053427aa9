//! Real-time clock and CMOS memory (MC146818) at ports 0x70 and 0x71.
//!
//! The clock is the host's wall clock plus an offset, which moves when the guest sets the clock. It raises alarm and
//! update-ended interrupts, for which the host watches [`Rtc::timer`], but no periodic ones: systems have better timers.
//!
//! Update-in-progress is always clear, so that no guest waits. To keep what UIP promises, a read of register A holds
//! the time still for the next two milliseconds: a driver that looks at UIP first gets all registers of one second.

mod calendar;
mod cells;
mod clock;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use cells::Sizes;
use cells::{Cells, place};
use clock::Clock;
use serde::{Deserialize, Serialize};
use vmm_sys_util::timerfd::TimerFd;

use super::offsets_from;
use super::state::{StateError, check_version};
use crate::bus::{Action, BusDevice};
use crate::irq::IrqLine;
use crate::lock;

/// Port of the index register; the data register follows it.
pub const BASE: u64 = 0x70;
/// Number of ports.
pub const SIZE: u64 = 2;
/// Place of the century in CMOS memory (FADT CENTURY).
pub const CENTURY: u8 = place::CENTURY;

/// ISA interrupt of the clock, edge-triggered.
pub const IRQ: u32 = 8;

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
pub struct Rtc {
    inner: Mutex<Inner>,
    irq: Arc<dyn IrqLine>,
    timer: RawFd,
}

#[derive(Debug)]
struct Inner {
    clock: Clock,
    timer: TimerFd,
    /// The timer will fire.
    armed: bool,
}

impl Rtc {
    /// A clock that is `offset` seconds ahead of the host's UTC, and whose memory tells `sizes`. Interrupts are edges
    /// on `irq` (see [`IRQ`]).
    ///
    /// # Errors
    /// The host has no timerfd left.
    pub fn new(sizes: &Sizes, offset: i64, irq: Arc<dyn IrqLine>) -> io::Result<Self> {
        let timer = TimerFd::new()?;
        let fd = timer.as_raw_fd();
        let clock = Clock::new(0, Cells::at_power_on(sizes), offset, host_time());
        Ok(Self { inner: Mutex::new(Inner { clock, timer, armed: false }), irq, timer: fd })
    }

    /// Descriptor of a timer, open as long as the clock lives: whenever it is readable, [`Rtc::timer_fired`] is to be
    /// called. It must not be read. It stays quiet until the guest enables interrupts, then fires once a second.
    pub fn timer(&self) -> RawFd {
        self.timer
    }

    /// Raises the interrupts that have become due.
    pub fn timer_fired(&self) {
        let mut inner = lock(&self.inner);
        let now = host_time();
        if inner.clock.advance(now) {
            self.irq.pulse();
        }
        inner.armed = false;
        inner.rearm(now);
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        let inner = lock(&self.inner);
        let clock = &inner.clock;
        State { version: VERSION, index: clock.index, cells: clock.cells.to_vec(), offset: clock.offset }
    }

    /// Takes over a saved state; the clock shows the host's time at once. Alarms of the time between are lost.
    ///
    /// # Errors
    /// The state has an unknown version or another number of bytes.
    pub fn restore(&self, state: &State) -> Result<(), StateError> {
        check_version(DEVICE, state.version, VERSION)?;
        let cells = Cells::from_slice(&state.cells)
            .ok_or(StateError::Damaged { device: DEVICE, what: "CMOS memory is not 128 bytes long" })?;
        let now = host_time();
        let mut inner = lock(&self.inner);
        inner.clock = Clock::new(state.index & INDEX, cells, state.offset, now);
        inner.rearm(now);
        Ok(())
    }

    fn write_data(&self, inner: &mut Inner, value: u8) {
        let now = host_time();
        if inner.clock.write(value, now) {
            self.irq.pulse();
        }
        if !inner.armed && inner.clock.needs_timer() {
            inner.rearm(now);
        }
    }
}

impl Inner {
    /// Sets the timer to the next full second, or stops it. Setting it also takes back that it had fired.
    fn rearm(&mut self, now: Duration) {
        let wanted = self.clock.needs_timer();
        let to_next_second =
            Duration::from_secs(1).saturating_sub(Duration::from_nanos(now.subsec_nanos().into()));
        let delay = if wanted { to_next_second } else { Duration::ZERO };
        // Cannot fail with a valid descriptor and time; without it the guest misses interrupts, no more.
        self.armed = self.timer.reset(delay, None).is_ok() && wanted;
    }
}

impl BusDevice for Rtc {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let mut inner = lock(&self.inner);
        for (byte, port) in data.iter_mut().zip(offsets_from(offset)) {
            // The index register is write-only.
            *byte = if port == 1 { inner.clock.read(host_time()) } else { 0xff };
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut inner = lock(&self.inner);
        for (&byte, port) in data.iter().zip(offsets_from(offset)) {
            match port {
                0 => inner.clock.index = byte & INDEX,
                1 => self.write_data(&mut inner, byte),
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
