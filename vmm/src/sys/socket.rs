//! Unix sockets at paths of any length.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// Listens at `path`. An address has room for 107 bytes only, and the names of VMs and their folders may have more, so the
/// folder goes by its descriptor.
///
/// # Errors
/// As [`UnixListener::bind`]; a path without a file name is invalid.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = File::open(folder.unwrap_or(Path::new(".")))?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    UnixListener::bind(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_may_be_longer_than_addresses() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("n".repeat(200));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("agent.sock");
        let _listener = listen(&path).unwrap();
        assert!(path.exists());
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(listen(Path::new("/")).is_err());
    }
}
