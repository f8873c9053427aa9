//! The file behind a macvtap.
//!
//! Its node in `/dev` is called after the interface's index, but a container's `/dev` need not have it, and the index may
//! have changed when the interface was moved into the container's network namespace. What counts is the device number
//! that sysfs tells, of the right namespace.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::sys::{self, Name};

const SYSFS: &str = "/sys";
const NODES: &str = "/dev";

/// Number and usual node of a macvtap's file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeviceFile {
    number: libc::dev_t,
    node: PathBuf,
}

impl DeviceFile {
    /// That of the macvtap `name`, which has `index` in the calling thread's network namespace.
    pub(super) fn of(name: &str, index: u32) -> io::Result<Self> {
        match Self::in_sysfs(SYSFS.as_ref(), name, index) {
            // This process's sysfs is of another namespace: one is looked at that is mounted nowhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let own = sys::own_sysfs().map_err(|_| error)?;
                Self::in_sysfs(&path_of(&own), name, index)
            }
            result => result,
        }
    }

    fn in_sysfs(sysfs: &Path, name: &str, index: u32) -> io::Result<Self> {
        let folder = sysfs.join("class/net").join(name);
        let found = fs::read_to_string(folder.join("ifindex"))?;
        if found.trim() != index.to_string() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let entry = fs::read_dir(folder.join("macvtap"))?.next().ok_or(io::ErrorKind::NotFound)??;
        let number =
            parse(&fs::read_to_string(entry.path().join("dev"))?).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { number, node: Path::new(NODES).join(entry.file_name()) })
    }

    /// Opens it, by its node or by one that is made for the purpose and removed at once.
    pub(super) fn open(&self) -> io::Result<File> {
        match open(&self.node) {
            Ok(file) if self.is_it(&file) => return Ok(file),
            // Busy, or forbidden: another node would not change that.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut first_error = None;
        for folder in [Path::new(NODES), &std::env::temp_dir()] {
            match self.open_by_own_node(folder) {
                Ok(file) => return Ok(file),
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        Err(first_error.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn open_by_own_node(&self, folder: &Path) -> io::Result<File> {
        let node = folder.join(format!(".kubevmm-{}-{:x}", std::process::id(), self.number));
        // One that a process of the same number left behind.
        let _ = fs::remove_file(&node);
        sys::make_node(&node, self.number)?;
        let opened = open(&node);
        fs::remove_file(&node)?;
        opened
    }

    fn is_it(&self, file: &File) -> bool {
        file.metadata().is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == self.number)
    }

    /// Where it would usually be found.
    pub(super) fn node(&self) -> &Path {
        &self.node
    }
}

/// Whether the file is the one of the interface with this name here, which the address tells.
pub(super) fn belongs(file: &File, name: &Name) -> io::Result<bool> {
    Ok(sys::mac_of_file(file)? == sys::mac(name)?)
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

fn path_of(folder: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()))
}

/// `MAJOR:MINOR`.
fn parse(text: &str) -> Option<libc::dev_t> {
    let (major, minor) = text.trim().split_once(':')?;
    Some(libc::makedev(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_taken_from_the_interface_of_that_index() {
        let sysfs = tempfile::tempdir().unwrap();
        let folder = sysfs.path().join("class/net/net1");
        fs::create_dir_all(folder.join("macvtap/tap9")).unwrap();
        fs::write(folder.join("ifindex"), "7\n").unwrap();
        fs::write(folder.join("macvtap/tap9/dev"), "246:3\n").unwrap();
        let found = DeviceFile::in_sysfs(sysfs.path(), "net1", 7).unwrap();
        assert_eq!(found, DeviceFile { number: libc::makedev(246, 3), node: "/dev/tap9".into() });
        let kind = |name, index| DeviceFile::in_sysfs(sysfs.path(), name, index).unwrap_err().kind();
        assert_eq!((kind("net1", 8), kind("net2", 7)), (io::ErrorKind::NotFound, io::ErrorKind::NotFound));
        fs::write(folder.join("macvtap/tap9/dev"), "nonsense").unwrap();
        assert_eq!(kind("net1", 7), io::ErrorKind::InvalidData);
    }
}
