//! What outlives a process of who owned the machine: one small file in its runtime directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::wire::Session;

/// Name of the file.
pub const RECORD_FILE: &str = "migration.json";

/// Who owns the machine, as this side knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// The machine was handed over from here: it is not to be started here.
    There,
    /// The machine came here.
    Here,
}

/// The last move of a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The attempt.
    pub session: Session,
    /// Who has it.
    pub owner: Owner,
    /// Where the other side is, or was.
    pub peer: String,
}

/// Where records of a machine are kept.
#[derive(Clone, Debug)]
pub struct Records(PathBuf);

impl Records {
    /// Those of the machine with this runtime directory.
    pub fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// Writes a record; when this returns, it is durable.
    ///
    /// # Errors
    /// The host does not take it; then nothing is changed.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let partial = self.0.join(".migration.json.partial");
        let text = serde_json::to_vec(record)?;
        let written = (|| {
            let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
            let mut file = options.open(&partial)?;
            file.write_all(&text)?;
            file.sync_all()?;
            fs::rename(&partial, self.0.join(RECORD_FILE))?;
            File::open(&self.0)?.sync_all()
        })();
        if written.is_err() {
            // What takes up space that is missing is of no use to anybody.
            let _ = fs::remove_file(&partial);
        }
        written
    }

    /// Removes the record: the machine is where it always was.
    pub fn clear(&self) {
        // One that stays says no more than that somebody has to look.
        let _ = fs::remove_file(self.0.join(RECORD_FILE));
    }
}

/// The record in a runtime directory, if there is one that can be read.
pub fn read(directory: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(directory.join(RECORD_FILE)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_whole_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path());
        assert_eq!(read(directory.path()), None);
        let record = Record { session: Session::new([3; 16]), owner: Owner::There, peer: "unix:/x".into() };
        records.write(&record).unwrap();
        assert_eq!(read(directory.path()), Some(record.clone()));
        records.clear();
        assert_eq!(read(directory.path()), None);
        assert!(Records::new(&directory.path().join("missing")).write(&record).is_err());
    }
}
