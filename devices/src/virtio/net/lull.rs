//! Waiting a moment for more frames of the driver's, where that has been worth it.
//!
//! A queue that has run empty could ask for the driver's next notification at once. During a burst that is one for almost
//! every frame: an exit of the vCPU and a wake-up of this thread, and where both share a processor, a switch of tasks there
//! and back. So the queue asks for a notification after a few more frames, and looks again by itself if they have not come
//! in a moment. The first frame after a pause never waits, no other waits longer than that moment. Where fewer come in a
//! moment, as between request and response, or of a stream whose frames are large, it is soon left out.

use std::os::fd::AsRawFd;
use std::time::Duration;

use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::timerfd::TimerFd;

use crate::virtio::worker::Watch;

/// How long a moment is.
const MOMENT: Duration = Duration::from_micros(50);
/// The driver is to notify after so many frames, which make a wait fruitful.
pub(super) const FRAMES: u16 = 4;
/// Fruitless waits in excess of fruitful ones that are put up with.
const PATIENCE: u32 = 4;
/// Most occasions that are left out, as a power of two.
const LONGEST: u32 = 6;

/// The waits of a queue.
#[derive(Debug, Default)]
pub(super) struct Lull {
    timer: Option<TimerFd>,
    worth: Worth,
    on: bool,
}

impl Lull {
    /// Watches, as `token`, the timer that ends waits. Where the host has none, there are no waits.
    pub(super) fn new(token: u32, watch: &mut Watch<'_, '_>) -> Self {
        let timer = TimerFd::new().ok();
        let edges = EventSet::IN | EventSet::EDGE_TRIGGERED;
        let timer = timer.filter(|timer| watch.add(timer.as_raw_fd(), token, edges));
        Self { timer, ..Self::default() }
    }

    /// Begins to wait, if that is worth it; whether it did.
    pub(super) fn begin(&mut self) -> bool {
        let Some(timer) = &mut self.timer else { return false };
        self.on = self.worth.is_due() && timer.reset(MOMENT, None).is_ok();
        self.on
    }

    /// Ends a wait, if one is on, that brought so many frames.
    pub(super) fn end(&mut self, frames: usize) {
        if std::mem::take(&mut self.on) {
            self.worth.learn(frames >= usize::from(FRAMES));
        }
    }
}

/// How worthwhile waits have been lately.
#[derive(Debug, Default)]
struct Worth {
    misses: u32,
    left_out: u32,
}

impl Worth {
    /// Whether to wait on this occasion.
    fn is_due(&mut self) -> bool {
        let due = self.left_out == 0;
        self.left_out = self.left_out.saturating_sub(1);
        due
    }

    fn learn(&mut self, fruitful: bool) {
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
        let mut worth = Worth::default();
        let mut waits = |occasions: u32, fruitful: fn(u32) -> bool| {
            let waited = |turn: &u32| {
                let due = worth.is_due();
                if due {
                    worth.learn(fruitful(*turn));
                }
                due
            };
            (0..occasions).filter(waited).count()
        };
        assert_eq!(waits(100, |turn| turn % 2 == 0), 100, "each burst ends with a wait that brings nothing");
        assert!(waits(1000, |_| false) < 40);
        assert!(waits(1000, |_| true) > 800, "it comes back");
    }
}
