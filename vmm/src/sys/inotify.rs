//! Hearing of changes of files and folders.
#![expect(unsafe_code, reason = "inotify and statfs have no safe wrapper in our dependencies")]

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// File systems whose files other hosts may change without this one hearing of it (linux/magic.h): NFS, CIFS, SMB2,
/// Ceph, FUSE (virtiofs, too), 9p, OCFS2, GFS2.
const SHARED: [i64; 8] =
    [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x6573_5546, 0x0102_1997, 0x7461_636f, 0x0116_1970];

/// File systems that one host alone can have mounted: ext2 to ext4, XFS, Btrfs, F2FS, ZFS, tmpfs, overlays of such.
const OF_ONE_HOST: [i64; 7] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994, 0x794c_7630];

/// Files of which one change each is told.
#[derive(Debug)]
pub struct Inotify(File);

impl Inotify {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the call has no pointers.
        let fd = unsafe { libc::inotify_init1(libc::IN_NONBLOCK | libc::IN_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so `fd` is open and nobody else's.
        Ok(Self(unsafe { File::from_raw_fd(fd) }))
    }

    /// Tells of the next change of the contents or size of `path`. May wait for the file system.
    pub fn tell_once(&self, path: &Path) -> io::Result<()> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let mask = libc::IN_MODIFY | libc::IN_ATTRIB | libc::IN_CLOSE_WRITE | libc::IN_ONESHOT;
        // SAFETY: `name` is a valid C string.
        let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), name.as_ptr(), mask) };
        if watch < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Tells of every change of the files in the folder `path`: those that were written, come, go, or are replaced by a
    /// link's change, as the kubelet does it.
    pub fn tell_of_folder(&self, path: &Path) -> io::Result<()> {
        let name = CString::new(path.as_os_str().as_bytes())?;
        let moves = libc::IN_MOVED_FROM | libc::IN_MOVED_TO;
        let mask = libc::IN_CLOSE_WRITE | libc::IN_CREATE | libc::IN_DELETE | moves | libc::IN_ONLYDIR;
        // SAFETY: `name` is a valid C string.
        let watch = unsafe { libc::inotify_add_watch(self.0.as_raw_fd(), name.as_ptr(), mask) };
        if watch < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Forgets all that was told; whether that was anything.
    pub fn forget(&self) -> bool {
        let mut events = [0; 4096];
        let mut told = false;
        while (&self.0).read(&mut events).is_ok_and(|length| length > 0) {
            told = true;
        }
        told
    }
}

impl AsRawFd for Inotify {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Whether other hosts may change `path` without this one being told. May wait for the file system.
pub fn is_shared(path: &Path) -> bool {
    file_system(path).is_some_and(|kind| SHARED.contains(&kind))
}

/// Whether it is certain that no other host has the file at `path`, as far as its file system goes. May wait for the file system.
pub fn is_of_one_host(path: &Path) -> bool {
    file_system(path).is_some_and(|kind| OF_ONE_HOST.contains(&kind))
}

/// What kind of file system `path` is on.
fn file_system(path: &Path) -> Option<i64> {
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut answer = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `name` is a valid C string and `answer` has room for the structure that the call fills.
    if unsafe { libc::statfs(name.as_ptr(), answer.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: the call succeeded, so it has filled the structure, in which any bits are valid.
    Some(unsafe { answer.assume_init() }.f_type)
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

    use super::*;

    #[test]
    fn changes_in_a_folder_are_told_as_the_kubelet_makes_them() {
        let folder = tempfile::tempdir().unwrap();
        let inotify = Inotify::new().unwrap();
        inotify.tell_of_folder(folder.path()).unwrap();
        assert!(!inotify.forget());
        std::fs::write(folder.path().join("key"), "1").unwrap();
        assert!(inotify.forget() && !inotify.forget());
        std::os::unix::fs::symlink("elsewhere", folder.path().join("..data_tmp")).unwrap();
        assert!(inotify.forget());
        std::fs::rename(folder.path().join("..data_tmp"), folder.path().join("..data")).unwrap();
        assert!(inotify.forget());
        assert!(inotify.tell_of_folder(&folder.path().join("missing")).is_err());
    }

    #[test]
    fn growth_is_told_once_until_asked_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        let file = OpenOptions::new().create(true).truncate(true).write(true).open(&path).unwrap();
        let inotify = Inotify::new().unwrap();
        let epoll = Epoll::new().unwrap();
        epoll.ctl(ControlOperation::Add, inotify.as_raw_fd(), EpollEvent::new(EventSet::IN, 0)).unwrap();
        let told = |wait| epoll.wait(wait, &mut [EpollEvent::default()]).unwrap() == 1;
        for size in [10, 20] {
            inotify.tell_once(&path).unwrap();
            assert!(!told(0));
            file.set_len(size).unwrap();
            assert!(told(1000));
            inotify.forget();
            file.set_len(size + 1).unwrap();
            assert!(!told(20), "one change was asked for");
        }
        assert!(!is_shared(directory.path()));
        assert!(is_of_one_host(Path::new("/dev/shm")) && !is_of_one_host(Path::new("/proc/self")));
        assert!(!is_of_one_host(&directory.path().join("none")));
        inotify.tell_once(&directory.path().join("none")).unwrap_err();
    }
}
