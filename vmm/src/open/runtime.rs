//! The runtime directory of a VM: its lock, its sockets, its status.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::OpenError;
use crate::migration::record;
use crate::sys::lock::Locked;
use crate::{console, status};

/// Held open and locked as long as the VM runs. It says which process that is.
const LOCK: &str = "lock";
/// How often a directory is made anew that others remove at the same time.
const TRIES: u32 = 100;

/// `ROOT/<namespace>/<name>`. When this is dropped, only what tells how the VM ended is left in it, and to whom it was handed over if
/// nobody has told that it arrived.
#[derive(Debug)]
pub struct RuntimeDir {
    path: PathBuf,
    /// Nothing is to be left.
    leave_nothing: bool,
    /// It was told that the VM has moved.
    is_told: bool,
    _lock: Locked,
}

impl RuntimeDir {
    /// Makes the directory of `namespace`/`name` below `root` and locks it against a second start of the same VM. What an
    /// earlier run left in it is removed.
    ///
    /// # Errors
    /// It runs, or a process has handed it over without telling that it arrived; or the host does not allow it.
    pub fn create(root: &Path, namespace: &str, name: &str) -> Result<Self, OpenError> {
        Self::lock(root, namespace, name, |path| match record::elsewhere(path) {
            Some(peer) => Err(OpenError::HandedOver { namespace: namespace.into(), name: name.into(), peer }),
            None => Ok(()),
        })
    }

    /// The same for a VM that is to come here, wherever it is: what was said of that stays until it comes.
    ///
    /// # Errors
    /// It runs, or the host does not allow it.
    pub fn create_to_receive(root: &Path, namespace: &str, name: &str) -> Result<Self, OpenError> {
        Self::lock(root, namespace, name, |_| Ok(()))
    }

    /// The same if it `may` be, which is asked of a directory that nobody else has any more.
    fn lock(
        root: &Path,
        namespace: &str,
        name: &str,
        may: impl FnOnce(&Path) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let path = root.join(namespace).join(name);
        let fail = |source| OpenError::File { what: "runtime directory".into(), path: path.clone(), source };
        let lock = lock(&path, true).map_err(fail)?;
        let lock = lock.ok_or_else(|| running(namespace, name, &path))?;
        may(&path)?;
        clear(&path, word(&path)).map_err(fail)?;
        let mut file = lock.file();
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fail)?;
        Ok(Self { path, leave_nothing: false, is_told: false, _lock: lock })
    }

    /// Where `namespace`/`name` was handed over to, in words, if it is not to be started here before somebody has looked there.
    pub fn elsewhere(root: &Path, namespace: &str, name: &str) -> Option<String> {
        record::elsewhere(&root.join(namespace).join(name))
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
        drop(Self { path, leave_nothing: true, is_told: false, _lock: lock });
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

    /// Whoever has to know was told that the VM runs elsewhere: nothing here has to say so any more.
    pub fn move_is_told(&mut self) {
        self.is_told = true;
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        let word = if self.is_told { &[] } else { word(&self.path) };
        // Whatever cannot be removed now is cleared by the next start of the same VM.
        if !self.leave_nothing || !word.is_empty() {
            let _ = clear(&self.path, &[status::FILES.as_slice(), &console::LOG_FILES, word].concat());
            return;
        }
        let _ = clear(&self.path, &[]);
        let _ = fs::remove_file(self.path.join(LOCK));
        let _ = fs::remove_dir(&self.path);
        // The namespace's directory stays while other VMs are in it.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}

/// The file in `directory` that says that the VM is elsewhere, if one does.
fn word(directory: &Path) -> &'static [&'static str] {
    if record::elsewhere(directory).is_some() { &[record::RECORD_FILE] } else { &[] }
}

fn running(namespace: &str, name: &str, path: &Path) -> OpenError {
    OpenError::Running { namespace: namespace.to_owned(), name: name.to_owned(), directory: path.to_owned() }
}

/// Takes the lock in `directory`; `None` if another process has it.
fn lock(directory: &Path, make: bool) -> io::Result<Option<Locked>> {
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
        let Some(lock) = Locked::alone(lock)? else { return Ok(None) };
        // A lock on a file that was removed meanwhile keeps nobody out.
        if fs::metadata(&path)
            .is_ok_and(|there| lock.file().metadata().is_ok_and(|ours| there.ino() == ours.ino()))
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
    use crate::migration::record::{Owner, Record, Records};
    use crate::migration::wire::Session;

    fn record(owner: Owner) -> Record {
        Record { session: Session::new([1; 16]), owner, peer: "unix:/x".into() }
    }

    #[test]
    fn a_vm_that_was_handed_over_is_not_started_before_somebody_has_looked() {
        let root = tempfile::tempdir().unwrap();
        let create = || RuntimeDir::create(root.path(), "default", "vm").map(drop);
        create().unwrap();
        let directory = root.path().join("default/vm");
        Records::new(&directory).write(&record(Owner::Here)).unwrap();
        create().unwrap();
        for owner in [Owner::There, Owner::Gone] {
            Records::new(&directory).write(&record(owner)).unwrap();
            fs::write(directory.join(status::VMI_FILE), "{}").unwrap();
            for _ in 0..2 {
                assert!(matches!(create(), Err(OpenError::HandedOver { .. })));
            }
            assert!(directory.join(status::VMI_FILE).exists(), "what is told of it stays");
            RuntimeDir::remove(root.path(), "default", "vm").unwrap();
            create().unwrap();
        }
        fs::write(directory.join(record::RECORD_FILE), "").unwrap();
        assert!(matches!(create(), Err(OpenError::HandedOver { .. })), "it may have said so");
    }

    #[test]
    fn whoever_waits_for_a_vm_that_does_not_come_leaves_word_of_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("default/vm");
        let receive = || RuntimeDir::create_to_receive(root.path(), "default", "vm").unwrap();
        let is_refused =
            || matches!(RuntimeDir::create(root.path(), "default", "vm"), Err(OpenError::HandedOver { .. }));
        drop(receive());
        Records::new(&directory).write(&record(Owner::There)).unwrap();
        drop(receive());
        assert!(is_refused());
        let mut leaves_nothing = receive();
        leaves_nothing.leave_nothing();
        drop(leaves_nothing);
        assert!(is_refused());
        // It comes, and is lost before it runs; then it comes and stays until its end.
        let runtime = receive();
        Records::new(runtime.path()).replace(&record(Owner::Here)).unwrap();
        Records::new(runtime.path()).put_back();
        drop(runtime);
        assert!(is_refused());
        let runtime = receive();
        Records::new(runtime.path()).replace(&record(Owner::Here)).unwrap();
        drop(runtime);
        assert!(!is_refused());
    }

    #[test]
    fn that_a_vm_has_moved_is_written_down_until_it_was_told() {
        for told in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let mut runtime = RuntimeDir::create(root.path(), "default", "vm").unwrap();
            Records::new(runtime.path()).write(&record(Owner::Gone)).unwrap();
            if told {
                runtime.move_is_told();
            }
            drop(runtime);
            assert_eq!(RuntimeDir::create(root.path(), "default", "vm").is_ok(), told);
        }
    }

    #[test]
    fn one_that_ends_without_knowing_what_became_of_its_vm_leaves_word_of_that() {
        for leaves_nothing in [false, true] {
            let root = tempfile::tempdir().unwrap();
            let mut runtime = RuntimeDir::create(root.path(), "default", "vm").unwrap();
            Records::new(runtime.path()).write(&record(Owner::There)).unwrap();
            if leaves_nothing {
                runtime.leave_nothing();
            }
            drop(runtime);
            assert!(RuntimeDir::create(root.path(), "default", "vm").is_err());
            assert!(RuntimeDir::remove(root.path(), "default", "vm").unwrap());
            RuntimeDir::create(root.path(), "default", "vm").unwrap();
        }
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
