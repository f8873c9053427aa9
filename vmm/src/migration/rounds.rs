//! When copying is to end: what to do after a round, from what the rounds have shown so far. Pure; times are given.

use std::num::NonZeroU64;
use std::time::Duration;

use super::MigrationOptions;
use super::options::PostCopy;

/// The share of a vCPU's time that is taken away first, and how much more each time (KubeVirt leaves both to QEMU, which has 20 and
/// 10 percent).
const FIRST_THROTTLE: u8 = 20;
const MORE_THROTTLE: u8 = 10;
/// A vCPU keeps at least this share, in percent.
const LEAST_SHARE: u8 = 1;
/// So many rounds have to leave much the same before the guest is slowed down.
const PATIENCE: u32 = 2;
/// What the last pause takes besides copying: state, and messages to and fro.
const FIXED: Duration = Duration::from_millis(20);

/// A round of copying that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Round {
    /// Bytes on the wire.
    pub sent: u64,
    /// How long the connection took for them.
    pub sending: Duration,
    /// How long all of it took.
    pub took: Duration,
    /// Bytes that have been written since it began, and are to be copied again.
    pub left: u64,
}

impl Round {
    /// Bytes a second, of what was sent; `None` if that cannot be told.
    fn rate(&self) -> Option<u64> {
        rate(self.sent, self.sending)
    }
}

/// Bytes a second.
fn rate(bytes: u64, took: Duration) -> Option<u64> {
    let nanoseconds = took.as_nanos();
    if nanoseconds == 0 || bytes == 0 {
        return None;
    }
    u64::try_from(u128::from(bytes) * 1_000_000_000 / nanoseconds).ok().filter(|rate| *rate > 0)
}

/// What to do after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stop the guest: the rest fits into the downtime.
    Stop,
    /// Stop the guest, hand it over, and have the rest of its memory follow it.
    Follow,
    /// One more round, the vCPUs held back for this share of their time, in percent.
    Again {
        /// 0 for not at all.
        throttle: u8,
    },
    /// Give up, for this reason.
    GiveUp(Reason),
}

/// Why a migration is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It takes too long.
    #[error("it did not come to an end within {} s (completionTimeoutPerGiB)", .0.as_secs())]
    TooLong(Duration),
    /// It does not get anywhere.
    #[error("no less was left to copy for {} s (progressTimeout)", .0.as_secs())]
    NoProgress(Duration),
}

/// The times that a migration has, and what has come of it by then.
#[derive(Clone, Debug)]
pub struct Limits {
    completion: Option<Duration>,
    progress: Option<Duration>,
    /// The least that was left, and since when.
    least: Option<(u64, Duration)>,
}

impl Limits {
    /// Those of a migration of so many bytes.
    pub fn new(options: &MigrationOptions, bytes: u64) -> Self {
        let of_gibs = |seconds: u64| seconds.saturating_mul(bytes.div_ceil(1 << 30).max(1));
        // None is no limit for either.
        let completion = options.completion_timeout_per_gib.filter(|seconds| *seconds > 0);
        Self {
            completion: completion.map(of_gibs).map(Duration::from_secs),
            progress: options.progress_timeout.filter(|limit| !limit.is_zero()),
            least: None,
        }
    }

    /// Why something is given up that cannot get more again, such as what is still to come of a memory, if it is: so much is left, and so much
    /// time has passed.
    pub fn judge(&mut self, left: u64, passed: Duration) -> Result<(), Reason> {
        if let Some(limit) = self.is_over(passed) {
            return Err(Reason::TooLong(limit));
        }
        self.has_shrunk(left, passed, |least| least.saturating_sub(1));
        self.progresses(passed)
    }

    /// The time that all of it had, if that is over.
    fn is_over(&self, passed: Duration) -> Option<Duration> {
        self.completion.filter(|limit| passed > *limit)
    }

    /// Whether less is left than before; `enough` is the most that counts as less than what it is given.
    fn has_shrunk(&mut self, left: u64, passed: Duration, enough: impl Fn(u64) -> u64) -> bool {
        let has_shrunk = self.least.is_none_or(|(least, _)| left <= enough(least));
        if has_shrunk {
            self.least = Some((left, passed));
        }
        has_shrunk
    }

    /// Whether it has not been too long since less was left.
    fn progresses(&self, passed: Duration) -> Result<(), Reason> {
        let since = self.least.map_or(passed, |(_, since)| since);
        let limit = self.progress.filter(|limit| passed.saturating_sub(since) > *limit);
        limit.map_or(Ok(()), |limit| Err(Reason::NoProgress(limit)))
    }
}

/// Watches rounds.
#[derive(Clone, Debug)]
pub struct Rounds {
    options: MigrationOptions,
    limits: Limits,
    count: u32,
    /// Bytes a second that the connection carries, as measured last.
    rate: Option<u64>,
    /// Bytes a second that the guest writes.
    dirty_rate: u64,
    throttle: u8,
    /// Rounds that did not leave less.
    stalled: u32,
}

impl Rounds {
    /// Watches the rounds of a machine with so many bytes of memory.
    pub fn new(options: MigrationOptions, memory: u64) -> Self {
        let limits = Limits::new(&options, memory);
        Self { options, limits, count: 0, rate: None, dirty_rate: 0, throttle: 0, stalled: 0 }
    }

    /// How long the guest would stand still if it were stopped with so many bytes left.
    pub fn downtime(&self, left: u64) -> Option<Duration> {
        let rate = self.rate?;
        let nanoseconds = u128::from(left) * 1_000_000_000 / u128::from(rate);
        Some(FIXED.saturating_add(Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))))
    }

    /// Bytes a second that may be sent, if there is a limit.
    pub fn bandwidth(&self) -> Option<NonZeroU64> {
        self.options.bandwidth
    }

    /// Bytes a second that the guest writes, as last seen.
    pub fn dirty_rate(&self) -> u64 {
        self.dirty_rate
    }

    /// Bytes a second that the connection carries, as last seen.
    pub fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Rounds that are over.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The share of vCPUs' time that is taken away, in percent.
    pub fn throttle(&self) -> u8 {
        self.throttle
    }

    /// A round is over, and so much time has passed since the first one began.
    pub fn over(&mut self, round: Round, passed: Duration) -> Verdict {
        self.count = self.count.saturating_add(1);
        // A short round says little of the connection.
        if self.rate.is_none() || round.sending >= Duration::from_millis(10) || round.sent >= 1 << 20 {
            self.rate = round.rate().or(self.rate);
        }
        self.dirty_rate = rate(round.left, round.took).unwrap_or(0);
        if round.left == 0
            || self.downtime(round.left).is_some_and(|downtime| downtime <= self.options.downtime)
        {
            return Verdict::Stop;
        }
        if self.options.post_copy == PostCopy::AtOnce {
            return Verdict::Follow;
        }
        if let Some(limit) = self.limits.is_over(passed) {
            return match (self.options.allow_workload_disruption, self.options.post_copy) {
                (true, PostCopy::WhenLate) => Verdict::Follow,
                (true, _) => Verdict::Stop,
                (false, _) => Verdict::GiveUp(Reason::TooLong(limit)),
            };
        }
        // A tenth less is progress; else it would never end.
        let has_shrunk = self.limits.has_shrunk(round.left, passed, |least| least / 10 * 9);
        self.stalled = if has_shrunk { 0 } else { self.stalled.saturating_add(1) };
        if let Err(reason) = self.limits.progresses(passed) {
            return Verdict::GiveUp(reason);
        }
        if self.options.auto_converge && self.stalled >= PATIENCE {
            self.slow_down();
        }
        Verdict::Again { throttle: self.throttle }
    }

    fn slow_down(&mut self) {
        let more = if self.throttle == 0 { FIRST_THROTTLE } else { MORE_THROTTLE };
        self.throttle = self.throttle.saturating_add(more).min(100 - LEAST_SHARE);
        self.stalled = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    /// A guest that writes `dirty` bytes a second, anew within a working set of so many, while `rate` bytes a second are copied.
    struct Simulated {
        dirty: u64,
        set: u64,
        rate: u64,
    }

    /// Runs it; gives back the last verdict, the rounds, what was left, and the time.
    fn run(options: MigrationOptions, memory: u64, guest: &Simulated) -> (Verdict, u32, u64, Duration) {
        let mut rounds = Rounds::new(options, memory);
        let (mut left, mut passed, mut throttle) = (memory, Duration::ZERO, 0u8);
        for _ in 0..10_000 {
            let took = Duration::from_micros(left.saturating_mul(1_000_000) / guest.rate);
            passed += took;
            let writes =
                u128::from(guest.dirty) * u128::from(100 - throttle) * took.as_micros() / 100_000_000;
            let sent = left;
            left = u64::try_from(writes).unwrap().min(guest.set);
            match rounds.over(Round { sent, sending: took, took, left }, passed) {
                Verdict::Again { throttle: share } => throttle = share,
                verdict => return (verdict, rounds.count(), left, passed),
            }
        }
        panic!("it does not end");
    }

    fn options() -> MigrationOptions {
        MigrationOptions { downtime: Duration::from_millis(300), ..MigrationOptions::default() }
    }

    #[test]
    fn a_quiet_guest_stops_after_the_first_round() {
        let guest = Simulated { dirty: 0, set: 0, rate: 100 * MIB };
        assert_eq!(run(options(), GIB, &guest).0, Verdict::Stop);
        assert_eq!(run(options(), GIB, &guest).1, 1);
    }

    #[test]
    fn a_busy_guest_stops_as_soon_as_the_rest_fits_into_the_downtime() {
        let guest = Simulated { dirty: 50 * MIB, set: GIB, rate: 100 * MIB };
        let (verdict, rounds, left, _) = run(options(), GIB, &guest);
        assert_eq!(verdict, Verdict::Stop);
        // Each round leaves half of the one before: 1024 MiB, 512 … 16 MiB, of which 28 MiB fit.
        assert_eq!(rounds, 6);
        assert!(left <= 28 * MIB, "{left}");
    }

    #[test]
    fn a_guest_that_writes_faster_than_can_be_copied_is_slowed_down_if_that_is_allowed() {
        let guest = Simulated { dirty: 200 * MIB, set: 600 * MIB, rate: 100 * MIB };
        let patient = MigrationOptions { auto_converge: true, progress_timeout: None, ..options() };
        assert_eq!(run(patient, GIB, &guest).0, Verdict::Stop);
        let forever =
            MigrationOptions { auto_converge: true, progress_timeout: Some(Duration::ZERO), ..options() };
        assert_eq!(run(forever, GIB, &guest).0, Verdict::Stop, "none is no limit");
        let strict = MigrationOptions { completion_timeout_per_gib: None, ..options() };
        assert!(matches!(run(strict, GIB, &guest).0, Verdict::GiveUp(Reason::NoProgress(_))));
    }

    #[test]
    fn what_takes_too_long_is_given_up_or_stopped_by_force() {
        let guest = Simulated { dirty: 200 * MIB, set: 600 * MIB, rate: 100 * MIB };
        let timed = MigrationOptions {
            auto_converge: false,
            progress_timeout: None,
            completion_timeout_per_gib: Some(30),
            ..options()
        };
        let (verdict, _, _, passed) = run(timed.clone(), 2 * GIB, &guest);
        assert_eq!(verdict, Verdict::GiveUp(Reason::TooLong(Duration::from_secs(60))));
        assert!(passed > Duration::from_secs(60) && passed < Duration::from_secs(75), "{passed:?}");
        let forced = MigrationOptions { allow_workload_disruption: true, ..timed.clone() };
        assert_eq!(run(forced.clone(), 2 * GIB, &guest).0, Verdict::Stop);
        let following = MigrationOptions { post_copy: PostCopy::WhenLate, ..forced };
        assert_eq!(run(following, 2 * GIB, &guest).0, Verdict::Follow);
        let undisturbed = MigrationOptions { post_copy: PostCopy::WhenLate, ..timed.clone() };
        assert!(matches!(run(undisturbed, 2 * GIB, &guest).0, Verdict::GiveUp(_)));
        let at_once = MigrationOptions { post_copy: PostCopy::AtOnce, ..timed };
        let (verdict, rounds, ..) = run(at_once.clone(), 2 * GIB, &guest);
        assert_eq!((verdict, rounds), (Verdict::Follow, 1));
        // What fits into the downtime goes before.
        assert_eq!(run(at_once, GIB, &Simulated { dirty: 0, set: 0, rate: 100 * MIB }).0, Verdict::Stop);
    }

    #[test]
    fn the_estimate_is_what_is_left_over_the_rate() {
        let mut rounds = Rounds::new(options(), GIB);
        assert_eq!(rounds.downtime(MIB), None);
        let second = Duration::from_secs(1);
        let round = Round { sent: 100 * MIB, sending: second, took: second, left: 50 * MIB };
        assert_eq!(rounds.over(round, Duration::from_secs(1)), Verdict::Again { throttle: 0 });
        assert_eq!(rounds.downtime(50 * MIB), Some(Duration::from_millis(520)));
        assert_eq!((rounds.rate(), rounds.dirty_rate()), (Some(100 * MIB), 50 * MIB));
        // A tiny round in no time says nothing of the connection.
        let tiny = Duration::from_micros(1);
        let round = Round { sent: 4096, sending: tiny, took: tiny, left: 50 * MIB };
        rounds.over(round, Duration::from_secs(1));
        assert_eq!(rounds.rate(), Some(100 * MIB));
        let round = Round { sent: 0, sending: Duration::ZERO, took: Duration::ZERO, left: 0 };
        assert_eq!(rounds.over(round, Duration::from_secs(1)), Verdict::Stop);
    }

    #[test]
    fn what_only_shrinks_is_given_up_when_it_stands_still_or_takes_too_long() {
        let second = Duration::from_secs;
        let timed = MigrationOptions {
            progress_timeout: Some(second(20)),
            completion_timeout_per_gib: Some(30),
            ..options()
        };
        // A page every 20 s is progress, for as long as all may take.
        let mut limits = Limits::new(&timed, 2 * GIB);
        for passed in 0..=60 {
            assert_eq!(limits.judge(GIB - (passed / 20) * 4096, second(passed)), Ok(()), "{passed}");
        }
        assert_eq!(limits.judge(4096, second(61)), Err(Reason::TooLong(second(60))));
        let mut limits = Limits::new(&timed, GIB);
        assert_eq!((limits.judge(GIB, second(1)), limits.judge(GIB, second(21))), (Ok(()), Ok(())));
        assert_eq!(limits.judge(GIB, second(22)), Err(Reason::NoProgress(second(20))));
        let none = MigrationOptions {
            progress_timeout: Some(Duration::ZERO),
            completion_timeout_per_gib: Some(0),
            ..timed
        };
        let mut limits = Limits::new(&none, GIB);
        assert_eq!((limits.judge(GIB, second(1)), limits.judge(GIB, second(1 << 30))), (Ok(()), Ok(())));
    }
}
