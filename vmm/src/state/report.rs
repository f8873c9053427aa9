//! The exit report: one JSON object for programs, in one line, short enough for a pod's termination message.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::{ExitReason, Outcome};
use crate::milestone::Milestones;

/// Longest message of a report, in characters: with it and the rest, six bytes a character at worst, a report stays below
/// the 4096 bytes that Kubernetes reads of a termination message.
const LONGEST_MESSAGE: usize = 500;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(flatten)]
    reason: &'a ExitReason,
    exit_code: u8,
    reboots: u32,
    milestones: &'a Milestones,
}

/// Writes the report of a run of `namespace`/`name` to `path`, whole or not at all.
pub fn write(
    path: &Path,
    (namespace, name): (&str, &str),
    outcome: &Outcome,
    milestones: &Milestones,
) -> io::Result<()> {
    let reason = match &outcome.reason {
        ExitReason::HostFailure { message } => ExitReason::HostFailure { message: shorten(message) },
        other => other.clone(),
    };
    let report = Report {
        name,
        namespace,
        reason: &reason,
        exit_code: outcome.reason.exit_code(),
        reboots: outcome.reboots,
        milestones,
    };
    let mut text = serde_json::to_string(&report)?;
    text.push('\n');
    put(path, &text)
}

/// Puts `text` in the place of a file, or into it where it cannot be replaced: a pod's termination log is a mount of its
/// own.
fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    let replaced = fs::write(&temporary, text).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_ok() || !path.exists() {
        return replaced;
    }
    // It may not even have been made.
    let _ = fs::remove_file(&temporary);
    fs::write(path, text)
}

/// The beginning of a message, if it is too long for a report.
fn shorten(message: &str) -> String {
    let mut short: String = message.chars().take(LONGEST_MESSAGE).collect();
    if short.len() < message.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fits_into_a_termination_message() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report");
        // Each of these takes six bytes in JSON.
        let outcome = Outcome::failed("\u{1}".repeat(10_000));
        let milestones = Milestones::start();
        write(&path, ("default", &"x".repeat(63)), &outcome, &milestones).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.len() <= 4096, "{} bytes", text.len());
        let report: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&report["reason"], &report["exitCode"]), (&"host-failure".into(), &3.into()));
        assert!(report["message"].as_str().unwrap().ends_with('…'));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "before, and longer than what comes").unwrap();
        // In the way of the file that would replace it.
        fs::create_dir(directory.path().join("log.partial")).unwrap();
        put(&path, "after").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "after");
    }
}
