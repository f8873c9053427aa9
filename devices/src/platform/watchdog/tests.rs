use std::sync::atomic::AtomicU32;

use super::registers::place;
use super::*;
use crate::io_thread::IoThread;
use crate::platform::testing::hammer;

const MS: Duration = Duration::from_millis(1);

fn unlocked(registers: &mut Registers, offset: u64, value: u32, now: Duration) {
    registers.write(place::RELOAD, 0x80, now);
    registers.write(place::RELOAD, 0x86, now);
    registers.write(offset, value, now);
}

/// As Linux's driver sets a heartbeat of so many seconds: 512 ticks a second in each of two stages.
fn beating(seconds: u32) -> Registers {
    let mut registers = Registers::new(false);
    registers.configure(3);
    unlocked(&mut registers, place::PRELOAD_1, seconds << 9, Duration::ZERO);
    unlocked(&mut registers, place::PRELOAD_2, seconds << 9, Duration::ZERO);
    registers.set_lock(2, Duration::ZERO);
    registers
}

/// When the timer fires, if it does within so many milliseconds.
fn fires(registers: &mut Registers, within: u32) -> Option<Duration> {
    (0..within).map(|ms| ms * MS).find(|now| registers.advance(*now) == Passed::Expired)
}

#[test]
fn it_fires_after_both_stages() {
    let at = fires(&mut beating(10), 20_000).unwrap();
    // 33 MHz divided by 2^15 is a little more than the thousand ticks that drivers reckon with.
    assert!((10_100..10_200).contains(&at.as_millis()), "{at:?}");
}

#[test]
fn it_does_not_fire_while_it_is_wound_up() {
    let mut registers = beating(2);
    for second in 1..100 {
        let now = Duration::from_secs(second);
        assert_eq!(registers.advance(now), Passed::Nothing);
        unlocked(&mut registers, place::RELOAD, 0x100, now);
    }
    assert_eq!(registers.advance(Duration::from_millis(100_600)), Passed::Nothing);
    assert!(registers.status, "the first stage has passed");
    registers.write(place::STATUS, 1, Duration::ZERO);
    assert_eq!(registers.read(place::STATUS), 0);
    assert_eq!(registers.advance(Duration::from_secs(102)), Passed::Expired);
    assert_eq!(registers.read(place::RELOAD), 0x200, "the guest can see that it has fired");
    unlocked(&mut registers, place::RELOAD, 0x300, Duration::ZERO);
    assert_eq!(registers.read(place::RELOAD), 0);
}

#[test]
fn only_the_whole_sequence_unlocks_and_only_one_write() {
    for sequence in [&[0x80][..], &[0x86], &[0x80, 0x80, 0x87], &[0x86, 0x80], &[]] {
        let mut registers = beating(1);
        sequence.iter().for_each(|value| registers.write(place::RELOAD, *value, Duration::ZERO));
        registers.write(place::RELOAD, 0x100, 900 * MS);
        assert!(fires(&mut registers, 1_100).is_some(), "{sequence:x?}");
    }
    let mut registers = beating(1);
    unlocked(&mut registers, place::PRELOAD_1, 5, Duration::ZERO);
    registers.write(place::PRELOAD_1, 7, Duration::ZERO);
    registers.write(place::PRELOAD_2, 7, Duration::ZERO);
    assert_eq!(registers.preload, [5, 512]);
    // A false start does not spoil what follows.
    registers.write(place::RELOAD, 0x80, Duration::ZERO);
    unlocked(&mut registers, place::PRELOAD_1, 9, Duration::ZERO);
    assert_eq!(registers.preload, [9, 512]);
}

#[test]
fn a_paused_guest_is_not_late() {
    let mut registers = beating(2);
    assert_eq!(registers.advance(1500 * MS), Passed::Nothing);
    registers.pause(1500 * MS);
    assert_eq!(registers.deadline(), None);
    assert_eq!(registers.advance(Duration::from_secs(3600)), Passed::Nothing);
    registers.resume(Duration::from_secs(3600));
    assert_eq!(registers.advance(Duration::from_secs(3601)), Passed::Nothing);
    assert_eq!(registers.advance(Duration::from_secs(3602)), Passed::Expired);
}

#[test]
fn what_the_guest_switches_off_stays_off() {
    let mut registers = beating(1);
    registers.set_lock(0, 100 * MS);
    assert_eq!(fires(&mut registers, 5_000), None);
    // Output off: it counts, and nobody hears.
    let mut registers = beating(1);
    registers.configure(0x23);
    assert_eq!(fires(&mut registers, 5_000), None);
    assert!(registers.fired);
    // Free-running: it counts on.
    let mut registers = beating(1);
    registers.set_lock(6, Duration::ZERO);
    assert_eq!(fires(&mut registers, 5_000), None);
    assert!(matches!(registers.count, Count::Running(..)));
}

#[test]
fn no_preload_makes_it_spin_or_overflow() {
    for (preload, config) in [(0, 4), (u32::MAX, 0)] {
        let mut registers = Registers::new(false);
        registers.configure(config);
        unlocked(&mut registers, place::PRELOAD_1, preload, Duration::MAX);
        registers.set_lock(2, Duration::ZERO);
        let end = registers.deadline().unwrap();
        assert!(end > Duration::ZERO && end < Duration::from_secs(1100), "{end:?}");
        registers.set_lock(0, Duration::MAX);
        registers.set_lock(2, Duration::MAX);
    }
}

struct Machine {
    thread: IoThread,
    fired: Arc<AtomicBool>,
    expired: Arc<AtomicU32>,
}

impl Machine {
    fn new() -> Self {
        let thread = IoThread::spawn("test-io", || ()).unwrap();
        Self { thread, fired: Arc::default(), expired: Arc::default() }
    }

    fn watchdog(&self) -> Arc<Watchdog> {
        let expired = Arc::clone(&self.expired);
        let on_expiry = Arc::new(move || {
            expired.fetch_add(1, Ordering::SeqCst);
        });
        let fired = Arc::clone(&self.fired);
        Watchdog::new(0xc000_0000, &self.thread.handle(), fired, on_expiry).unwrap()
    }
}

/// Unlocks and writes through the bus, as a driver does.
fn set(watchdog: &Watchdog, offset: u64, data: &[u8]) {
    let _ = watchdog.write(place::RELOAD, &[0x80]);
    let _ = watchdog.write(place::RELOAD, &[0x86]);
    let _ = watchdog.write(offset, data);
}

fn start(watchdog: &Watchdog, ticks: u32, lock: u8) {
    let _ = watchdog.write_config(0x60, &3u16.to_le_bytes());
    set(watchdog, place::PRELOAD_1, &ticks.to_le_bytes());
    set(watchdog, place::PRELOAD_2, &ticks.to_le_bytes());
    let _ = watchdog.write_config(0x68, &[lock]);
}

fn read(watchdog: &Watchdog, offset: u64) -> u16 {
    let mut data = [0; 2];
    watchdog.read(offset, &mut data);
    u16::from_le_bytes(data)
}

/// What comes of an attempt with a timer of so many ticks in each stage, the first one for which this thread was not kept waiting so long
/// that the timer ended meanwhile.
fn in_time<T>(attempt: impl FnMut(u32) -> Option<T>) -> T {
    (0..8)
        .map(|doubled| 40 << doubled)
        .find_map(attempt)
        .expect("this thread is kept waiting again and again")
}

/// Whether a timer of so many ticks in each stage that was started or wound up after `since` cannot have ended yet. There are 1007 in a
/// second.
fn is_early(since: Instant, ticks: u32) -> bool {
    since.elapsed() < ticks * MS * 19 / 10
}

/// Starts a timer and winds it up in time; longer than it would have taken without that is over afterwards.
fn wind_up(ticks: u32) -> Option<(Machine, Arc<Watchdog>)> {
    let machine = Machine::new();
    let watchdog = machine.watchdog();
    let begun = Instant::now();
    start(&watchdog, ticks, 2);
    std::thread::sleep(ticks * MS * 5 / 4);
    let wound = Instant::now();
    set(&watchdog, place::RELOAD, &0x100u16.to_le_bytes());
    let was_running = is_early(begun, ticks);
    std::thread::sleep(ticks * MS * 5 / 4);
    let expired = machine.expired.load(Ordering::SeqCst);
    let is_running = is_early(wound, ticks);
    if !was_running || !is_running {
        return None;
    }
    assert_eq!(expired, 0, "it was wound up");
    Some((machine, watchdog))
}

#[test]
fn the_host_hears_of_it_once_and_the_next_life_too() {
    let (machine, watchdog) = in_time(wind_up);
    let end = Instant::now() + Duration::from_secs(60);
    while machine.expired.load(Ordering::SeqCst) == 0 && Instant::now() < end {
        std::thread::sleep(2 * MS);
    }
    std::thread::sleep(100 * MS);
    assert_eq!(machine.expired.load(Ordering::SeqCst), 1);
    watchdog.stop();
    let again = machine.watchdog();
    assert_eq!(read(&again, place::RELOAD), 0x200);
    set(&again, place::RELOAD, &0x200u16.to_le_bytes());
    assert!(!machine.fired.load(Ordering::SeqCst));
}

#[test]
fn a_pause_holds_the_timer_and_a_stop_ends_it() {
    in_time(|ticks| {
        let machine = Machine::new();
        let watchdog = machine.watchdog();
        let begun = Instant::now();
        start(&watchdog, ticks, 2);
        watchdog.pause();
        if !is_early(begun, ticks) {
            return None;
        }
        let ran = begun.elapsed();
        std::thread::sleep(3 * ticks * MS);
        assert_eq!(machine.expired.load(Ordering::SeqCst), 0);
        let resumed = Instant::now();
        watchdog.resume();
        watchdog.stop();
        if !is_early(resumed.checked_sub(ran).unwrap(), ticks) {
            return None;
        }
        std::thread::sleep(3 * ticks * MS);
        assert_eq!(machine.expired.load(Ordering::SeqCst), 0);
        watchdog.stop();
        Some(())
    });
}

#[test]
fn locked_is_locked_until_the_machine_is_reset() {
    let machine = Machine::new();
    let watchdog = machine.watchdog();
    start(&watchdog, 1 << 19, 3);
    let _ = watchdog.write_config(0x68, &[0]);
    let mut data = [0];
    watchdog.read_config(0x68, &mut data);
    assert_eq!(data, [3]);
    assert_eq!(watchdog.save().stage.map(|(stage, _)| stage), Some(0));
}

#[test]
fn state_makes_the_round_trip() {
    let machine = Machine::new();
    let watchdog = machine.watchdog();
    let begun = Instant::now();
    start(&watchdog, 60_000, 3);
    let _ = watchdog.write_config(4, &[2, 0]);
    let _ = watchdog.write(place::RELOAD, &[0x80]);
    watchdog.pause();
    let ran = begun.elapsed();
    let saved = watchdog.save();
    let other = machine.watchdog();
    assert!(matches!(other.restore(&saved), Some(Action::Remap(_))));
    assert_eq!(other.save(), saved);
    let (stage, left) = saved.stage.unwrap();
    assert_eq!(stage, 0);
    // 59.58 s are a stage.
    let left = Duration::from_nanos(left);
    assert!(left <= 59_600 * MS && left + ran >= 59_500 * MS, "{left:?} after {ran:?}");
    assert!(other.restore(&WatchdogState { version: 9, ..saved }).is_none());
}

#[test]
fn no_access_does_harm() {
    let machine = Machine::new();
    let watchdog = machine.watchdog();
    hammer(watchdog.as_ref(), WINDOW_SIZE);
    for offset in 0..=255u16 {
        for value in [[0xff; 4], [0; 4], [0x55; 4]] {
            let _ = watchdog.write_config(offset, &value);
            hammer(watchdog.as_ref(), 1);
        }
    }
    let mut id = [0; 4];
    watchdog.read_config(0, &mut id);
    assert_eq!(u32::from_le_bytes(id), 0x25ab_8086);
}
