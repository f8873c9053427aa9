//! `target/kubevmm`: what tasks have made and may use again.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::error::{Doing, Result};
use crate::mounts;

/// The workspace and its cache.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    /// The workspace's folder.
    pub(crate) root: PathBuf,
    /// The cache.
    pub(crate) dir: PathBuf,
}

impl Store {
    pub(crate) fn open() -> Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.parent().ok_or("xtask lies in no workspace")?.to_owned();
        let dir = root.join("target/kubevmm");
        fs::create_dir_all(&dir).doing(format_args!("making {}", dir.display()))?;
        Ok(Self { root, dir })
    }

    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.dir.join(relative)
    }

    /// Where cargo puts what it builds.
    pub(crate) fn cargo_target(&self) -> PathBuf {
        match std::env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => self.root.join(dir),
            None => self.root.join("target"),
        }
    }

    /// Has `make` fill a fresh folder `relative`, unless that was done before with the same inputs.
    pub(crate) fn folder(
        &self,
        relative: &str,
        inputs: &Fingerprint,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let folder = self.path(relative);
        let stamp = self.path(&format!("{relative}.stamp"));
        let wanted = inputs.value();
        if folder.is_dir() && fs::read_to_string(&stamp).is_ok_and(|text| text == wanted) {
            return Ok(folder);
        }
        let _ = fs::remove_file(&stamp);
        empty_folder(&folder)?;
        make(&folder)?;
        fs::write(&stamp, wanted).doing(format_args!("writing {}", stamp.display()))?;
        Ok(folder)
    }
}

/// Makes an empty folder, whatever was there. What was mounted in it by a runner that was killed would be busy.
pub(crate) fn empty_folder(folder: &Path) -> Result<()> {
    if folder.exists() {
        mounts::detach_below(folder)?;
        fs::remove_dir_all(folder).doing(format_args!("emptying {}", folder.display()))?;
    }
    fs::create_dir_all(folder).doing(format_args!("making {}", folder.display()))
}

/// Stands for the state of inputs: a product with the same fingerprint need not be made again.
#[derive(Debug)]
pub(crate) struct Fingerprint(DefaultHasher);

impl Fingerprint {
    /// `recipe` changes whenever the making does.
    pub(crate) fn new(recipe: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        recipe.hash(&mut hasher);
        Self(hasher)
    }

    /// Takes in a text.
    pub(crate) fn text(mut self, text: &str) -> Self {
        text.hash(&mut self.0);
        self
    }

    /// Takes in a file's name, size and time, or those of all files below a folder.
    pub(crate) fn file(mut self, path: &Path) -> Self {
        self.add(path);
        self
    }

    fn add(&mut self, path: &Path) {
        path.hash(&mut self.0);
        let Ok(meta) = fs::metadata(path) else { return };
        if meta.is_dir() {
            let mut below: Vec<PathBuf> = fs::read_dir(path)
                .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
                .unwrap_or_default();
            below.sort();
            below.iter().for_each(|path| self.add(path));
        } else {
            meta.len().hash(&mut self.0);
            let age = meta.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            age.unwrap_or_default().as_nanos().hash(&mut self.0);
        }
    }

    fn value(&self) -> String {
        format!("{:016x}", self.0.finish())
    }
}

/// Puts `from` at `to` as a hard link, or as a copy where that cannot be.
pub(crate) fn place(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).doing(format_args!("making {}", folder.display()))?;
    }
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map(drop).doing(format_args!("copying {} to {}", from.display(), to.display()))
}

/// The same for all files below a folder.
pub(crate) fn place_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).doing(format_args!("making {}", to.display()))?;
    for entry in fs::read_dir(from).doing(format_args!("listing {}", from.display()))?.flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            place_tree(&entry.path(), &target)?;
        } else {
            place(&entry.path(), &target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_emptied_that_something_is_mounted_in() {
        let folder = std::env::temp_dir().join(format!("kubevmm-mounts-test-{}", std::process::id()));
        let room = folder.join("a room");
        fs::create_dir_all(&room).unwrap();
        match guest::sys::mount_memory(&room, 1 << 20) {
            Ok(()) => fs::write(room.join("file"), "").unwrap(),
            // Nobody but root can leave anything mounted.
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
        let _user = fs::File::open(room.join("file"));
        empty_folder(&folder).unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        fs::remove_dir(folder).unwrap();
    }

    #[test]
    fn a_changed_file_changes_the_fingerprint() {
        let folder = std::env::temp_dir().join(format!("kubevmm-store-test-{}", std::process::id()));
        empty_folder(&folder).unwrap();
        fs::write(folder.join("a"), "one").unwrap();
        let first = Fingerprint::new("r").file(&folder).value();
        assert_eq!(first, Fingerprint::new("r").file(&folder).value());
        assert_ne!(first, Fingerprint::new("s").file(&folder).value());
        fs::write(folder.join("a"), "three").unwrap();
        assert_ne!(first, Fingerprint::new("r").file(&folder).value());
        fs::remove_dir_all(folder).unwrap();
    }
}
