//! How fast a device may be used: a bucket for operations and one for bytes, which all queues of the device share.

use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::timerfd::TimerFd;

use super::RingError;
use super::worker::Watch;

/// How much may be used at once after a time of rest, as the time that it stands for.
const BURST: Duration = Duration::from_millis(100);
const SECOND: u64 = 1_000_000_000;

/// Most that a guest may use of a device; without a number there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimit {
    /// Operations in a second: a disk's requests, a network card's frames.
    pub operations: Option<NonZeroU64>,
    /// Bytes of data moved in a second.
    pub bytes: Option<NonZeroU64>,
}

/// The two buckets. Each is the moment, in nanoseconds since the start, at which all that was used so far would have
/// been used up at the even rate; that it may lie ahead by [`BURST`] is the bucket's depth.
#[derive(Debug)]
pub(crate) struct Buckets {
    limit: RateLimit,
    start: Instant,
    operations: AtomicU64,
    bytes: AtomicU64,
}

impl Buckets {
    pub(crate) fn new(limit: RateLimit) -> Self {
        Self { limit, start: Instant::now(), operations: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    pub(crate) fn are_limited(&self) -> bool {
        self.limit != RateLimit::default()
    }

    /// How long to wait until the next operation may begin; `None` if that is now.
    pub(crate) fn wait(&self) -> Option<Duration> {
        if !self.are_limited() {
            return None;
        }
        let allowed = self.now().saturating_add(nanoseconds(BURST));
        let latest = self.operations.load(Ordering::Relaxed).max(self.bytes.load(Ordering::Relaxed));
        let wait = latest.checked_sub(allowed).filter(|wait| *wait > 0)?;
        Some(Duration::from_nanos(wait))
    }

    /// Counts an operation of so many bytes, which may be more than is left: then the next one waits the longer.
    pub(crate) fn charge(&self, bytes: u64) {
        let now = if self.are_limited() { self.now() } else { return };
        charge(&self.operations, self.limit.operations, 1, now);
        charge(&self.bytes, self.limit.bytes, bytes, now);
    }

    fn now(&self) -> u64 {
        nanoseconds(self.start.elapsed())
    }
}

/// A queue's waiting for the limit.
#[derive(Debug, Default)]
pub(crate) struct Brake(Option<TimerFd>);

impl Brake {
    /// Watches, as `token`, a timer that ends the waits for `buckets`, if those are limited.
    ///
    /// # Errors
    /// The host has no timer left.
    pub(crate) fn new(buckets: &Buckets, token: u32, watch: &mut Watch<'_, '_>) -> Result<Self, RingError> {
        if !buckets.are_limited() {
            return Ok(Self(None));
        }
        let timer = TimerFd::new().map_err(|_| RingError::Unwatched)?;
        let watched = watch.add(timer.as_raw_fd(), token, EventSet::IN | EventSet::EDGE_TRIGGERED);
        if watched { Ok(Self(Some(timer))) } else { Err(RingError::Unwatched) }
    }

    /// Whether the buckets have nothing left now; then the timer tells when to try again.
    pub(crate) fn holds(&mut self, buckets: &Buckets) -> bool {
        let Some(timer) = &mut self.0 else { return false };
        match buckets.wait() {
            // Without the timer, the limit does not hold.
            Some(wait) => timer.reset(wait, None).is_ok(),
            None => false,
        }
    }
}

fn charge(bucket: &AtomicU64, rate: Option<NonZeroU64>, amount: u64, now: u64) {
    let Some(rate) = rate else { return };
    let cost = u128::from(amount) * u128::from(SECOND) / u128::from(rate.get());
    let cost = u64::try_from(cost).unwrap_or(u64::MAX);
    let add = |at: u64| Some(at.max(now).saturating_add(cost));
    // It fails only if the closure says so.
    let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(operations: u64, bytes: u64) -> Buckets {
        Buckets::new(RateLimit { operations: NonZeroU64::new(operations), bytes: NonZeroU64::new(bytes) })
    }

    #[test]
    fn without_a_limit_nothing_waits() {
        let buckets = buckets(0, 0);
        (0..1000).for_each(|_| buckets.charge(u64::MAX));
        assert_eq!(buckets.wait(), None);
    }

    #[test]
    fn a_burst_is_allowed_and_what_follows_waits_as_long_as_it_costs() {
        for (buckets, bytes) in [(buckets(100, 0), 1 << 30), (buckets(0, 1000), 10)] {
            // Ten of 10 ms fit into the burst.
            for _ in 0..10 {
                assert_eq!(buckets.wait(), None);
                buckets.charge(bytes);
            }
            (0..10_000).for_each(|_| buckets.charge(bytes));
            let wait = buckets.wait().unwrap();
            assert!(wait > Duration::from_secs(50) && wait <= Duration::from_secs(100), "{wait:?}");
        }
    }

    #[test]
    fn costs_beyond_all_bounds_only_wait_long() {
        let buckets = buckets(0, 1);
        buckets.charge(u64::MAX);
        buckets.charge(u64::MAX);
        assert!(buckets.wait().unwrap() > Duration::from_secs(1 << 30));
    }
}
