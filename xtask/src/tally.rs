//! What came of the tests of a run, and what failed, to be told once more at its end.

use ::tests::verdict::{Totals, Verdict};

/// How many lines of what failed are repeated for each test, so that none hides the others.
const LINES: usize = 60;

/// Numbers of tests, and an account of each that failed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) totals: Totals,
    failures: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.totals.add(other.totals);
        self.failures.extend(other.failures);
    }

    pub(crate) fn count(&mut self, verdict: &Verdict) {
        self.totals.count(verdict.result);
        if verdict.result.has_failed() {
            self.failures.push(shortened(&verdict.to_string()));
        }
    }

    pub(crate) fn skipped() -> Self {
        Self { totals: Totals { skipped: 1, ..Totals::default() }, failures: Vec::new() }
    }

    /// Tests of which nobody knows what became of them.
    pub(crate) fn broken(why: String) -> Self {
        Self { totals: Totals { failed: 1, ..Totals::default() }, failures: vec![why] }
    }

    /// What failed: whoever reads the end of a long log sees it.
    pub(crate) fn tell_failures(&self) {
        for failure in &self.failures {
            println!("--- failed: {failure}");
        }
    }
}

/// The output of `cargo test`: its counts, and what failed tests said.
#[derive(Debug, Default)]
pub(crate) struct CargoTest {
    pub(crate) tally: Tally,
    /// What the present failed test said.
    section: Option<Vec<String>>,
}

impl CargoTest {
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(part) = counts(line) {
            self.tally.totals.add(part);
        }
        let heading = line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"));
        if heading.is_some() || line == "failures:" {
            self.end_section();
        }
        if let Some(name) = heading {
            self.section = Some(vec![name.to_owned()]);
        } else if let Some(section) = &mut self.section
            && !line.is_empty()
        {
            section.push(format!("    {line}"));
        }
    }

    fn end_section(&mut self) {
        self.tally.failures.extend(self.section.take().map(|lines| shortened(&lines.join("\n"))));
    }
}

fn shortened(text: &str) -> String {
    let count = text.lines().count();
    let mut short: Vec<_> = text.lines().take(LINES).collect();
    let more = format!("    … {} more lines", count.saturating_sub(LINES));
    if count > LINES {
        short.push(&more);
    }
    short.join("\n")
}

/// The numbers of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn counts(line: &str) -> Option<Totals> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| {
        let part = rest.split(';').find(|part| part.trim().ends_with(word))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    Some(Totals {
        passed: number("passed")?,
        failed: number("failed")?,
        skipped: number("ignored")?,
        ..Totals::default()
    })
}

#[cfg(test)]
mod tests {
    use ::tests::verdict::CaseResult;

    use super::*;

    #[test]
    fn results_of_cargo_test_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(counts(line), Some(Totals { passed: 12, again: 0, failed: 3, skipped: 1 }));
        assert_eq!(counts("test a::b ... ok"), None);
    }

    #[test]
    fn what_failed_tests_said_is_kept() {
        let mut output = CargoTest::default();
        let text = "running 3 tests\ntest a::b ... FAILED\n\nfailures:\n\n---- a::b stdout ----\nthread panicked\nleft: 1\n\n\
            ---- a::c stdout ----\nError: gone\n\n\nfailures:\n    a::b\n    a::c\n\n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out\n";
        text.lines().for_each(|line| output.line(line));
        assert_eq!(output.tally.totals.failed, 2);
        assert_eq!(
            output.tally.failures,
            ["a::b\n    thread panicked\n    left: 1", "a::c\n    Error: gone"]
        );
    }

    #[test]
    fn a_failed_case_is_kept_and_none_that_passed() {
        let mut tally = Tally::default();
        for (case, result) in
            [("a", CaseResult::Passed), ("b", CaseResult::TimedOut), ("c", CaseResult::Skipped)]
        {
            let message = "why\n".repeat(LINES + 5);
            tally.count(&Verdict { case: case.into(), result, seconds: 1.0, message });
        }
        assert_eq!((tally.totals.passed, tally.totals.failed, tally.totals.skipped), (1, 1, 1));
        assert_eq!(tally.failures.len(), 1);
        assert!(tally.failures[0].starts_with("b ") && tally.failures[0].ends_with("… 6 more lines"));
    }
}
