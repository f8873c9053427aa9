//! The exit report: one JSON object for programs.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;

use super::Outcome;
use crate::milestone::Milestones;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    name: &'a str,
    namespace: &'a str,
    #[serde(flatten)]
    reason: &'a super::ExitReason,
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
    let report = Report {
        name,
        namespace,
        reason: &outcome.reason,
        exit_code: outcome.reason.exit_code(),
        reboots: outcome.reboots,
        milestones,
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}
