//! The exit report of `kubevmm run --exit-report`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

use crate::failure::{Doing, Failure};

/// What the VMM says about its end.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitReport {
    /// `guest-shutdown`, `guest-panic`, `triple-fault`, `terminated`, `killed`, …
    pub reason: String,
    /// Exit code of the process.
    pub exit_code: i32,
    /// How often the guest was started again.
    #[serde(default)]
    pub reboots: u64,
    /// Nanoseconds since the process started.
    #[serde(default)]
    pub milestones: BTreeMap<String, Option<u64>>,
}

impl ExitReport {
    /// Reads the report.
    ///
    /// # Errors
    /// If it is missing or not what it should be.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).doing("reading the exit report")?;
        serde_json::from_str(&text)
            .map_err(|error| Failure(format!("the exit report is odd: {error}: {text}")))
    }

    /// Nanoseconds from the start of the process to a milestone.
    ///
    /// # Errors
    /// If it was not reached.
    pub fn milestone(&self, name: &str) -> Result<u64, Failure> {
        let stamp = self.milestones.get(name).copied().flatten();
        stamp.ok_or_else(|| Failure(format!("no milestone {name} among {:?}", self.milestones)))
    }
}
