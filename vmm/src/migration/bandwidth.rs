//! A limit on bytes a second: a bucket of tokens. Pure; times are given.

use std::num::NonZeroU64;
use std::time::Duration;

/// So much may be sent at once after a pause.
const BURST: Duration = Duration::from_millis(50);

/// Lets no more through than so many bytes a second.
#[derive(Clone, Debug)]
pub struct Bandwidth {
    rate: NonZeroU64,
    /// Up to this time, since the beginning, all that may be sent has been sent.
    spent: Duration,
}

impl Bandwidth {
    /// So many bytes a second.
    pub fn new(rate: NonZeroU64) -> Self {
        Self { rate, spent: Duration::ZERO }
    }

    /// So many bytes were sent at this time since the beginning; how long to wait before more are.
    pub fn sent(&mut self, bytes: u64, now: Duration) -> Duration {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.rate.get());
        let took = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.spent = self.spent.max(now.saturating_sub(BURST)).saturating_add(took);
        self.spent.saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_kept_in_the_long_run() {
        let mut bandwidth = Bandwidth::new(NonZeroU64::new(1 << 20).unwrap());
        let mut now = Duration::ZERO;
        for _ in 0..1000 {
            now += bandwidth.sent(64 << 10, now);
        }
        let expected = Duration::from_millis(62_500);
        assert!(now >= expected - BURST && now <= expected + BURST, "{now:?}");
    }

    #[test]
    fn a_pause_is_not_made_up_for() {
        let mut bandwidth = Bandwidth::new(NonZeroU64::new(1 << 20).unwrap());
        let later = Duration::from_secs(100);
        assert_eq!(bandwidth.sent(1 << 20, later), Duration::from_millis(950));
        assert_eq!(bandwidth.sent(0, later + Duration::from_secs(5)), Duration::ZERO);
        let huge = bandwidth.sent(u64::MAX, later);
        assert!(huge > Duration::from_secs(1 << 30));
    }
}
