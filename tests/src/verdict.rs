//! What came of each case, as lines of JSON that programs read.

use serde::{Deserialize, Serialize};

/// One line of a run's results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "kebab-case")]
pub enum Line {
    /// The test host is up; seconds since its kernel started.
    Up {
        /// From `/proc/uptime`.
        seconds: f64,
    },
    /// The test host lives; comes every [`crate::host::HEARTBEAT`].
    Alive,
    /// A case begins.
    Begin {
        /// The case.
        case: String,
        /// Its verdict comes within so many seconds, or the test host hangs.
        within: u64,
    },
    /// A case has ended.
    Case(Verdict),
    /// A figure of a benchmark.
    Figure {
        /// What was measured.
        name: String,
        /// The number.
        value: f64,
        /// Its unit.
        unit: String,
    },
    /// A remark for people.
    Note {
        /// The remark.
        text: String,
    },
    /// All that was asked for has been done. A run without this line was cut short.
    End,
}

/// How one case ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The case.
    pub case: String,
    /// Passed, failed, …
    pub result: CaseResult,
    /// How long it took.
    pub seconds: f64,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// The kinds of end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaseResult {
    /// As wanted.
    Passed,
    /// As wanted, but not at the first try; the message says what went wrong then.
    PassedAgain,
    /// Not as wanted.
    Failed,
    /// Did not end within its limit.
    TimedOut,
    /// Could not be run here; the message says why.
    Skipped,
}

impl CaseResult {
    /// Whether it came out wrong.
    #[must_use]
    pub const fn has_failed(self) -> bool {
        matches!(self, Self::Failed | Self::TimedOut)
    }
}

/// Totals of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Cases that passed.
    pub passed: usize,
    /// Those of them that did not pass at the first try.
    pub again: usize,
    /// Cases that failed or ran out of time.
    pub failed: usize,
    /// Cases or tiers that were not run.
    pub skipped: usize,
}

impl Totals {
    /// Counts one more result.
    pub const fn count(&mut self, result: CaseResult) {
        if matches!(result, CaseResult::PassedAgain) {
            self.again = self.again.saturating_add(1);
        }
        let counter = match result {
            CaseResult::Passed | CaseResult::PassedAgain => &mut self.passed,
            CaseResult::Failed | CaseResult::TimedOut => &mut self.failed,
            CaseResult::Skipped => &mut self.skipped,
        };
        *counter = counter.saturating_add(1);
    }

    /// Adds another run's totals.
    pub const fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.again = self.again.saturating_add(other.again);
        self.failed = self.failed.saturating_add(other.failed);
        self.skipped = self.skipped.saturating_add(other.skipped);
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed", self.passed)?;
        if self.again > 0 {
            write!(f, " ({} not at the first try)", self.again)?;
        }
        write!(f, ", {} failed, {} skipped", self.failed, self.skipped)
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.result {
            CaseResult::Passed => "ok",
            CaseResult::PassedAgain => "ok, not at the first try",
            CaseResult::Failed => "FAILED",
            CaseResult::TimedOut => "TIMED OUT",
            CaseResult::Skipped => "skipped",
        };
        write!(f, "{:<44} {word} ({:.1} s)", self.case, self.seconds)?;
        for line in self.message.lines() {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_out_of_time_counts_as_failed() {
        let mut totals = Totals::default();
        for result in [CaseResult::Passed, CaseResult::TimedOut, CaseResult::Failed, CaseResult::Skipped] {
            totals.count(result);
        }
        assert_eq!(totals.to_string(), "1 passed, 2 failed, 1 skipped");
        totals.count(CaseResult::PassedAgain);
        assert_eq!(totals.to_string(), "2 passed (1 not at the first try), 2 failed, 1 skipped");
    }

    #[test]
    fn lines_are_read_back() {
        let verdict = Verdict {
            case: "a".into(),
            result: CaseResult::TimedOut,
            seconds: 0.5,
            message: "late\n".into(),
        };
        for line in [Line::Case(verdict), Line::End, Line::Up { seconds: 4.5 }] {
            let text = serde_json::to_string(&line).unwrap();
            assert_eq!(serde_json::from_str::<Line>(&text).unwrap(), line);
        }
    }
}
