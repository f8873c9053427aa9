//! System calls without a safe wrapper in the standard library.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;

/// `BLKDISCARD` of `linux/fs.h`.
const BLKDISCARD: libc::Ioctl = 0x1277;
/// `BLKZEROOUT` of `linux/fs.h`.
const BLKZEROOUT: libc::Ioctl = 0x127F;

/// How the machine is to go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Down {
    /// Power off.
    PowerOff,
    /// Restart.
    Restart,
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Mounts `source` of type `kind` on `target`.
///
/// # Errors
/// The kernel's, or a name with a NUL in it.
pub fn mount(source: &str, target: &str, kind: &str, read_only: bool) -> io::Result<()> {
    let (source, target, kind) = (CString::new(source)?, CString::new(target)?, CString::new(kind)?);
    let flags = if read_only { libc::MS_RDONLY } else { 0 };
    // SAFETY: all three are NUL-terminated strings that outlive the call; no data is passed.
    check(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, std::ptr::null()) })
}

/// Puts the file system's root into a mount of its own, as an initramfs does when it hands over to the real root: in the
/// kernel's own root file system nobody can change his root, as programs do that lock themselves in.
///
/// # Errors
/// The kernel's.
pub fn leave_rootfs() -> io::Result<()> {
    let (root, new) = (c"/", c"/newroot");
    std::fs::create_dir_all("/newroot")?;
    let none = std::ptr::null();
    let flags = libc::MS_BIND | libc::MS_REC;
    // SAFETY: the strings are NUL-terminated and outlive the call; no data is passed.
    check(unsafe { libc::mount(root.as_ptr(), new.as_ptr(), none, flags, none.cast()) })?;
    std::env::set_current_dir("/newroot")?;
    // SAFETY: as above.
    check(unsafe { libc::mount(c".".as_ptr(), root.as_ptr(), none, libc::MS_MOVE, none.cast()) })?;
    // SAFETY: the string is NUL-terminated.
    check(unsafe { libc::chroot(c".".as_ptr()) })?;
    std::env::set_current_dir("/")
}

/// Inserts a kernel module. One that is there already counts as inserted.
///
/// # Errors
/// The kernel's.
pub fn insert_module(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    // SAFETY: finit_module takes a descriptor, a NUL-terminated string and flags.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    match result {
        0 => Ok(()),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            error => Err(error),
        },
    }
}

/// Sets the host name.
///
/// # Errors
/// The kernel's.
pub fn set_hostname(name: &str) -> io::Result<()> {
    // SAFETY: the pointer and length belong to one string.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })
}

/// Writes everything back and takes the machine down. Returns only on failure.
pub fn down(how: Down) -> io::Error {
    let command = match how {
        Down::PowerOff => libc::RB_POWER_OFF,
        Down::Restart => libc::RB_AUTOBOOT,
    };
    // SAFETY: neither call takes a pointer.
    unsafe {
        libc::sync();
        libc::reboot(command);
    }
    io::Error::last_os_error()
}

/// Sends `signal` to a process, or to a process group if `pid` is negative.
///
/// # Errors
/// The kernel's.
pub fn kill(pid: i32, signal: i32) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::kill(pid, signal) })
}

/// Has this process, and those that it starts from now on, ignore `signal`.
///
/// # Errors
/// It cannot be ignored.
pub fn ignore(signal: i32) -> io::Result<()> {
    dispose(signal, libc::SIG_IGN)
}

/// The opposite: it does what it does by itself, whatever this process was started with.
///
/// # Errors
/// There is no such signal.
pub fn heed(signal: i32) -> io::Result<()> {
    dispose(signal, libc::SIG_DFL)
}

fn dispose(signal: i32, how: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: no handler is called.
    let before = unsafe { libc::signal(signal, how) };
    if before == libc::SIG_ERR { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Discards a range of a block device.
///
/// # Errors
/// The kernel's.
pub fn discard(device: &File, offset: u64, length: u64) -> io::Result<()> {
    range_ioctl(device, BLKDISCARD, offset, length)
}

/// Zeroes a range of a block device.
///
/// # Errors
/// The kernel's.
pub fn zero_out(device: &File, offset: u64, length: u64) -> io::Result<()> {
    range_ioctl(device, BLKZEROOUT, offset, length)
}

fn range_ioctl(device: &File, request: libc::Ioctl, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: both requests read two 64-bit numbers from the pointer.
    check(unsafe { libc::ioctl(device.as_raw_fd(), request, range.as_ptr()) })
}

/// The page-aligned start within `buffer` that `O_DIRECT` asks for.
#[must_use]
pub fn aligned(buffer: &mut [u8], length: usize) -> Option<&mut [u8]> {
    let skip = buffer.as_ptr().align_offset(4096);
    buffer.get_mut(skip..skip.checked_add(length)?)
}

/// Writes one byte to an I/O port. Needs root.
///
/// # Errors
/// If the kernel does not give the permission.
pub fn write_port(port: u16, value: u8) -> io::Result<()> {
    // SAFETY: no pointers; grants this thread all ports.
    check(unsafe { libc::iopl(3) })?;
    // SAFETY: the permission is there; a port write touches no memory of this process.
    unsafe { core::arch::asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
    Ok(())
}

/// Makes this thread's network namespace a new one.
///
/// # Errors
/// The kernel's.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::unshare(libc::CLONE_NEWNET) })
}

/// Makes a persistent tap of this name, without an address.
///
/// # Errors
/// The kernel's, or a name that is too long.
pub fn make_tap(name: &str) -> io::Result<()> {
    let tun = File::options().read(true).write(true).open("/dev/net/tun")?;
    let mut request = [0u8; 40];
    let room = request.get_mut(..libc::IFNAMSIZ - 1).and_then(|room| room.get_mut(..name.len()));
    room.ok_or_else(|| io::Error::other("the name is too long"))?.copy_from_slice(name.as_bytes());
    // `struct ifreq` is 40 bytes, its union begins at 16.
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    for (to, from) in request.iter_mut().skip(libc::IFNAMSIZ).zip(flags.to_le_bytes()) {
        *to = from;
    }
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) })?;
    // SAFETY: TUNSETPERSIST takes a number.
    check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETPERSIST, 1) })
}

/// Bytes of `struct fanotify_event_metadata`, and where the process is in it.
const EVENT: usize = 24;
const EVENT_PROCESS: usize = 20;
const EVENT_FILE: usize = 16;

/// A descriptor from which it can be read which processes write to the file `path`, see [`writers`]; reads do not wait. The kernel
/// has 128 of them for each user.
///
/// # Errors
/// The kernel's: it takes root.
pub fn watch_writers(path: &Path) -> io::Result<File> {
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: no pointers.
    let fd =
        unsafe { libc::fanotify_init(libc::FAN_CLOEXEC | libc::FAN_NONBLOCK | libc::FAN_CLASS_NOTIF, 0) };
    check(fd.min(0))?;
    // SAFETY: the call succeeded, so `fd` is open and nobody else's.
    let events = unsafe { File::from_raw_fd(fd) };
    let (add, modify) = (libc::FAN_MARK_ADD, libc::FAN_MODIFY);
    // SAFETY: the path is NUL-terminated and outlives the call.
    check(unsafe { libc::fanotify_mark(events.as_raw_fd(), add, modify, libc::AT_FDCWD, path.as_ptr()) })?;
    Ok(events)
}

/// The processes of what was read from [`watch_writers`], in their order. The descriptors that came with it are closed.
pub fn writers(events: &[u8]) -> Vec<i32> {
    let field =
        |event: &[u8], at: usize| event.get(at..at + 4).and_then(|field| field.first_chunk().copied());
    let mut processes = Vec::new();
    for event in events.chunks_exact(EVENT) {
        if let Some(file) = field(event, EVENT_FILE).map(i32::from_ne_bytes).filter(|file| *file >= 0) {
            // SAFETY: the kernel has opened it for whoever reads the event, which nobody else has.
            drop(unsafe { File::from_raw_fd(file) });
        }
        processes.extend(field(event, EVENT_PROCESS).map(i32::from_ne_bytes));
    }
    processes
}

/// Takes away what is mounted on `target`, at once or when nobody uses it any more.
///
/// # Errors
/// The kernel's, or a name with a NUL in it.
pub fn unmount(target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_encoded_bytes())?;
    // SAFETY: the name is NUL-terminated and outlives the call.
    check(unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) })
}

/// Mounts a file system of so many bytes in memory on `target`.
///
/// # Errors
/// The kernel's, or a name with a NUL in it.
pub fn mount_memory(target: &Path, bytes: u64) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_encoded_bytes())?;
    let size = CString::new(format!("size={bytes}"))?;
    let kind = c"tmpfs".as_ptr();
    // SAFETY: all are NUL-terminated strings that outlive the call.
    check(unsafe { libc::mount(kind, target.as_ptr(), kind, 0, size.as_ptr().cast()) })
}
