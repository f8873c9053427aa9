//! The timer's registers, without its host: every method is told the time.

use std::time::Duration;

/// Places in the memory window.
pub(super) mod place {
    /// Preload value of the first stage, 20 bits.
    pub(in super::super) const PRELOAD_1: u64 = 0x00;
    /// Preload value of the second stage, 20 bits.
    pub(in super::super) const PRELOAD_2: u64 = 0x04;
    /// General interrupt status: bit 0, the first stage has passed.
    pub(in super::super) const STATUS: u64 = 0x08;
    /// Reload register, and the way to unlock it.
    pub(in super::super) const RELOAD: u64 = 0x0c;
}

/// Configuration register: the counters run at 1 MHz instead of 1 kHz.
const FAST: u16 = 1 << 2;
/// Configuration register: the second stage's end does nothing outside.
const OUTPUT_OFF: u16 = 1 << 5;
/// Lock register: nothing but a reset of the machine changes it any more.
pub(super) const LOCKED: u8 = 1;
/// Lock register: the timer runs.
const ENABLED: u8 = 1 << 1;
/// Lock register: the timer starts anew at the end of the second stage.
const FREE_RUNNING: u8 = 1 << 2;
/// Reload register: start from the first stage.
const RELOAD: u32 = 1 << 8;
/// Reload register: the timer has fired, cleared by writing one.
const FIRED: u32 = 1 << 9;
/// What is written to the reload register to unlock one write.
const UNLOCK: [u32; 2] = [0x80, 0x86];

const PRELOAD_MASK: u32 = 0xf_ffff;
/// What the timer's clock is divided by: 2 to the power of 15 or 5.
const SHIFT: [u32; 2] = [15, 5];
/// The PCI clock, 33 MHz.
const CLOCK_HZ: u64 = 33_000_000;

/// Where the count stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Stopped,
    /// The stage, 0 or 1, and when it ends.
    Running(usize, Duration),
    /// The stage, and how much was left when the machine was paused.
    Paused(usize, Duration),
}

/// What [`Registers::advance`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    /// Nothing to do outside.
    Nothing,
    /// The guest has let the second stage end.
    Expired,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) preload: [u32; 2],
    /// The first stage has passed.
    pub(super) status: bool,
    /// The timer has fired since this was last cleared; the machine's resets leave it alone.
    pub(super) fired: bool,
    /// How many of the words of [`UNLOCK`] were written.
    pub(super) unlocked: u8,
    pub(super) config: u16,
    pub(super) lock: u8,
    pub(super) count: Count,
}

impl Registers {
    /// The registers at power-on.
    pub(super) fn new(fired: bool) -> Self {
        Self {
            preload: [PRELOAD_MASK; 2],
            status: false,
            fired,
            unlocked: 0,
            config: 0,
            lock: 0,
            count: Count::Stopped,
        }
    }

    /// The register at this place of the window.
    pub(super) fn read(&self, offset: u64) -> u32 {
        match offset {
            place::STATUS => u32::from(self.status),
            place::RELOAD if self.fired => FIRED,
            // The preload values cannot be read back.
            _ => 0,
        }
    }

    /// Writes the register at this place of the window.
    pub(super) fn write(&mut self, offset: u64, value: u32, now: Duration) {
        match offset {
            place::STATUS => self.status &= value & 1 == 0,
            place::RELOAD if self.step(value) => {}
            _ if usize::from(self.unlocked) == UNLOCK.len() => {
                self.unlocked = 0;
                self.write_unlocked(offset, value, now);
            }
            _ => {}
        }
    }

    /// Whether `value` is the next step of the sequence that unlocks.
    fn step(&mut self, value: u32) -> bool {
        let next = UNLOCK.get(usize::from(self.unlocked)) == Some(&value);
        if next {
            self.unlocked += 1;
        } else if value == UNLOCK[0] {
            self.unlocked = 1;
            return true;
        }
        next
    }

    fn write_unlocked(&mut self, offset: u64, value: u32, now: Duration) {
        match offset {
            place::PRELOAD_1 => self.preload[0] = value & PRELOAD_MASK,
            place::PRELOAD_2 => self.preload[1] = value & PRELOAD_MASK,
            place::RELOAD => {
                self.fired &= value & FIRED == 0;
                if value & RELOAD != 0 && self.count != Count::Stopped {
                    self.start(0, now);
                }
            }
            _ => {}
        }
    }

    /// The guest wrote the configuration register.
    pub(super) fn configure(&mut self, config: u16) {
        self.config = config;
    }

    /// The guest wrote the lock register, which was not locked.
    pub(super) fn set_lock(&mut self, lock: u8, now: Duration) {
        let was_enabled = self.lock & ENABLED != 0;
        self.lock = lock;
        match (was_enabled, lock & ENABLED != 0) {
            (false, true) => self.start(0, now),
            (true, false) => self.count = Count::Stopped,
            _ => {}
        }
    }

    /// Lets the time up to `now` pass.
    pub(super) fn advance(&mut self, now: Duration) -> Passed {
        match self.count {
            Count::Running(0, end) if end <= now => {
                self.status = true;
                self.start(1, now);
                Passed::Nothing
            }
            Count::Running(_, end) if end <= now => self.expire(now),
            _ => Passed::Nothing,
        }
    }

    fn expire(&mut self, now: Duration) -> Passed {
        self.fired = true;
        if self.lock & FREE_RUNNING != 0 {
            self.start(0, now);
        } else {
            self.count = Count::Stopped;
        }
        // As with real ones, a free-running timer only counts.
        let acts = self.lock & FREE_RUNNING == 0 && self.config & OUTPUT_OFF == 0;
        if acts { Passed::Expired } else { Passed::Nothing }
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.count {
            Count::Running(_, end) => Some(end),
            Count::Stopped | Count::Paused(..) => None,
        }
    }

    /// Time stands still for the guest.
    pub(super) fn pause(&mut self, now: Duration) {
        if let Count::Running(stage, end) = self.count {
            self.count = Count::Paused(stage, end.saturating_sub(now));
        }
    }

    /// Time goes on for the guest.
    pub(super) fn resume(&mut self, now: Duration) {
        if let Count::Paused(stage, left) = self.count {
            self.count = Count::Running(stage, now.saturating_add(left));
        }
    }

    fn start(&mut self, stage: usize, now: Duration) {
        let [slow, fast] = SHIFT;
        let shift = if self.config & FAST == 0 { slow } else { fast };
        let preload = self.preload.get(stage).copied().unwrap_or(PRELOAD_MASK);
        // At most 2^35 ticks of 33 MHz: 17 minutes. A preload of 0 lasts one tick, so that nothing spins.
        let ticks = u64::from(preload.max(1)) << shift;
        let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(CLOCK_HZ);
        let length = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let paused = matches!(self.count, Count::Paused(..));
        self.count = if paused {
            Count::Paused(stage, length)
        } else {
            Count::Running(stage, now.saturating_add(length))
        };
    }
}
