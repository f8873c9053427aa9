//! The lines that the test host writes, and those that it should have written.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, Instant};

use ::tests::host::HEARTBEAT;
use ::tests::verdict::Line;

use crate::error::{Doing, Result};

/// How long the test host may be silent while it runs cases, and a case may be over its time.
const SILENCE: Duration = HEARTBEAT.saturating_mul(12);

/// Reads lines of results while they are being written.
pub(super) struct Lines {
    file: BufReader<File>,
    partial: String,
    begun: bool,
    ended: bool,
    watch: Watch,
}

impl Lines {
    pub(super) fn new(path: &Path) -> Result<Self> {
        let file = File::open(path).doing("opening the results")?;
        Ok(Self {
            file: BufReader::new(file),
            partial: String::new(),
            begun: false,
            ended: false,
            watch: Watch::default(),
        })
    }

    /// Whether the host has said anything.
    pub(super) const fn begun(&self) -> bool {
        self.begun
    }

    /// Whether the host has said that it has done all.
    pub(super) const fn ended(&self) -> bool {
        self.ended
    }

    /// Whether a line is missing that had to be there by now.
    pub(super) fn is_overdue(&self) -> bool {
        self.watch.is_over(Instant::now())
    }

    /// Hands on what has been written since.
    pub(super) fn pass_on(&mut self, sink: &mut impl FnMut(Line)) -> Result<()> {
        loop {
            if self.file.read_line(&mut self.partial).doing("reading the results")? == 0 {
                return Ok(());
            }
            self.begun = true;
            if self.partial.ends_with('\n') {
                match serde_json::from_str(self.partial.trim()) {
                    Ok(line) => {
                        self.ended |= line == Line::End;
                        self.watch.take(&line, Instant::now());
                        sink(line);
                    }
                    Err(error) => eprintln!("not a result: {error}: {}", self.partial.trim()),
                }
                self.partial.clear();
            }
        }
    }
}

/// Notices a test host that hangs, as QEMU's software CPU does now and then: the whole of it, or the running case
/// in a way that its own supervisor cannot end. Only runs of cases are watched.
#[derive(Debug, Default)]
struct Watch {
    /// When the next line has to be there.
    line: Option<Instant>,
    /// When the running case's verdict has to be there.
    verdict: Option<Instant>,
}

impl Watch {
    fn take(&mut self, line: &Line, now: Instant) {
        match line {
            Line::Begin { within, .. } => {
                self.verdict = now.checked_add(Duration::from_secs(*within).saturating_add(SILENCE));
            }
            Line::Case(_) => self.verdict = None,
            _ => {}
        }
        if self.line.is_some() || *line == Line::Alive {
            self.line = now.checked_add(SILENCE);
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        [self.line, self.verdict].into_iter().flatten().any(|due| now > due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_endless_cases_are_noticed() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Watch::default();
        watch.take(&Line::Up { seconds: 4.0 }, start);
        assert!(!watch.is_over(after(1000)));
        watch.take(&Line::Alive, start);
        watch.take(&Line::Begin { case: "a".into(), within: 90 }, start);
        assert!(watch.is_over(after(61)));
        for seconds in (5..=200).step_by(5) {
            watch.take(&Line::Alive, after(seconds));
            assert_eq!(watch.is_over(after(seconds)), seconds > 150, "{seconds}");
        }
    }
}
