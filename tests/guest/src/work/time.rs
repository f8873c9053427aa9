//! Time, as all processors see it: it never goes back, sleeps are never too short, and a timer expires as often as it should.

use std::io;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use guest::clocks::{self, Clock, Timer};

use super::Work;

/// Looks at the clocks in one go, and the pause after them.
const GO: u32 = 20;
const PAUSE: Duration = Duration::from_millis(10);
/// Period of the timer, and length of a sleep.
const PERIOD: Duration = Duration::from_millis(20);
const NAP: Duration = Duration::from_millis(10);
/// How far the time of day may drift from the time since the start: nobody sets it.
const DRIFT: i128 = 1_000_000;

fn wrong(why: String) -> io::Error {
    io::Error::other(why)
}

fn monotonic() -> io::Result<u64> {
    let time = clocks::read(Clock::Monotonic)?.as_nanos();
    u64::try_from(time).map_err(|error| wrong(error.to_string()))
}

/// Looks at both clocks over and over: none is ever before what another processor has seen, and one does not move against the other.
pub(super) fn look(work: &Work, processor: usize) -> io::Result<()> {
    clocks::stay_on(processor)?;
    let (mut least, mut most) = (i128::MIN, i128::MAX);
    while work.goes_on() {
        for _ in 0..GO {
            let seen = work.latest.load(Ordering::SeqCst);
            let before = monotonic()?;
            if before < seen {
                return Err(wrong(format!("the clock shows {before} ns after {seen} ns")));
            }
            let day = i128::try_from(clocks::read(Clock::Realtime)?.as_nanos()).unwrap_or(i128::MAX);
            let after = monotonic()?;
            work.latest.fetch_max(after, Ordering::SeqCst);
            // The time of day is ahead by what lies between these two, whenever it was read.
            (least, most) = (least.max(day - i128::from(after)), most.min(day - i128::from(before)));
            if least > most + DRIFT {
                return Err(wrong(format!(
                    "the time of day has moved: it was ahead by {least} ns and by {most} ns"
                )));
            }
            work.looks.fetch_add(1, Ordering::SeqCst);
        }
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// A timer expires as often as its period has passed.
pub(super) fn tick(work: &Work) -> io::Result<()> {
    let start = clocks::read(Clock::Monotonic)?;
    let mut timer = Timer::new(start, PERIOD)?;
    let periods =
        |now: Duration| u64::try_from((now - start).as_nanos() / PERIOD.as_nanos()).unwrap_or(u64::MAX);
    while work.goes_on() {
        let before = periods(clocks::read(Clock::Monotonic)?);
        let ticks = timer.wait()?;
        let total = work.ticks.fetch_add(ticks, Ordering::SeqCst) + ticks;
        let after = periods(clocks::read(Clock::Monotonic)?);
        // The interrupt of the last one may just be on its way.
        if total + 1 < before || total > after {
            return Err(wrong(format!("it has expired {total} times in {before} to {after} periods")));
        }
    }
    Ok(())
}

/// No sleep is too short.
pub(super) fn nap(work: &Work) -> io::Result<()> {
    while work.goes_on() {
        let before = clocks::read(Clock::Monotonic)?;
        thread::sleep(NAP);
        let slept = clocks::read(Clock::Monotonic)?.saturating_sub(before);
        if slept < NAP {
            return Err(wrong(format!("{slept:?} instead of {NAP:?}")));
        }
        work.naps.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}
