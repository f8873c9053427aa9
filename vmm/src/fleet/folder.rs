//! The folder of a fleet in the runtime root.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::Record;
use crate::sys::lock::Locked;
use crate::sys::whole;

/// Where fleets are in the runtime root: no namespace is called so.
const FLEETS: &str = ".fleets";
const LOCK: &str = "lock";
const RECORD: &str = "fleet.json";
const MANIFESTS: &str = "manifests";
const LOGS: &str = "logs";
const EXITS: &str = "exits";

/// A fleet's folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another supervisor looks after the fleet.
    #[error(
        "fleet {name} is up already (process {pid}); `kubevmm down {name}` ends it, another --fleet starts beside it"
    )]
    Up {
        /// Name of the fleet.
        name: String,
        /// The supervisor.
        pid: String,
    },
    /// No machine is kept under this name.
    #[error("no fleet {0} is up")]
    None(String),
    /// A name that is not a single component of a path.
    #[error("{0:?} is not a name for a fleet: letters, digits, - and _, please")]
    BadName(String),
    /// The host refused something.
    #[error("{what} {}", path.display())]
    Host {
        /// What was being done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// A fleet's folder, locked.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: Locked,
}

/// Where the fleet `name` is kept below the runtime root.
pub fn path(root: &Path, name: &str) -> Result<PathBuf, FolderError> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    if name.is_empty() || name.len() > 63 || !name.chars().all(fits) {
        return Err(FolderError::BadName(name.to_owned()));
    }
    Ok(root.join(FLEETS).join(name))
}

/// Names of all fleets below the runtime root, in alphabetical order.
pub fn names(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(root.join(FLEETS)) else { return Vec::new() };
    let mut names: Vec<_> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Number of the process that looks after a fleet, if one does.
pub fn supervisor(path: &Path) -> Option<u32> {
    let lock = File::open(path.join(LOCK)).ok()?;
    match Locked::beside_others(lock) {
        Ok(None) => fs::read_to_string(path.join(LOCK)).ok()?.trim().parse().ok(),
        _ => None,
    }
}

impl Folder {
    /// Makes or takes over the folder of the fleet `name` below the runtime root.
    ///
    /// # Errors
    /// [`FolderError::Up`] while another process has it.
    pub fn take(root: &Path, name: &str) -> Result<Self, FolderError> {
        let path = path(root, name)?;
        let failed = |what| {
            let path = path.clone();
            move |source| FolderError::Host { what, path, source }
        };
        for folder in [path.clone(), path.join(MANIFESTS), path.join(LOGS), path.join(EXITS)] {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(failed("making the folder"))?;
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.join(LOCK)).map_err(failed("opening the lock of"))?;
        let Some(lock) = Locked::alone(lock).map_err(failed("locking"))? else {
            let pid = fs::read_to_string(path.join(LOCK)).unwrap_or_default().trim().to_owned();
            return Err(FolderError::Up { name: name.to_owned(), pid });
        };
        let mut file = lock.file();
        let written = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(failed("writing the lock of"))?;
        Ok(Self { path, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What an earlier supervisor left; `None` where there is nothing, or nothing that can be read.
    pub fn record(&self) -> Option<Record> {
        Record::from_text(&fs::read_to_string(self.path.join(RECORD)).ok()?)
    }

    /// Writes the record, whole or not at all. When this returns, it is durable: what it was made from may be removed.
    ///
    /// # Errors
    /// As [`whole::replace`].
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let partial = self.path.join("fleet.json.partial");
        whole::replace(&self.path.join(RECORD), &partial, record.to_text()?.as_bytes())
    }

    /// Keeps the manifests that the fleet is made from, in place of those of an earlier supervisor; gives back where.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self, files: &[(&Path, &str)]) -> io::Result<Vec<PathBuf>> {
        let folder = self.path.join(MANIFESTS);
        for entry in fs::read_dir(&folder)? {
            fs::remove_file(entry?.path())?;
        }
        let mut kept = Vec::with_capacity(files.len());
        for (number, (path, text)) in files.iter().enumerate() {
            let name = match path.file_name() {
                Some(name) if name != "-" => name.to_string_lossy().into_owned(),
                _ => "stdin.yaml".into(),
            };
            let to = folder.join(format!("{number:03}-{name}"));
            fs::write(&to, text)?;
            kept.push(to);
        }
        Ok(kept)
    }

    /// File for all that the process of a machine says.
    pub fn log(&self, key: &super::Key) -> PathBuf {
        self.path.join(LOGS).join(format!("{}_{}.log", key.namespace, key.name))
    }

    /// Where the process of a machine that was started `starts` times says how it ended.
    pub fn exit(&self, key: &super::Key, starts: u64) -> PathBuf {
        self.path.join(EXITS).join(format!("{}_{}.{starts}.json", key.namespace, key.name))
    }

    /// Removes what was written about a machine.
    pub fn forget(&self, key: &super::Key, starts: u64) {
        // What cannot be removed now goes with the folder.
        let _ = fs::remove_file(self.log(key));
        let _ = fs::remove_file(self.exit(key, starts));
    }

    /// Removes the folder: the fleet is no more.
    pub fn remove(self) {
        // A folder that stays, or stays in part, is taken over by the next fleet of this name.
        let _ = fs::remove_dir_all(&self.path);
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_has_one_supervisor_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::take(root.path(), "web").unwrap();
        assert!(matches!(Folder::take(root.path(), "web"), Err(FolderError::Up { .. })));
        assert_eq!(supervisor(folder.path()), Some(std::process::id()));
        assert_eq!(names(root.path()), ["web"]);
        drop(folder);
        assert_eq!(supervisor(&path(root.path(), "web").unwrap()), None);
        Folder::take(root.path(), "web").unwrap().remove();
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        for bad in ["", "..", "a/b", "a b"] {
            assert!(matches!(path(root.path(), bad), Err(FolderError::BadName(_))), "{bad}");
        }
    }

    #[test]
    fn manifests_are_kept_in_their_order() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::take(root.path(), "web").unwrap();
        folder.keep(&[(Path::new("old.yaml"), "")]).unwrap();
        let kept = folder.keep(&[(Path::new("x/b.yaml"), "1"), (Path::new("-"), "2")]).unwrap();
        assert_eq!(kept.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(fs::read_dir(folder.path().join(MANIFESTS)).unwrap().count(), 2);
    }
}
