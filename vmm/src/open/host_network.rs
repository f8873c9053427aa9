//! What is made in the host's network for a machine, and its removal: at the end, or by the next run if this one is killed.
//!
//! `ROOT/.network/` has two files for each machine that something was made for: a lock, held as long as its process lives, and
//! the record of what it makes, written before each step. A record whose lock is free is a dead process's, or tells of a
//! setting that others need after it; whoever ends last sets it back. Locks are taken and files removed only while the
//! folder's own lock is held, so that nobody locks a file that is about to go.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use devices::{chain, say};
use net::Tap;
use net::host::{HostSetup, Leftover, Record, SetupError, Wanted};

use crate::sys::lock::Locked;

/// The folder below the root of runtime directories. No namespace is called so.
const FOLDER: &str = ".network";
/// The folder's own lock.
const LOCK: &str = "lock";
/// What files of a machine end with.
const MACHINE_LOCK: &str = ".lock";
const RECORD: &str = ".json";
/// The longest record that is read.
const LONGEST: u64 = 1 << 20;

/// Why nothing was made.
#[derive(Debug, thiserror::Error)]
pub enum HostNetworkError {
    /// A file cannot be used.
    #[error("{} cannot be used", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Another process has made the network of a machine of this name.
    #[error("the network of {0} is in use by another process")]
    InUse(String),
    /// It could not be made.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

/// What is made for one machine. Undone when dropped.
#[derive(Debug)]
pub struct HostNetwork {
    folder: PathBuf,
    /// As in `default/vm`, and the same as files are called.
    owner: String,
    stem: String,
    /// There once something is made.
    open: Option<Open>,
}

/// A machine's record, and what it is written with.
#[derive(Debug)]
struct Open {
    setup: HostSetup,
    record: Record,
    lock: Locked,
}

impl HostNetwork {
    /// For the machine `namespace`/`name`, with files below `root`. Nothing is made yet.
    pub fn new(root: &Path, namespace: &str, name: &str) -> Self {
        let (owner, stem) = (format!("{namespace}/{name}"), format!("{namespace}_{name}"));
        Self { folder: root.join(FOLDER), owner, stem, open: None }
    }

    /// Makes what is wanted for a card, and gives its tap, open.
    ///
    /// # Errors
    /// It cannot be made; what was made of it is removed at the end.
    pub fn make(&mut self, wanted: &Wanted) -> Result<Tap, HostNetworkError> {
        let open = match &mut self.open {
            Some(open) => open,
            none => none.insert(Open::new(&self.folder, &self.stem, &self.owner)?),
        };
        let path = self.folder.join(format!("{}{RECORD}", self.stem));
        let made = open.setup.make(wanted, &mut open.record, &mut |record| write(&path, record))?;
        Ok(made.tap)
    }
}

impl Open {
    fn new(folder: &Path, stem: &str, owner: &str) -> Result<Self, HostNetworkError> {
        let fail = |source| HostNetworkError::File { path: folder.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(fail)?;
        let _folder_lock = lock_folder(folder).map_err(fail)?;
        let setup = HostSetup::new(owner)?;
        let path = folder.join(format!("{stem}{MACHINE_LOCK}"));
        let fail = |source| HostNetworkError::File { path: path.clone(), source };
        let lock = file(&path).map_err(fail)?;
        let lock = Locked::alone(lock).map_err(fail)?;
        let lock = lock.ok_or_else(|| HostNetworkError::InUse(owner.to_owned()))?;
        // What others needed of the same machine's last run is still to be undone.
        let before = read(&folder.join(format!("{stem}{RECORD}"))).unwrap_or_default();
        let record = if setup.is_where(&before) { before } else { Record::default() };
        Ok(Self { setup, record, lock })
    }
}

impl Drop for HostNetwork {
    fn drop(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        // Without the folder's lock it is all the more important that nothing is left.
        let folder_lock = lock_folder(&self.folder);
        let left = undo(&mut open.setup, &mut open.record, &self.folder, &self.stem);
        drop(open.lock);
        let mut said = told(&left, &self.owner);
        if folder_lock.is_ok() {
            // This one may have been the last that needed what others changed.
            said.extend(clean_all(&self.folder));
        }
        said.iter().for_each(|text| say!("kubevmm: {text}"));
    }
}

/// Removes what processes that are dead left in this network namespace. Says what could not be removed.
pub fn clean(root: &Path) -> Vec<String> {
    let folder = root.join(FOLDER);
    if !folder.is_dir() {
        return Vec::new();
    }
    match lock_folder(&folder) {
        Ok(_lock) => clean_all(&folder),
        // That of another user's machines.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
        Err(error) => cannot(&folder, &error),
    }
}

fn cannot(folder: &Path, error: &io::Error) -> Vec<String> {
    vec![format!("{} cannot be read: {error}", folder.display())]
}

/// The same for whoever has the folder's lock.
fn clean_all(folder: &Path) -> Vec<String> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return cannot(folder, &error),
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let stems: Vec<_> = names.filter_map(|name| name.strip_suffix(MACHINE_LOCK).map(str::to_owned)).collect();
    stems.iter().flat_map(|stem| clean_one(folder, stem)).collect()
}

fn clean_one(folder: &Path, stem: &str) -> Vec<String> {
    let owner = stem.replacen('_', "/", 1);
    let lock = file(&folder.join(format!("{stem}{MACHINE_LOCK}"))).and_then(Locked::alone);
    // It lives.
    let Ok(Some(_lock)) = lock else { return Vec::new() };
    let path = folder.join(format!("{stem}{RECORD}"));
    let mut record = match read(&path) {
        Ok(record) => record,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Record::default(),
        Err(error) => {
            // It is kept for people to look at.
            return vec![format!(
                "the record of {owner}'s network, {}, cannot be read: {error}",
                path.display()
            )];
        }
    };
    match HostSetup::new(&owner) {
        // It will be removed from there, or is gone with it.
        Ok(setup) if !setup.is_where(&record) => Vec::new(),
        Ok(mut setup) => told(&undo(&mut setup, &mut record, folder, stem), &owner),
        Err(error) => {
            vec![format!("what {owner} left in the host's network cannot be removed: {}", chain(&error))]
        }
    }
}

/// Undoes what a record tells of, and removes the machine's files if nothing is left.
fn undo(setup: &mut HostSetup, record: &mut Record, folder: &Path, stem: &str) -> Vec<Leftover> {
    let path = folder.join(format!("{stem}{RECORD}"));
    let left = setup.undo(record, &mut |record| write(&path, record));
    if record.is_empty() {
        // They say nothing that is not so if they stay.
        let _ = fs::remove_file(&path);
        let _ = fs::remove_file(folder.join(format!("{stem}{MACHINE_LOCK}")));
    }
    left
}

fn told(left: &[Leftover], owner: &str) -> Vec<String> {
    let tell = |left: &Leftover| format!("{} of {owner} could not be removed: {}", left.what, left.why);
    left.iter().map(tell).collect()
}

/// Waits for the folder's own lock.
fn lock_folder(folder: &Path) -> io::Result<Locked> {
    Locked::wait(file(&folder.join(LOCK))?)
}

fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

fn read(path: &Path) -> io::Result<Record> {
    if fs::metadata(path)?.len() > LONGEST {
        return Err(io::Error::other("it is too long"));
    }
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Whole or not at all, so that a kill in between leaves the record before.
fn write(path: &Path, record: &Record) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut text = serde_json::to_vec_pretty(record)?;
    text.push(b'\n');
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(&text)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_before_something_is_made() {
        let root = tempfile::tempdir().unwrap();
        drop(HostNetwork::new(root.path(), "default", "vm"));
        assert!(clean(root.path()).is_empty());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn files_of_the_dead_go_and_those_of_the_living_stay() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(FOLDER);
        fs::create_dir(&folder).unwrap();
        let living = file(&folder.join("default_living.lock")).unwrap();
        living.lock().unwrap();
        for name in ["default_living.json", "default_dead.json", "default_dead.lock"] {
            fs::write(folder.join(name), "{}").unwrap();
        }
        fs::write(folder.join("default_odd.lock"), "").unwrap();
        fs::write(folder.join("default_odd.json"), "nonsense").unwrap();
        let said = clean(root.path());
        assert!(said.len() == 1 && said[0].contains("default/odd"), "{said:?}");
        let exists = |name: &str| folder.join(name).exists();
        assert!(exists("default_living.json") && exists("default_living.lock") && exists("default_odd.json"));
        assert!(!exists("default_dead.json") && !exists("default_dead.lock"));
    }
}
