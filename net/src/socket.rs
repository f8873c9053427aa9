//! Unix sockets at paths of any length.

use std::fs::{self, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// Bytes of a path that an address has room for.
const ROOM: usize = 107;

/// Listens at `path`. The names of VMs and their folders may be longer than an address: then the folder goes by its descriptor.
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

/// Calls `reach` with a path to the same file that an address has room for, and which is good for the length of the call.
fn by_folder<T>(path: &Path, reach: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    if path.as_os_str().len() <= ROOM {
        return reach(path);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // A folder that may be passed through need not be one that may be read.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY);
    let folder = options.open(folder.unwrap_or(Path::new(".")))?;
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

    #[test]
    fn a_folder_need_not_be_one_that_may_be_read() {
        let root = tempfile::tempdir().unwrap();
        for length in [1, 200] {
            let folder = root.path().join("n".repeat(length));
            fs::create_dir(&folder).unwrap();
            let path = folder.join("agent.sock");
            let _listener = listen(&path).unwrap();
            fs::set_permissions(&folder, Permissions::from_mode(0o311)).unwrap();
            let call = || {
                // Whoever may do all reads it all the same.
                crate::testing::give_up_rights();
                assert_eq!(fs::read_dir(&folder).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
                connect(&path).and(listen(&folder.join("other.sock")))
            };
            let reached = std::thread::scope(|scope| scope.spawn(call).join().unwrap());
            fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
            reached.unwrap();
        }
    }

    #[test]
    fn an_address_has_room_for_what_goes_straight() {
        let root = tempfile::tempdir().unwrap();
        let taken = root.path().as_os_str().len() + "/s".len();
        for length in [ROOM, ROOM + 1] {
            let folder = root.path().join("n".repeat(length - taken - 1));
            fs::create_dir(&folder).unwrap();
            let path = folder.join("s");
            assert_eq!(path.as_os_str().len(), length);
            let _listener = listen(&path).unwrap();
            connect(&path).unwrap();
            assert!(path.exists());
        }
    }
}
