//! Waiting a moment for more frames, where that has been worth it.
//!
//! A queue that has run empty could sleep at once. If whoever feeds it shares its processor, it was woken by the first
//! frame of a burst and would be by each further one: a notification or an interrupt, and two switches of tasks, a frame.
//! Letting the others run once before it sleeps gathers the burst. It costs a system call that returns at once where
//! nobody else wants the processor. Where nothing comes meanwhile, as between request and response, it is soon left out.

/// Fruitless waits in excess of fruitful ones that are put up with.
const PATIENCE: u32 = 4;
/// Most occasions that are left out, as a power of two.
const LONGEST: u32 = 6;

/// How worthwhile waits have been lately.
#[derive(Debug, Default)]
pub(super) struct Lull {
    misses: u32,
    left_out: u32,
}

impl Lull {
    /// Lets other tasks of this processor run, unless that has not been worth it lately; whether it did.
    pub(super) fn wait(&mut self) -> bool {
        let due = self.left_out == 0;
        if due {
            std::thread::yield_now();
        } else {
            self.left_out -= 1;
        }
        due
    }

    /// Takes note of whether a wait brought more frames.
    pub(super) fn learn(&mut self, fruitful: bool) {
        self.misses = if fruitful { self.misses.saturating_sub(2) } else { self.misses + 1 };
        self.misses = self.misses.min(PATIENCE + LONGEST);
        self.left_out = self.misses.checked_sub(PATIENCE + 1).map_or(0, |excess| 2 << excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_that_bring_nothing_become_rare_and_those_that_do_stay() {
        let mut lull = Lull::default();
        let mut waits = |occasions: u32, fruitful: fn(u32) -> bool| {
            (0..occasions)
                .filter(|turn| {
                    lull.wait() && {
                        lull.learn(fruitful(*turn));
                        true
                    }
                })
                .count()
        };
        assert_eq!(waits(100, |turn| turn % 2 == 0), 100, "each burst ends with a wait that brings nothing");
        assert!(waits(1000, |_| false) < 40);
        assert!(waits(1000, |_| true) > 800, "it comes back");
    }
}
