//! The runtime directory of a VM: its lock and its sockets.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;

/// Held open and locked as long as the VM runs. It says which process that is.
const LOCK: &str = "lock";

/// `ROOT/<namespace>/<name>`, emptied and removed when this is dropped.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    /// Closing it gives the lock up.
    _lock: File,
}

impl RuntimeDir {
    /// Makes the directory of `namespace`/`name` below `root` and locks it against a second start of the same VM. What a
    /// killed process left in it is removed.
    pub fn create(root: &Path, namespace: &str, name: &str) -> Result<Self, OpenError> {
        let path = root.join(namespace).join(name);
        let fail = |source| OpenError::File { what: "runtime directory".into(), path: path.clone(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(fail)?;
        let mut lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path.join(LOCK))
            .map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Running {
                    namespace: namespace.to_owned(),
                    name: name.to_owned(),
                    directory: path,
                });
            }
            Err(TryLockError::Error(source)) => return Err(fail(source)),
        }
        clear(&path).map_err(fail)?;
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(fail)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where the lock of `namespace`/`name` below `root` is, which contains the number of the process that holds it.
    pub fn lock_of(root: &Path, namespace: &str, name: &str) -> PathBuf {
        root.join(namespace).join(name).join(LOCK)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // Whatever cannot be removed now is cleared by the next start of the same VM.
        let _ = clear(&self.path);
        let _ = fs::remove_file(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path);
        // The namespace's directory stays while other VMs are in it.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

/// Removes all files but the lock.
fn clear(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name() != LOCK && !entry.file_type()?.is_dir() {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vm_runs_once_and_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let first = RuntimeDir::create(root.path(), "default", "vm").unwrap();
        fs::write(first.path().join("agent.sock"), "").unwrap();
        let second = RuntimeDir::create(root.path(), "default", "vm");
        assert!(matches!(second, Err(OpenError::Running { .. })));
        assert!(first.path().join("agent.sock").exists(), "the second start took nothing away");
        drop(first);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
        RuntimeDir::create(root.path(), "default", "vm").unwrap();
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
