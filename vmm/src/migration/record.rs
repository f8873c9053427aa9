//! What outlives a process of who owned the machine: one small file in its runtime directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::wire::Session;
use crate::sys::whole;

/// Name of the file.
pub const RECORD_FILE: &str = "migration.json";
/// What it was before a machine came here that may not stay.
const BEFORE: &str = ".migration.json.before";

/// Who owns the machine, as this side knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Owner {
    /// The machine was handed over from here: it is not to be started here.
    There,
    /// The same, and it is known to run there.
    Gone,
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
    /// The host does not take it; then what was there is there still, unless it is the folder that could not be made durable.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let partial = self.0.join(".migration.json.partial");
        whole::replace(&self.0.join(RECORD_FILE), &partial, &serde_json::to_vec(record)?)
    }

    /// The same, and keeps what is there already for [`Records::put_back`], which then needs no space.
    ///
    /// # Errors
    /// The host does not take it; then what was there is there still, unless it is the folder that could not be made durable.
    pub fn replace(&self, record: &Record) -> io::Result<()> {
        match fs::copy(self.0.join(RECORD_FILE), self.0.join(BEFORE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.write(record)
    }

    /// The machine that came here does not stay: what was said before it came holds again.
    pub fn put_back(&self) {
        let is_back = fs::rename(self.0.join(BEFORE), self.0.join(RECORD_FILE)).is_ok();
        // Nothing was said before, or nothing has been replaced.
        if !is_back && elsewhere(&self.0).is_none() {
            self.clear();
        }
    }

    /// Removes the record: the machine is where it always was.
    pub fn clear(&self) {
        // One that stays says no more than that somebody has to look.
        let _ = fs::remove_file(self.0.join(RECORD_FILE));
    }
}

/// Where the machine of a runtime directory was handed over to, in words, if it is not to be started here before somebody has looked
/// there.
pub fn elsewhere(directory: &Path) -> Option<String> {
    match read(directory) {
        Ok(Some(Record { owner: Owner::There | Owner::Gone, peer, .. })) => Some(peer),
        Ok(_) => None,
        // It may be that very word that cannot be read.
        Err(error) => Some(format!("an unknown place ({RECORD_FILE} cannot be read: {error})")),
    }
}

/// The record in a runtime directory, if there is one.
///
/// # Errors
/// There is one that cannot be read.
fn read(directory: &Path) -> io::Result<Option<Record>> {
    match fs::read(directory.join(RECORD_FILE)) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_whole_or_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path());
        assert_eq!(read(directory.path()).unwrap(), None);
        let record = record(Owner::There);
        records.write(&record).unwrap();
        assert_eq!(read(directory.path()).unwrap(), Some(record.clone()));
        records.clear();
        assert_eq!(read(directory.path()).unwrap(), None);
        assert!(Records::new(&directory.path().join("missing")).write(&record).is_err());
    }

    fn record(owner: Owner) -> Record {
        Record { session: Session::new([3; 16]), owner, peer: "unix:/x".into() }
    }

    #[test]
    fn what_cannot_be_read_may_say_that_the_machine_is_elsewhere() {
        let directory = tempfile::tempdir().unwrap();
        let is_elsewhere = || elsewhere(directory.path()).is_some();
        assert!(!is_elsewhere());
        for (owner, wanted) in [(Owner::There, true), (Owner::Gone, true), (Owner::Here, false)] {
            Records::new(directory.path()).write(&record(owner)).unwrap();
            assert_eq!(is_elsewhere(), wanted, "{owner:?}");
        }
        for text in ["", "{\"owner\":\"there\"", "{\"owner\":\"nowhere\"}"] {
            fs::write(directory.path().join(RECORD_FILE), text).unwrap();
            assert!(is_elsewhere(), "{text:?}");
        }
    }

    #[test]
    fn a_machine_that_came_and_does_not_stay_leaves_what_was_said_before() {
        let directory = tempfile::tempdir().unwrap();
        let records = Records::new(directory.path());
        let now = || read(directory.path()).unwrap().map(|record| record.owner);
        records.replace(&record(Owner::Here)).unwrap();
        assert_eq!(now(), Some(Owner::Here));
        records.put_back();
        assert_eq!(now(), None);
        records.write(&record(Owner::There)).unwrap();
        records.put_back();
        assert_eq!(now(), Some(Owner::There), "nothing had been replaced");
        records.replace(&record(Owner::Here)).unwrap();
        assert_eq!(now(), Some(Owner::Here));
        records.put_back();
        assert_eq!(now(), Some(Owner::There));
    }
}
