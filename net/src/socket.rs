//! Unix sockets at paths of any length.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Listens at `path`. An address has room for 107 bytes only, and the names of VMs and their folders may have more, so the
/// folder goes by its descriptor.
///
/// # Errors
/// As [`UnixListener::bind`]; a path without a file name is invalid.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    by_folder(path, |short| UnixListener::bind(short))
}

/// Connects to the socket at `path`, however long that is.
///
/// # Errors
/// As [`UnixStream::connect`]; a path without a file name is invalid.
pub fn connect(path: &Path) -> io::Result<UnixStream> {
    by_folder(path, |short| UnixStream::connect(short))
}

/// Calls `reach` with a short path to the same file, which is good for the length of the call.
fn by_folder<T>(path: &Path, reach: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    reach(&Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

/// Listens at `path`, in place of a socket that an earlier process may have left there.
///
/// # Errors
/// As [`listen`]: the address is in use where somebody listens, or where there is something else than a socket.
pub fn listen_again(path: &Path) -> io::Result<UnixListener> {
    if is_left(path) {
        fs::remove_file(path)?;
    }
    listen(path)
}

/// The same for nobody but this user.
///
/// # Errors
/// As [`listen_again`].
pub fn listen_privately(path: &Path) -> io::Result<UnixListener> {
    let listener = listen_again(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Whether nobody listens any more at the socket that is there.
fn is_left(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket());
    is_socket && connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_away_but_a_socket_that_was_left() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("x");
        let listener = listen_privately(&path).unwrap();
        assert_eq!(listen_privately(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        connect(&path).unwrap();
        drop(listener);
        crate::testing::settle();
        drop(listen_privately(&path).unwrap());
        let image = root.path().join("disk.img");
        fs::write(&image, "data").unwrap();
        assert_eq!(listen_privately(&image).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(fs::read(&image).unwrap(), b"data");
    }

    #[test]
    fn paths_may_be_longer_than_addresses() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("n".repeat(200));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("agent.sock");
        let _listener = listen(&path).unwrap();
        connect(&path).unwrap();
        assert!(path.exists());
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(listen(Path::new("/")).is_err());
        assert_eq!(listen_again(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse, "somebody listens");
    }
}
