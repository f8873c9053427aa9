//! Where a snapshot is made that is only passed on: a folder that goes with the process, however that ends.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::sys::line::random_uuid;
use crate::sys::user::effective;

/// What names of such folders begin with.
const PREFIX: &str = "kubevmm-passing-";
/// Attempts to make one that another process does not take for a forgotten one.
const ATTEMPTS: u32 = 10;

/// A folder that is locked for as long as its process lives. Dropped, it is removed with all that is in it.
#[derive(Debug)]
pub(super) struct Passing {
    folder: PathBuf,
    /// Its lock, where folders can be locked.
    _open: Option<File>,
}

/// How it stands with a folder's lock.
enum Lock {
    Ours(File),
    /// A process has it, or the folder is gone.
    Theirs,
    /// The file system locks no folders: nobody takes one for forgotten there.
    Impossible,
}

impl Passing {
    /// Makes one in `parent`, and removes those there whose processes were killed.
    pub(super) fn make(parent: &Path) -> io::Result<Self> {
        Self::locked_by(parent, File::try_lock)
    }

    fn locked_by(parent: &Path, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> io::Result<Self> {
        forgotten(parent, &try_lock)?.iter().for_each(|folder| remove(folder));
        for _ in 0..ATTEMPTS {
            // Others may have this number in containers of their own.
            let folder = parent.join(format!("{PREFIX}{}-{}", std::process::id(), random_uuid()));
            DirBuilder::new().mode(0o700).create(&folder)?;
            // Between the two somebody may have taken it for a forgotten one.
            match lock(&folder, &try_lock) {
                Lock::Ours(open) => return Ok(Self { folder, _open: Some(open) }),
                Lock::Impossible => return Ok(Self { folder, _open: None }),
                Lock::Theirs => remove(&folder),
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// Where the snapshot is to be.
    pub(super) fn place(&self) -> PathBuf {
        self.folder.join("snapshot")
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Locks a folder that is there, unless a process has it.
fn lock(folder: &Path, try_lock: impl Fn(&File) -> Result<(), TryLockError>) -> Lock {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW);
    let Ok(open) = options.open(folder) else { return Lock::Theirs };
    match try_lock(&open) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Lock::Theirs,
        Err(TryLockError::Error(_)) => return Lock::Impossible,
    }
    let place = |file: fs::Metadata| (file.dev(), file.ino());
    match (fs::symlink_metadata(folder).map(place), open.metadata().map(place)) {
        (Ok(named), Ok(locked)) if named == locked => Lock::Ours(open),
        _ => Lock::Theirs,
    }
}

/// Folders of this user's whose processes are gone.
fn forgotten(
    parent: &Path,
    try_lock: impl Fn(&File) -> Result<(), TryLockError>,
) -> io::Result<Vec<PathBuf>> {
    let is_forgotten = |entry: &fs::DirEntry| {
        let named = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let ours = || entry.metadata().is_ok_and(|folder| folder.is_dir() && folder.uid() == effective());
        named && ours() && matches!(lock(&entry.path(), &try_lock), Lock::Ours(_))
    };
    Ok(fs::read_dir(parent)?.flatten().filter(is_forgotten).map(|entry| entry.path()).collect())
}

/// Removes a folder in which a machine's process may be about to write: that finds it under another name no more.
fn remove(folder: &Path) {
    let mut gone = folder.as_os_str().to_owned();
    gone.push(".gone");
    let gone = if fs::rename(folder, &gone).is_ok() { PathBuf::from(gone) } else { folder.to_owned() };
    // The next one tries again: its name begins as it did.
    let _ = fs::remove_dir_all(gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_has_left_is_removed_and_what_a_living_one_has_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let names = || fs::read_dir(parent.path()).unwrap().count();
        let forgotten = parent.path().join(format!("{PREFIX}0"));
        fs::create_dir_all(forgotten.join("snapshot")).unwrap();
        fs::write(forgotten.join("snapshot/memory"), "").unwrap();
        fs::create_dir(parent.path().join("kubevmm-snapshot-0")).unwrap();
        let passing = Passing::make(parent.path()).unwrap();
        assert!(!forgotten.exists());
        assert_eq!(names(), 2, "what is all that there is of a machine is removed");
        assert!(
            super::forgotten(parent.path(), File::try_lock).unwrap().is_empty(),
            "one that is in use is taken for forgotten"
        );
        fs::create_dir(passing.place()).unwrap();
        drop(passing);
        assert_eq!(names(), 1);
    }

    #[test]
    fn where_folders_cannot_be_locked_one_is_made_all_the_same_beside_others_of_this_number() {
        let parent = tempfile::tempdir().unwrap();
        let impossible = |_: &File| Err(TryLockError::Error(io::ErrorKind::Unsupported.into()));
        fs::create_dir(parent.path().join(format!("{PREFIX}{}.gone", std::process::id()))).unwrap();
        let both = [(); 2].map(|()| Passing::locked_by(parent.path(), impossible).unwrap());
        assert_ne!(both[0].folder, both[1].folder);
        assert!(both[0].folder.is_dir());
    }
}
