//! The watchdog of Intel's 6300ESB I/O controller hub (datasheet 300641, chapter 16): a timer that a healthy guest winds
//! up again and again.
//!
//! It counts two stages one after the other. Linux and Windows disable the interrupt that ends the first, so there is none
//! here: that stage only leaves its mark in the status register. At the end of the second the machine is told. While the
//! machine is paused, the timer stands still.

mod registers;
#[cfg(test)]
mod tests;
mod timer;

use std::fmt;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use vmm_sys_util::timerfd::TimerFd;

use self::registers::{Count, LOCKED, Passed, Registers};
use self::timer::TimerWorker;
use crate::bus::{Action, BusDevice, Remap, Space, Window};
use crate::io_thread::{IoHandle, IoThreadError, RunningWorker};
use crate::lock;
use crate::pci::{Bar, BarChange, BarKind, ConfigSpace, ConfigState, Identity, PciFunction};

/// Length of the memory window in bytes.
pub const WINDOW_SIZE: u64 = 16;
/// Configuration register in configuration space, 16 bits.
const CONFIG: usize = 0x60;
/// What a guest can set there: interrupt type, prescaler, output.
const CONFIG_WRITABLE: u8 = 0x27;
/// Lock register in configuration space, 8 bits.
const LOCK: usize = 0x68;
const LOCK_WRITABLE: u8 = 0x07;
const VERSION: u32 = 1;

/// Told when the guest has let the timer run out. Called on an I/O thread; must not wait.
pub type OnExpiry = Arc<dyn Fn() + Send + Sync>;

/// Why there is no watchdog.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// The host has no timer left.
    #[error("the host gave no timer")]
    Timer(#[source] io::Error),
    /// The I/O thread did not take the timer.
    #[error(transparent)]
    IoThread(#[from] IoThreadError),
}

/// What a snapshot keeps of the watchdog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogState {
    /// Layout of this struct.
    pub version: u32,
    /// Configuration space.
    pub config: ConfigState,
    /// Preload values of the stages.
    pub preload: [u32; 2],
    /// The first stage has passed.
    pub status: bool,
    /// The timer has fired.
    pub fired: bool,
    /// Steps of the unlocking sequence that were done.
    pub unlocked: u8,
    /// The stage that is being counted, and the nanoseconds left of it.
    pub stage: Option<(u8, u64)>,
}

/// The watchdog on the PCI bus.
pub struct Watchdog {
    window: Arc<Window>,
    inner: Mutex<Inner>,
    on_expiry: OnExpiry,
    /// Outlives the machine's resets.
    fired: Arc<AtomicBool>,
    /// The start of this device's time.
    start: Instant,
    worker: Mutex<Option<RunningWorker>>,
    this: Weak<Self>,
}

struct Inner {
    config: ConfigSpace,
    registers: Registers,
    timer: TimerFd,
}

impl Watchdog {
    /// A watchdog whose window is at `window` at power-on and whose timer is served by `thread`. `fired` is what outlives
    /// resets: the guest can read that its last life was ended by the watchdog.
    ///
    /// # Errors
    /// The host is out of descriptors.
    pub fn new(
        window: u64,
        thread: &IoHandle,
        fired: Arc<AtomicBool>,
        on_expiry: OnExpiry,
    ) -> Result<Arc<Self>, WatchdogError> {
        let timer = TimerFd::new().map_err(|error| WatchdogError::Timer(error.into()))?;
        let fd = timer.as_raw_fd();
        let registers = Registers::new(fired.load(Ordering::Acquire));
        let inner = Mutex::new(Inner { config: config_space(window), registers, timer });
        let watchdog = Arc::new_cyclic(|this| Self {
            window: Arc::new(Window::new(Space::Mmio, WINDOW_SIZE)),
            inner,
            on_expiry,
            fired,
            start: Instant::now(),
            worker: Mutex::default(),
            this: Weak::clone(this),
        });
        let worker = TimerWorker { watchdog: Arc::downgrade(&watchdog), timer: fd };
        *lock(&watchdog.worker) = Some(thread.start(Box::new(worker))?);
        Ok(watchdog)
    }

    /// Lets the timer stand still, because the guest does.
    pub fn pause(&self) {
        let now = self.now();
        self.change(|inner| inner.registers.pause(now));
    }

    /// Lets the timer go on.
    pub fn resume(&self) {
        let now = self.now();
        self.change(|inner| inner.registers.resume(now));
    }

    /// Takes the timer off its I/O thread, which has to be running still.
    pub fn stop(&self) {
        let worker = lock(&self.worker).take();
        // Its thread is gone, then, and it with it.
        let _ = worker.map(RunningWorker::stop);
    }

    /// State for a snapshot; the machine is paused.
    pub fn save(&self) -> WatchdogState {
        let (now, inner) = (self.now(), lock(&self.inner));
        let registers = &inner.registers;
        let left = |left: Duration| u64::try_from(left.as_nanos()).unwrap_or(u64::MAX);
        WatchdogState {
            version: VERSION,
            config: inner.config.save(),
            preload: registers.preload,
            status: registers.status,
            fired: registers.fired,
            unlocked: registers.unlocked,
            stage: match registers.count {
                Count::Stopped => None,
                Count::Running(stage, end) => Some((u8::from(stage != 0), left(end.saturating_sub(now)))),
                Count::Paused(stage, rest) => Some((u8::from(stage != 0), left(rest))),
            },
        }
    }

    /// Takes over a saved state, and stands still until [`Watchdog::resume`]. Gives back the window's move, or `None` if
    /// the state is of another version.
    pub fn restore(&self, state: &WatchdogState) -> Option<Action> {
        if state.version != VERSION {
            return None;
        }
        let mut moved = Vec::new();
        self.change(|inner| {
            moved = inner.config.restore(&state.config);
            let registers = &mut inner.registers;
            registers.preload = state.preload;
            (registers.status, registers.fired) = (state.status, state.fired);
            registers.unlocked = state.unlocked.min(2);
            registers.config = inner.config.word(CONFIG);
            registers.lock = lock_of(&inner.config);
            registers.count = state.stage.map_or(Count::Stopped, |(stage, left)| {
                Count::Paused(usize::from(stage != 0), Duration::from_nanos(left))
            });
            protect(inner);
        });
        Some(self.remap(&moved))
    }

    fn timer_fired(&self) {
        let now = self.now();
        let mut passed = Passed::Nothing;
        self.change(|inner| passed = inner.registers.advance(now));
        if passed == Passed::Expired {
            (self.on_expiry)();
        }
    }

    /// Changes something, and sets the timer to what is due then.
    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = lock(&self.inner);
        let before = inner.registers.deadline();
        change(&mut inner);
        self.fired.store(inner.registers.fired, Ordering::Release);
        let deadline = inner.registers.deadline();
        if deadline == before && deadline.is_none_or(|deadline| deadline > self.now()) {
            return;
        }
        // Zero would stop it.
        let delay = deadline.map(|end| end.saturating_sub(self.now()).max(Duration::from_nanos(1)));
        if inner.timer.reset(delay.unwrap_or_default(), None).is_err() {
            crate::say!("kubevmm: the watchdog's timer could not be set");
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn remap(&self, moved: &[BarChange]) -> Action {
        let (Some(change), Some(device)) = (moved.last(), self.this.upgrade()) else { return Action::None };
        self.window.want(change.to);
        Action::Remap(vec![Remap { device, window: Arc::clone(&self.window) }])
    }
}

impl PciFunction for Watchdog {
    fn read_config(&self, offset: u16, data: &mut [u8]) {
        lock(&self.inner).config.read(offset, data);
    }

    fn write_config(&self, offset: u16, data: &[u8]) -> Action {
        let now = self.now();
        let mut moved = Vec::new();
        self.change(|inner| {
            moved = inner.config.write(offset, data);
            inner.registers.configure(inner.config.word(CONFIG));
            let lock = lock_of(&inner.config);
            if lock != inner.registers.lock {
                inner.registers.set_lock(lock, now);
                protect(inner);
            }
        });
        self.remap(&moved)
    }
}

impl BusDevice for Watchdog {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let value = lock(&self.inner).registers.read(offset & !3).to_le_bytes();
        let from = usize::try_from(offset & 3).unwrap_or(0);
        for (byte, value) in data.iter_mut().zip(value.into_iter().skip(from).chain([0; 8])) {
            *byte = value;
        }
    }

    /// Registers are written from their first byte, in whatever width.
    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let mut bytes = [0; 4];
        for (byte, value) in bytes.iter_mut().zip(data) {
            *byte = *value;
        }
        let now = self.now();
        self.change(|inner| inner.registers.write(offset, u32::from_le_bytes(bytes), now));
        Action::None
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("window", &self.window).finish_non_exhaustive()
    }
}

fn config_space(window: u64) -> ConfigSpace {
    let mut config = ConfigSpace::new(Identity {
        vendor: 0x8086,
        device: 0x25ab,
        revision: 0,
        class: 0x08_80_00,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    });
    config.add_bar(Bar { index: 0, kind: BarKind::Mem32, size: WINDOW_SIZE }, window);
    config.allow(CONFIG, &[CONFIG_WRITABLE]);
    config.allow(LOCK, &[LOCK_WRITABLE]);
    config
}

fn lock_of(config: &ConfigSpace) -> u8 {
    let [low, _] = config.word(LOCK).to_le_bytes();
    low
}

/// A lock register that says it is locked cannot be written any more.
fn protect(inner: &mut Inner) {
    let writable = if inner.registers.lock & LOCKED == 0 { LOCK_WRITABLE } else { 0 };
    inner.config.allow(LOCK, &[writable]);
}
