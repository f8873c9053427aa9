//! The exit report: one JSON object for programs, in one line, short enough for a pod's termination message.

use std::fs::{self, File};
use std::io::{self, Write};
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
    put(path, &text, lasts(&outcome.reason))
}

/// How long a report has to last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lasts {
    /// Until the host stops. A machine that left none counts as killed then, which is right for one whose host has failed; nobody who ends
    /// a machine is to wait for storage.
    WithHost,
    /// Longer than the host: on the strength of it, it is forgotten here that the machine runs elsewhere.
    Longer,
}

fn lasts(reason: &ExitReason) -> Lasts {
    if matches!(reason, ExitReason::Migrated { .. }) { Lasts::Longer } else { Lasts::WithHost }
}

/// Puts `text` in the place of a file, or into it where it cannot be replaced: a pod's termination log is a mount of its
/// own.
fn put(path: &Path, text: &str, lasts: Lasts) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    let replaced = write_file(Path::new(&temporary), text, lasts).and_then(|()| fs::rename(&temporary, path));
    if replaced.is_ok() && lasts == Lasts::Longer {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        return sync(&File::open(folder.unwrap_or(Path::new(".")))?);
    }
    if replaced.is_ok() {
        return replaced;
    }
    // It may not even have been made.
    let _ = fs::remove_file(&temporary);
    if !path.exists() {
        return replaced;
    }
    write_file(path, text, lasts)
}

fn write_file(path: &Path, text: &str, lasts: Lasts) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(text.as_bytes())?;
    if lasts == Lasts::Longer { sync(&file) } else { Ok(()) }
}

/// Makes something durable, if it is of a kind that can be: a pipe is not.
fn sync(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
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
    use std::os::fd::AsRawFd;

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
    fn nothing_is_left_of_a_report_for_which_there_is_no_space() {
        let directory = tempfile::tempdir().unwrap();
        let partial = directory.path().join("report.partial");
        std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
        put(&directory.path().join("report"), "text", Lasts::WithHost).unwrap_err();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_replaced_is_written_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, "before, and longer than what comes").unwrap();
        // In the way of the file that would replace it.
        fs::create_dir(directory.path().join("log.partial")).unwrap();
        for lasts in [Lasts::WithHost, Lasts::Longer] {
            put(&path, "after", lasts).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "after");
            // A pipe, as of a terminal, cannot be made durable.
            let (mut reader, writer) = io::pipe().unwrap();
            put(Path::new(&format!("/proc/self/fd/{}", writer.as_raw_fd())), "after", lasts).unwrap();
            drop(writer);
            assert_eq!(io::read_to_string(&mut reader).unwrap(), "after");
            let new = directory.path().join("new");
            put(&new, "new", lasts).unwrap();
            assert_eq!(fs::read_to_string(&new).unwrap(), "new");
        }
        assert_eq!(lasts(&ExitReason::Migrated { to: "unix:/there".into() }), Lasts::Longer);
        assert_eq!(lasts(&ExitReason::GuestShutdown), Lasts::WithHost);
    }
}
