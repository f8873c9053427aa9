//! What a process leaves of a snapshot that is killed while it takes it.
//!
//! As long as somebody is at work on a snapshot, its directory is locked (flock(2)). Where the file system has no such locks for
//! directories, nothing is removed.

use std::fs::{self, File};
use std::path::Path;

use crate::sys::lock::Locked;

/// What a snapshot called `name` is called while the process with this number makes it.
pub(super) fn name(name: &str, process: u32) -> String {
    format!(".{name}.{process}.partial")
}

/// Locks the directory `path`.
pub(super) fn lock(path: &Path) -> Option<Locked> {
    Locked::alone(File::open(path).ok()?).ok()?
}

/// Removes from the directory `parent` what is there of snapshots called `of` on which nobody is at work. What cannot be removed stays: it
/// is in nobody's way, unless the process that made it had the number of this one.
pub(super) fn remove(parent: &Path, of: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().to_str().and_then(process).is_some_and(|(name, _)| name == of);
        if is_ours && entry.file_type().is_ok_and(|kind| kind.is_dir()) && lock(&entry.path()).is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Which snapshot, and which process, a name is of that [`name`] has made.
fn process(text: &str) -> Option<(&str, u32)> {
    let (name, process) = text.strip_prefix('.')?.strip_suffix(".partial")?.rsplit_once('.')?;
    Some((name, process.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_others() {
        assert_eq!(process(&name("night.1", 77)), Some(("night.1", 77)));
        for other in ["night", ".night.partial", ".night.x.partial", "night.7.partial", ".night.7.part"] {
            assert_eq!(process(other), None, "{other}");
        }
    }

    #[test]
    fn only_what_nobody_is_at_work_on_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let place = |of: &str, process| folder.path().join(name(of, process));
        let all = [place("night", 1), place("night", 2), place("day", 3)];
        for path in &all {
            fs::create_dir(path).unwrap();
            fs::write(path.join("memory"), "secret").unwrap();
        }
        let busy = lock(&all[1]).unwrap();
        remove(folder.path(), "night");
        assert_eq!(all.each_ref().map(|path| path.exists()), [false, true, true]);
        drop(busy);
        remove(folder.path(), "night");
        assert_eq!(all.each_ref().map(|path| path.exists()), [false, false, true]);
        remove(&folder.path().join("nowhere"), "night");
    }
}
