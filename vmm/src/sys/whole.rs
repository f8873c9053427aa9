//! Files that are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Puts `text` in the place of the file at `path`, for this user alone, by way of `partial` in the same folder. When this returns, it is
/// durable.
///
/// # Errors
/// The host does not take it; then what was there is there still, unless it is the folder that could not be made durable.
pub fn replace(path: &Path, partial: &Path, text: &[u8]) -> io::Result<()> {
    let replaced = (|| {
        let options = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).clone();
        let mut file = options.open(partial)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(partial, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })();
    if replaced.is_err() {
        // What takes up space that is missing is of no use to anybody.
        let _ = fs::remove_file(partial);
    }
    replaced
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let (path, partial) = (folder.path().join("x"), folder.path().join("x.partial"));
        replace(&path, &partial, b"first").unwrap();
        assert!(!partial.exists());
        // There is no space for the second one.
        symlink("/dev/full", &partial).unwrap();
        replace(&path, &partial, b"second").unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert!(partial.symlink_metadata().is_err());
    }
}
