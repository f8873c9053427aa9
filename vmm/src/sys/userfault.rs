//! Faults of guest memory, served by this process (userfaultfd(2)).
//!
//! Memory that is registered has whoever touches a page that is not there wait, threads of this process and KVM alike, until the page
//! was put there. Faults come from the kernel too, so that the kind of descriptor that any user may have is of no use.
#![expect(unsafe_code, reason = "userfaultfd has no safe wrapper in our dependencies")]

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use ram::{PAGE, Ram};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion, MemoryRegionAddress};

// linux/userfaultfd.h: numbers of requests, with the length of what they point to.
const IOC_NEW: u32 = 0xaa00;
const IOC_API: u32 = 0xc018_aa3f;
const IOC_REGISTER: u32 = 0xc020_aa00;
const IOC_UNREGISTER: u32 = 0x8010_aa01;
const IOC_WAKE: u32 = 0x8010_aa02;
const IOC_COPY: u32 = 0xc028_aa03;
const IOC_ZEROPAGE: u32 = 0xc020_aa04;
/// `UFFD_API`.
const API: u64 = 0xaa;
/// `UFFD_FEATURE_EVENT_REMOVE`: whoever drops pages waits until it was read here that they are to be dropped.
const EVENT_REMOVE: u64 = 1 << 3;
/// `UFFDIO_REGISTER_MODE_MISSING`.
const MISSING: u64 = 1;
/// `UFFD_EVENT_PAGEFAULT` and `UFFD_EVENT_REMOVE`.
const PAGEFAULT: u8 = 0x12;
const REMOVE: u8 = 0x15;

/// `struct uffd_msg`, with the parts of it that are looked at.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    /// Flags of a fault, or where a dropped range begins.
    first: u64,
    /// Address of a fault, or where a dropped range ends.
    second: u64,
    third: u64,
}

/// Guest memory cannot be served by this process.
#[derive(Debug, thiserror::Error)]
pub enum UserfaultError {
    /// The host does not let this process.
    #[error(
        "this process may not serve faults of memory that the kernel touches: give it /dev/userfaultfd or CAP_SYS_PTRACE, or set \
         vm.unprivileged_userfaultfd=1"
    )]
    Forbidden(#[source] io::Error),
    /// The host's kernel cannot do it.
    #[error("the host's kernel does not let processes serve faults of memory (userfaultfd)")]
    Unsupported(#[source] io::Error),
    /// Memory could not be registered.
    #[error("faults of guest memory could not be taken over")]
    Register(#[source] io::Error),
}

/// Something happened to memory that is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryEvent {
    /// Somebody waits for the page at this address.
    Fault(GuestAddress),
    /// Somebody is about to drop pages: they are to read as zeroes.
    Dropped {
        /// Where.
        start: GuestAddress,
        /// How many bytes.
        bytes: u64,
    },
}

/// What came of putting pages into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// So many bytes were put there, at least a page; who waited for them goes on.
    Bytes(usize),
    /// The first page is there already; who waited for any of them goes on, or is heard of again.
    There,
    /// Not now: an event has to be read first.
    NotNow,
}

/// A descriptor by which this process serves faults. When it is closed, memory is as any other.
#[derive(Debug)]
pub struct Userfault(OwnedFd);

impl Userfault {
    /// Opens one.
    ///
    /// # Errors
    /// The host does not allow it, or cannot.
    pub fn open() -> Result<Self, UserfaultError> {
        let fd = open_device().or_else(|_| open_call()).map_err(|error| match error.raw_os_error() {
            Some(libc::EPERM | libc::EACCES) => UserfaultError::Forbidden(error),
            _ => UserfaultError::Unsupported(error),
        })?;
        let this = Self(fd);
        let mut api = [API, EVENT_REMOVE, 0];
        this.request(IOC_API, &mut api).map_err(UserfaultError::Unsupported)?;
        Ok(this)
    }

    /// Has faults of `bytes` of memory from `start` on come here; both are multiples of a page.
    ///
    /// # Errors
    /// The range is not in one region of memory, or the host refuses.
    pub fn register(&self, ram: &Ram, start: GuestAddress, bytes: u64) -> Result<(), UserfaultError> {
        let host = host(ram, start, bytes).map_err(UserfaultError::Register)?;
        self.request(IOC_REGISTER, &mut [host, bytes, MISSING, 0]).map_err(UserfaultError::Register)
    }

    /// The opposite. Who waits there finds what there is, or zeroes.
    ///
    /// # Errors
    /// As [`Userfault::register`].
    pub fn unregister(&self, ram: &Ram, start: GuestAddress, bytes: u64) -> io::Result<()> {
        self.request(IOC_UNREGISTER, &mut [host(ram, start, bytes)?, bytes])
    }

    /// The next event, if there is one. It does not wait.
    ///
    /// # Errors
    /// The descriptor is of no use any more.
    pub fn next(&self, ram: &Ram) -> io::Result<Option<MemoryEvent>> {
        loop {
            let mut message = Message::default();
            let size = size_of::<Message>();
            // SAFETY: `message` has `size` bytes, and any bytes are a valid value of its type.
            let read = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut message).cast(), size) };
            if read < 0 {
                let error = io::Error::last_os_error();
                return match error.kind() {
                    io::ErrorKind::WouldBlock => Ok(None),
                    io::ErrorKind::Interrupted => continue,
                    _ => Err(error),
                };
            }
            if let Some(event) = event(ram, &message) {
                return Ok(Some(event));
            }
        }
    }

    /// Puts whole pages into memory that is registered, where there is nothing yet, all at once as others see it. Where memory is in huge
    /// pages, these are the pages.
    ///
    /// # Errors
    /// The range is not in one region of memory, or the host has no memory left.
    pub fn copy(&self, ram: &Ram, start: GuestAddress, bytes: &[u8]) -> io::Result<Placed> {
        let length = bytes.len() as u64;
        let mut request = [host(ram, start, length)?, bytes.as_ptr() as u64, length, 0, 0];
        let result = self.request(IOC_COPY, &mut request);
        self.placed(result, request[4], (request[0], length))
    }

    /// The same with zeroes.
    ///
    /// # Errors
    /// As [`Userfault::copy`].
    pub fn zero(&self, ram: &Ram, start: GuestAddress, bytes: u64) -> io::Result<Placed> {
        let mut request = [host(ram, start, bytes)?, bytes, 0, 0];
        let result = self.request(IOC_ZEROPAGE, &mut request);
        self.placed(result, request[3], (request[0], bytes))
    }

    /// Has those go on who wait for these pages: if they are not there, they wait again, and that is a new event.
    ///
    /// # Errors
    /// The range is not in one region of memory, or is not registered.
    pub fn wake(&self, ram: &Ram, start: GuestAddress, bytes: u64) -> io::Result<()> {
        self.request(IOC_WAKE, &mut [host(ram, start, bytes)?, bytes])
    }

    /// What came of it; `done` is what the kernel says of bytes that are there.
    fn placed(&self, result: io::Result<()>, done: u64, (at, bytes): (u64, u64)) -> io::Result<Placed> {
        let error = match result {
            Ok(()) => return Ok(Placed::Bytes(usize::try_from(done).unwrap_or(0))),
            Err(error) => error,
        };
        // A part was done, unless this is an error's number.
        if let Ok(done) = usize::try_from(done.cast_signed())
            && done > 0
        {
            return Ok(Placed::Bytes(done));
        }
        match error.raw_os_error() {
            Some(libc::EEXIST) => {
                self.request(IOC_WAKE, &mut [at, bytes])?;
                Ok(Placed::There)
            }
            Some(libc::EAGAIN) => Ok(Placed::NotNow),
            _ => Err(error),
        }
    }

    fn request<const N: usize>(&self, number: u32, words: &mut [u64; N]) -> io::Result<()> {
        // SAFETY: the callers give each request as many words as the length in its number says. What it changes is guest memory,
        // which is reached through raw pointers alone, and only where nothing is yet.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), number.into(), words.as_mut_ptr()) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl AsRawFd for Userfault {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl AsFd for Userfault {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn flags() -> libc::c_int {
    libc::O_CLOEXEC | libc::O_NONBLOCK
}

fn open_device() -> io::Result<OwnedFd> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/userfaultfd")?;
    // SAFETY: this request takes flags and no pointer.
    take(unsafe { libc::ioctl(device.as_raw_fd(), IOC_NEW.into(), flags()) }.into())
}

fn open_call() -> io::Result<OwnedFd> {
    // SAFETY: this system call takes flags and no pointer.
    take(unsafe { libc::syscall(libc::SYS_userfaultfd, flags()) })
}

fn take(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the kernel has just made it, and nobody else has it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Where this process has a range of guest memory, which has to lie in one region.
fn host(ram: &Ram, start: GuestAddress, bytes: u64) -> io::Result<u64> {
    let outside = || io::Error::from(io::ErrorKind::InvalidInput);
    let region = ram.find_region(start).ok_or_else(outside)?;
    let offset = start.0.wrapping_sub(region.start_addr().0);
    if bytes == 0 || bytes > region.len().saturating_sub(offset) {
        return Err(outside());
    }
    let host = region.get_host_address(MemoryRegionAddress(offset)).map_err(io::Error::other)?;
    Ok(host as u64)
}

/// What a message says, if it is about guest memory.
fn event(ram: &Ram, message: &Message) -> Option<MemoryEvent> {
    let (first, second) = (message.first, message.second);
    match message.event {
        PAGEFAULT => {
            let (start, _) = guest(ram, second & !(PAGE as u64 - 1))?;
            Some(MemoryEvent::Fault(start))
        }
        REMOVE => {
            let (start, room) = guest(ram, first)?;
            Some(MemoryEvent::Dropped { start, bytes: second.saturating_sub(first).min(room) })
        }
        _ => None,
    }
}

/// Where the guest has what this process has at `address`, and how many bytes of its region follow.
fn guest(ram: &Ram, address: u64) -> Option<(GuestAddress, u64)> {
    ram.iter().find_map(|region| {
        let base = region.get_host_address(MemoryRegionAddress(0)).ok()? as u64;
        let offset = address.checked_sub(base).filter(|offset| *offset < region.len())?;
        Some((GuestAddress(region.start_addr().0 + offset), region.len() - offset))
    })
}

/// Whether this process may serve faults; says that the test of this thread is left out if not.
#[cfg(test)]
pub(crate) fn is_allowed() -> bool {
    let why = match Userfault::open() {
        Ok(_) => return true,
        Err(error @ UserfaultError::Forbidden(_)) => error,
        Err(UserfaultError::Unsupported(error)) if error.raw_os_error() == Some(libc::ENOSYS) => {
            UserfaultError::Unsupported(error)
        }
        Err(error) => panic!("{error:?}"),
    };
    super::huge_pool::skipped(&why);
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use vm_memory::Bytes;

    use super::*;
    use crate::sys::memory::discard;
    use crate::sys::poll::wait_until_readable;

    const START: GuestAddress = GuestAddress(0x10_0000);

    fn ram() -> Arc<Ram> {
        Arc::new(Ram::from_ranges(&[(GuestAddress(0), 4 * PAGE), (START, 8 * PAGE)]).unwrap())
    }

    fn next(faults: &Userfault, ram: &Ram) -> MemoryEvent {
        wait_until_readable(faults).unwrap();
        faults.next(ram).unwrap().unwrap()
    }

    #[test]
    fn who_touches_a_page_waits_until_it_is_there() {
        if !is_allowed() {
            return;
        }
        let (ram, faults) = (ram(), Userfault::open().unwrap());
        faults.register(&ram, START, 8 << 12).unwrap();
        assert_eq!(faults.next(&ram).unwrap(), None);
        let reader = {
            let ram = Arc::clone(&ram);
            thread::spawn(move || ram.read_obj::<u64>(GuestAddress(START.0 + 0x1ff8)).unwrap())
        };
        assert_eq!(next(&faults, &ram), MemoryEvent::Fault(GuestAddress(START.0 + 0x1000)));
        let pages = [7u8; 2 * PAGE];
        assert_eq!(faults.copy(&ram, START, &pages).unwrap(), Placed::Bytes(2 * PAGE));
        assert_eq!(reader.join().unwrap(), u64::from_le_bytes([7; 8]));
        assert_eq!(faults.copy(&ram, START, &pages).unwrap(), Placed::There);
        let third = GuestAddress(START.0 + 0x2000);
        assert_eq!(faults.zero(&ram, third, 0x3000).unwrap(), Placed::Bytes(3 * PAGE));
        assert_eq!(ram.read_obj::<u64>(third).unwrap(), 0);
        faults.unregister(&ram, START, 8 << 12).unwrap();
        assert_eq!(ram.read_obj::<u64>(GuestAddress(START.0 + 0x7000)).unwrap(), 0);
    }

    #[test]
    fn who_drops_pages_waits_until_that_was_noticed() {
        if !is_allowed() {
            return;
        }
        let (ram, faults) = (ram(), Userfault::open().unwrap());
        faults.register(&ram, START, 8 << 12).unwrap();
        faults.copy(&ram, START, &[7; PAGE]).unwrap();
        let dropper = {
            let ram = Arc::clone(&ram);
            thread::spawn(move || discard(&ram, START, 0x2000).unwrap())
        };
        wait_until_readable(&faults).unwrap();
        assert_eq!(faults.copy(&ram, GuestAddress(START.0 + 0x1000), &[7; PAGE]).unwrap(), Placed::NotNow);
        assert_eq!(next(&faults, &ram), MemoryEvent::Dropped { start: START, bytes: 0x2000 });
        dropper.join().unwrap();
        assert_eq!(faults.zero(&ram, START, 0x2000).unwrap(), Placed::Bytes(2 * PAGE));
        assert_eq!(ram.read_obj::<u8>(START).unwrap(), 0);
    }

    #[test]
    fn ranges_that_are_not_in_one_region_are_refused() {
        if !is_allowed() {
            return;
        }
        let (ram, faults) = (ram(), Userfault::open().unwrap());
        for (start, bytes) in
            [(GuestAddress(0x5000), 0x1000), (START, 0), (START, 9 << 12), (START, u64::MAX)]
        {
            assert!(faults.register(&ram, start, bytes).is_err(), "{start:?} {bytes:#x}");
        }
        assert!(faults.copy(&ram, START, &[0; PAGE]).is_err(), "what is not registered");
    }
}
