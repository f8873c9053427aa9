//! The runtime directory of a VM: its lock, its sockets, its status.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::migration::record::{self, Owner, Record};
use crate::{console, status};

/// Held open and locked as long as the VM runs. It says which process that is.
const LOCK: &str = "lock";
/// How often a directory is made anew that others remove at the same time.
const TRIES: u32 = 100;

/// `ROOT/<namespace>/<name>`. When this is dropped, only what tells how the VM ended is left in it.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    /// Nothing is to be left.
    leave_nothing: bool,
    /// Closing it gives the lock up.
    _lock: File,
}

impl RuntimeDir {
    /// Makes the directory of `namespace`/`name` below `root` and locks it against a second start of the same VM. What an
    /// earlier run left in it is removed.
    pub fn create(root: &Path, namespace: &str, name: &str) -> Result<Self, OpenError> {
        let path = root.join(namespace).join(name);
        let fail = |source| OpenError::File { what: "runtime directory".into(), path: path.clone(), source };
        let lock = lock(&path, true).map_err(fail)?;
        let mut lock = lock.ok_or_else(|| running(namespace, name, &path))?;
        clear(&path, &[]).map_err(fail)?;
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(fail)?;
        Ok(Self { path, leave_nothing: false, _lock: lock })
    }

    /// Whether a process that did not end in order has handed `namespace`/`name` over, so that it is not to be started here.
    ///
    /// # Errors
    /// It has.
    pub fn check_owner(root: &Path, namespace: &str, name: &str) -> Result<(), OpenError> {
        match record::read(&root.join(namespace).join(name)) {
            Some(Record { owner: Owner::There, peer, .. }) => {
                Err(OpenError::HandedOver { namespace: namespace.into(), name: name.into(), peer })
            }
            _ => Ok(()),
        }
    }

    /// Removes what the last run of `namespace`/`name` left below `root`; false if there is nothing.
    ///
    /// # Errors
    /// The VM runs, or its files cannot be removed.
    pub fn remove(root: &Path, namespace: &str, name: &str) -> Result<bool, OpenError> {
        let path = root.join(namespace).join(name);
        let fail = |source| OpenError::File { what: "runtime directory".into(), path: path.clone(), source };
        if !path.is_dir() {
            return Ok(false);
        }
        let lock = lock(&path, false).map_err(fail)?;
        let lock = lock.ok_or_else(|| running(namespace, name, &path))?;
        clear(&path, &[]).map_err(fail)?;
        drop(Self { path, leave_nothing: true, _lock: lock });
        Ok(true)
    }

    /// Where the lock of `namespace`/`name` below `root` is, which contains the number of the process that holds it.
    pub fn lock_of(root: &Path, namespace: &str, name: &str) -> PathBuf {
        root.join(namespace).join(name).join(LOCK)
    }

    /// Nothing is to be left at the end, not even how the VM ended.
    pub fn leave_nothing(&mut self) {
        self.leave_nothing = true;
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // Whatever cannot be removed now is cleared by the next start of the same VM.
        if !self.leave_nothing {
            let _ = clear(&self.path, &[status::FILES.as_slice(), &console::LOG_FILES].concat());
            return;
        }
        let _ = clear(&self.path, &[]);
        let _ = fs::remove_file(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path);
        // The namespace's directory stays while other VMs are in it.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

fn running(namespace: &str, name: &str, path: &Path) -> OpenError {
    OpenError::Running { namespace: namespace.to_owned(), name: name.to_owned(), directory: path.to_owned() }
}

/// Takes the lock in `directory`; `None` if another process has it.
fn lock(directory: &Path, make: bool) -> io::Result<Option<File>> {
    let path = directory.join(LOCK);
    for _ in 0..TRIES {
        if make {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = match lock {
            Ok(lock) => lock,
            // Removed since it was made.
            Err(error) if make && error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        // A lock on a file that was removed meanwhile keeps nobody out.
        if fs::metadata(&path).is_ok_and(|there| lock.metadata().is_ok_and(|ours| there.ino() == ours.ino()))
        {
            return Ok(Some(lock));
        }
    }
    Err(io::ErrorKind::ResourceBusy.into())
}

/// Removes all files but the lock and those named.
fn clear(directory: &Path, keep: &[&str]) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let (name, entry) = entry.map(|entry| (entry.file_name(), entry))?;
        let is_kept = name == LOCK || keep.iter().any(|kept| name == *kept);
        if !is_kept && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::record::Records;
    use crate::migration::wire::Session;

    #[test]
    fn a_vm_that_was_handed_over_is_not_started_before_somebody_has_looked() {
        let root = tempfile::tempdir().unwrap();
        let check = || RuntimeDir::check_owner(root.path(), "default", "vm");
        check().unwrap();
        let directory = root.path().join("default/vm");
        fs::create_dir_all(&directory).unwrap();
        let record = |owner| Record { session: Session::new([1; 16]), owner, peer: "unix:/x".into() };
        Records::new(&directory).write(&record(Owner::Here)).unwrap();
        check().unwrap();
        Records::new(&directory).write(&record(Owner::There)).unwrap();
        assert!(matches!(check(), Err(OpenError::HandedOver { .. })));
        RuntimeDir::remove(root.path(), "default", "vm").unwrap();
        check().unwrap();
    }

    #[test]
    fn a_vm_runs_once_and_leaves_only_how_it_ended() {
        let root = tempfile::tempdir().unwrap();
        let first = RuntimeDir::create(root.path(), "default", "vm").unwrap();
        fs::write(first.path().join("agent.sock"), "").unwrap();
        let second = RuntimeDir::create(root.path(), "default", "vm");
        assert!(matches!(second, Err(OpenError::Running { .. })));
        assert!(first.path().join("agent.sock").exists(), "the second start took nothing away");
        assert!(matches!(RuntimeDir::remove(root.path(), "default", "vm"), Err(OpenError::Running { .. })));
        fs::write(first.path().join(status::VMI_FILE), "{}").unwrap();
        let path = first.path().to_owned();
        drop(first);
        let left = || {
            let mut names: Vec<_> =
                fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(left(), [LOCK, status::VMI_FILE]);
        let mut again = RuntimeDir::create(root.path(), "default", "vm").unwrap();
        assert_eq!(left(), [LOCK]);
        again.leave_nothing();
        drop(again);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        assert!(!RuntimeDir::remove(root.path(), "default", "vm").unwrap());
        drop(RuntimeDir::create(root.path(), "default", "vm").unwrap());
        assert!(RuntimeDir::remove(root.path(), "default", "vm").unwrap());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    /// Two threads start and remove the same VM as fast as they can: never do both have it.
    #[test]
    fn removal_and_start_together_never_run_a_vm_twice() {
        let root = tempfile::tempdir().unwrap();
        let inside = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let Ok(mut runtime) = RuntimeDir::create(root.path(), "default", "vm") else {
                            continue;
                        };
                        assert_eq!(inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                        inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                        runtime.leave_nothing();
                    }
                });
            }
        });
    }

    #[test]
    fn leftovers_of_a_killed_process_are_cleared() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("default/vm");
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("agent.sock"), "").unwrap();
        fs::write(path.join(LOCK), "").unwrap();
        let runtime = RuntimeDir::create(root.path(), "default", "vm").unwrap();
        assert!(!runtime.path().join("agent.sock").exists());
    }
}
