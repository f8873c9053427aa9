//! Pauses between attempts at something that does not work yet.

use std::time::Duration;

/// Each is twice as long as the one before, up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// Between calls to another process that has gone, or moves.
    pub(crate) const CALLS: Self = Self::new(Duration::from_millis(50), Duration::from_secs(2));

    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// The next one.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(5));
        assert_eq!([(); 5].map(|()| pauses.next().as_secs()), [1, 2, 4, 5, 5]);
        let mut endless = Pauses::new(Duration::MAX, Duration::MAX);
        assert_eq!([endless.next(), endless.next()], [Duration::MAX; 2]);
    }
}
