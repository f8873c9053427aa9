//! Waiting in turns, so that a host that stands still as a whole for a moment does not use up all of the time that somebody else has.

use std::time::Duration;

/// How many there are.
const TURNS: u32 = 20;

/// What `wait` finds, which waits as long as it is told; it is asked anew until `limit` was waited. If the host stands still during a turn
/// (it may be a machine itself, or be suspended), the clock has gone on when it is back, and whoever is waited for has done nothing: that
/// takes this turn only.
pub(crate) fn in_turns<T>(limit: Duration, mut wait: impl FnMut(Duration) -> Option<T>) -> Option<T> {
    (0..TURNS).find_map(|_| wait(limit / TURNS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[test]
    fn a_turn_that_takes_longer_than_all_is_not_the_last() {
        let mut turns = 0;
        let found = in_turns(LIMIT, |turn| {
            turns += 1;
            // The host stands still.
            std::thread::sleep(if turns == 1 { 2 * LIMIT } else { turn });
            (turns == 3).then_some("it is there")
        });
        assert_eq!((found, turns), (Some("it is there"), 3));
    }

    #[test]
    fn who_never_comes_is_waited_for_as_long_as_was_said() {
        let mut waited = Duration::ZERO;
        let found: Option<()> = in_turns(LIMIT, |turn| {
            waited += turn;
            None
        });
        assert_eq!((found, waited), (None, LIMIT));
    }
}
