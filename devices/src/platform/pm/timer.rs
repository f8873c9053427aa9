//! ACPI power management timer (ACPI 6.5 §4.8.2.1): counts at 3.579545 MHz, whatever the guest does.

use std::time::{Duration, Instant};

/// Ticks per second.
pub const FREQUENCY: u64 = 3_579_545;
/// Width of the counter that the guest sees.
const BITS: u32 = 24;
const NANOSECONDS: u64 = 1_000_000_000;

/// The timer, with more bits than the guest sees so that its wrap-arounds can be told apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer {
    /// Count at `since`.
    base: u64,
    since: Instant,
}

impl Timer {
    /// A timer that stands at `count` now.
    pub(super) fn at(count: u64) -> Self {
        Self { base: count, since: Instant::now() }
    }

    /// Full count now.
    pub(super) fn count(&self) -> u64 {
        self.base.wrapping_add(ticks(self.since.elapsed()))
    }
}

/// The part of `count` that the guest sees.
pub(super) fn visible(count: u64) -> u64 {
    count & ((1 << BITS) - 1)
}

/// How often the highest visible bit has changed up to `count`: each change sets TMR_STS.
pub(super) fn half_periods(count: u64) -> u64 {
    count >> (BITS - 1)
}

fn ticks(elapsed: Duration) -> u64 {
    let part = u64::from(elapsed.subsec_nanos()) * FREQUENCY / NANOSECONDS;
    elapsed.as_secs().wrapping_mul(FREQUENCY).wrapping_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_at_its_frequency() {
        assert_eq!(ticks(Duration::from_secs(1)), FREQUENCY);
        assert_eq!(ticks(Duration::from_millis(1500)), FREQUENCY + FREQUENCY / 2);
        assert_eq!(ticks(Duration::from_nanos(279)), 0);
        assert_eq!(ticks(Duration::from_nanos(280)), 1);
        let _no_overflow = ticks(Duration::MAX);
    }

    #[test]
    fn goes_on_from_where_it_stood_and_never_back() {
        let timer = Timer::at(0xfff_fff0);
        let mut last = timer.count();
        assert!(last >= 0xfff_fff0);
        for _ in 0..1000 {
            let now = timer.count();
            assert!(now >= last);
            last = now;
        }
    }

    #[test]
    fn twenty_four_bits_are_visible() {
        assert_eq!(visible(0x1_2345_6789), 0x45_6789);
        assert_eq!(half_periods(0x7f_ffff), 0);
        assert_eq!(half_periods(0x80_0000), 1);
        assert_eq!(half_periods(0x100_0000), 2);
    }
}
