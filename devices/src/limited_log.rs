//! Messages about what a guest does wrong: as many as a person can use, never as many as a guest can cause.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Messages within one period.
const BURST: u32 = 10;
const PERIOD: Duration = Duration::from_secs(60);

/// The voice of one device or bus on standard error, at most ten messages a minute.
#[derive(Debug)]
pub struct LimitedLog {
    subject: String,
    period: Mutex<Period>,
}

#[derive(Debug)]
struct Period {
    start: Instant,
    said: u32,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Say,
    /// Say it, and that nothing follows for a while.
    SayLast,
    Drop,
}

impl LimitedLog {
    /// A log whose messages start with `subject`, such as `disk rootdisk`.
    pub fn new(subject: impl Into<String>) -> Self {
        let period = Period { start: Instant::now(), said: 0 };
        Self { subject: subject.into(), period: Mutex::new(period) }
    }

    /// Prints `message`, unless there were too many of late.
    pub fn say(&self, message: impl fmt::Display) {
        match self.admit(Instant::now()) {
            Verdict::Say => crate::say!("kubevmm: {}: {message}", self.subject),
            Verdict::SayLast => {
                let pause = PERIOD.as_secs();
                crate::say!("kubevmm: {}: {message} (no more such messages for {pause} s)", self.subject);
            }
            Verdict::Drop => {}
        }
    }

    fn admit(&self, now: Instant) -> Verdict {
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(period.start) >= PERIOD {
            *period = Period { start: now, said: 0 };
        }
        period.said = period.said.saturating_add(1);
        match period.said {
            ..BURST => Verdict::Say,
            BURST => {
                // The silence that was announced starts now.
                period.start = now;
                Verdict::SayLast
            }
            _ => Verdict::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_off_and_a_later_message_comes_through() {
        let log = LimitedLog::new("test");
        let start = Instant::now();
        for _ in 1..BURST {
            assert_eq!(log.admit(start), Verdict::Say);
        }
        let last = start + PERIOD / 2;
        assert_eq!(log.admit(last), Verdict::SayLast);
        for _ in 0..1000 {
            assert_eq!(log.admit(last + PERIOD / 2), Verdict::Drop);
        }
        assert_eq!(log.admit(last + PERIOD), Verdict::Say);
    }
}
