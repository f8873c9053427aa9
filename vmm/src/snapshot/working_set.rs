//! What a machine needs first when it comes back: a file beside the memory, which helps and is not relied upon.
//!
//! It is written by whoever serves the memory for the first time. A snapshot that cannot be written to has none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ram::PAGE;
use serde::{Deserialize, Serialize};
use vm_memory::GuestAddress;

use crate::dirty::PageRun;
use crate::sys::line::random_uuid;

/// Name of the file.
const FILE: &str = "working-set.json";
const VERSION: u32 = 1;
/// Bytes that are read of it, at most.
const MOST: u64 = 4 << 20;

/// The file's contents.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WorkingSet {
    version: u32,
    /// Identifier of the snapshot.
    snapshot: String,
    /// Where pages begin in guest memory, and how many, in the order in which they were needed.
    runs: Vec<(u64, u64)>,
}

impl WorkingSet {
    pub(super) fn runs(&self) -> Vec<PageRun> {
        // What is in no memory names no page of the set that is to be sent.
        self.runs
            .iter()
            .filter(|(start, _)| start.is_multiple_of(PAGE as u64))
            .map(|(start, pages)| PageRun { start: GuestAddress(*start), pages: *pages })
            .collect()
    }
}

/// What the snapshot with this identifier in `directory` needs first, if that is known.
pub(super) fn read(directory: &Path, id: &str) -> Option<WorkingSet> {
    let mut bytes = Vec::new();
    File::open(directory.join(FILE)).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    let set: WorkingSet = serde_json::from_slice(&bytes).ok()?;
    (set.version == VERSION && set.snapshot == id).then_some(set)
}

/// Notes it for the next time.
pub(super) fn write(directory: &Path, id: &str, touched: &[PageRun]) -> io::Result<()> {
    let runs = touched.iter().map(|run| (run.start.0, run.pages)).collect();
    let set = WorkingSet { version: VERSION, snapshot: id.to_owned(), runs };
    // Two machines of one process may have it noted at once.
    let partial = directory.join(format!(".{FILE}.{}.partial", random_uuid()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    let written = serde_json::to_vec(&set)
        .map_err(io::Error::from)
        .and_then(|text| file.write_all(&text))
        .and_then(|()| fs::rename(&partial, directory.join(FILE)));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_that_note_it_at_once_do_not_disturb_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let touched = [PageRun { start: GuestAddress(0), pages: 1 }];
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| write(directory.path(), "one", &touched).unwrap()));
            }
        });
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_comes_back_for_the_same_snapshot_alone() {
        let directory = tempfile::tempdir().unwrap();
        let touched = [
            PageRun { start: GuestAddress(1 << 32), pages: 16 },
            PageRun { start: GuestAddress(0), pages: 1 },
        ];
        assert!(read(directory.path(), "one").is_none());
        write(directory.path(), "one", &touched).unwrap();
        assert_eq!(read(directory.path(), "one").unwrap().runs(), touched);
        assert!(read(directory.path(), "other").is_none());
        write(directory.path(), "one", &[PageRun { start: GuestAddress(1), pages: 2 }]).unwrap();
        assert_eq!(read(directory.path(), "one").unwrap().runs(), [], "no page begins there");
        fs::write(directory.path().join(FILE), "{\"version\":1,").unwrap();
        assert!(read(directory.path(), "one").is_none());
        assert!(write(&directory.path().join("missing"), "one", &touched).is_err());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
