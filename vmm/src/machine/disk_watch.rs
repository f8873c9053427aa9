//! Noticing disks that have another size, without waking up for nothing and without waiting for storage that hangs.
//!
//! The first change of a file is told by inotify. Guests change their own files all the time, so what follows within a
//! few seconds is looked at together, and only then is the next change asked for. Devices, and files that other hosts
//! may change, tell nothing; they are looked at from time to time.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vmm_sys_util::timerfd::TimerFd;

use super::disks::DiskHandle;
use crate::plan::{DevicePlan, DiskSource, Function, Plan, Storage};
use crate::state::{Event, Mailbox};
use crate::sys::inotify::{Inotify, is_shared};

/// From the first change of a file to a look at its size.
const AFTER_CHANGE: Duration = Duration::from_secs(5);
/// Between looks at disks that tell nothing.
const UNTOLD: Duration = Duration::from_secs(15);

/// The disks of a machine as far as their sizes may change.
pub(super) struct DiskWatch {
    shared: Arc<Shared>,
    timer: TimerFd,
    mailbox: Mailbox,
    /// A look is under way.
    looking: bool,
}

struct Shared {
    inotify: Inotify,
    disks: Mutex<Vec<Watched>>,
}

/// A disk and the storage that tells of its changes, if any does.
#[derive(Clone)]
struct Watched {
    disk: DiskHandle,
    path: PathBuf,
    is_device: bool,
}

impl DiskWatch {
    /// Watches those of `disks` whose storage in `plan` may change its size, from the first look on.
    pub(super) fn new(plan: &Plan, disks: &[DiskHandle], mailbox: Mailbox) -> io::Result<Self> {
        let watched = disks.iter().filter_map(|disk| {
            let function = plan.functions.iter().find(|function| function.name == disk.name())?;
            let (path, is_device) = storage(&function.device)?;
            Some(Watched { disk: disk.clone(), path, is_device })
        });
        let shared = Shared { inotify: Inotify::new()?, disks: Mutex::new(watched.collect()) };
        let mut watch = Self { shared: Arc::new(shared), timer: TimerFd::new()?, mailbox, looking: false };
        watch.look();
        Ok(watch)
    }

    /// Watches a disk that was added, too.
    pub(super) fn add(&mut self, planned: &Function, disk: &DiskHandle) {
        let Some((path, is_device)) = storage(&planned.device) else { return };
        self.shared.disks().push(Watched { disk: disk.clone(), path, is_device });
        self.look();
    }

    /// Watches a disk no more, which is gone.
    pub(super) fn forget(&mut self, name: &str) {
        self.shared.disks().retain(|watched| watched.disk.name() != name);
    }

    /// Readable when a file was changed: then [`DiskWatch::changed`].
    pub(super) fn changes(&self) -> RawFd {
        self.shared.inotify.as_raw_fd()
    }

    /// Readable when it is time for [`DiskWatch::look`].
    pub(super) fn timer(&self) -> RawFd {
        self.timer.as_raw_fd()
    }

    /// Notes that a file was changed.
    pub(super) fn changed(&mut self) {
        self.shared.inotify.forget();
        self.look_in(AFTER_CHANGE);
    }

    /// Looks at all disks and asks for their next changes, on a thread that may wait for storage as long as it likes.
    /// [`Event::DisksLooked`] says when it is through.
    pub(super) fn look(&mut self) {
        // Setting the timer again, or to nothing, also takes back that it had fired.
        if self.looking {
            return self.look_in(AFTER_CHANGE);
        }
        let _ = self.timer.clear();
        if self.shared.disks().is_empty() {
            return;
        }
        let (shared, mailbox) = (Arc::clone(&self.shared), self.mailbox.clone());
        let thread = std::thread::Builder::new().name("look".into()).stack_size(128 << 10);
        let spawned = thread.spawn(move || {
            let again = shared.look();
            mailbox.post(Event::DisksLooked { again });
        });
        self.looking = spawned.is_ok();
        if !self.looking {
            self.look_in(UNTOLD);
        }
    }

    /// A look is through; `again` if there are disks that tell nothing.
    pub(super) fn looked(&mut self, again: bool) {
        self.looking = false;
        if again {
            self.look_in(UNTOLD);
        }
    }

    fn look_in(&mut self, time: Duration) {
        // Fails for no valid time; without it sizes are not noticed, no more.
        let _ = self.timer.reset(time, None);
    }
}

impl Shared {
    fn disks(&self) -> std::sync::MutexGuard<'_, Vec<Watched>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at all disks; whether some of them tell nothing by themselves.
    fn look(&self) -> bool {
        let mut again = false;
        // Storage may hang, and the machine's owner is not to wait for it with the list.
        let all = self.disks().clone();
        for watched in all {
            if !self.watches(&watched.disk) {
                continue;
            }
            // Asked for before the look, so that no change falls in between.
            let is_told = !watched.is_device && self.inotify.tell_once(&watched.path).is_ok();
            again |= !is_told || is_shared(&watched.path);
            watched.disk.look();
        }
        again
    }

    /// Whether a disk has not gone meanwhile.
    fn watches(&self, disk: &DiskHandle) -> bool {
        self.disks().iter().any(|watched| watched.disk.name() == disk.name())
    }
}

/// Where a disk's bytes are, and whether that is a device; `None` where nobody else changes them.
fn storage(device: &DevicePlan) -> Option<(PathBuf, bool)> {
    let DevicePlan::Disk(disk) = device else { return None };
    let DiskSource::Storage(storage) = &disk.source else { return None };
    Some(match storage {
        Storage::Raw(path) | Storage::Qcow2(path) | Storage::RawOrNew { path, .. } => (path.clone(), false),
        Storage::Device(path) => (path.clone(), true),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc::{self, Receiver, Sender};
    use std::thread;

    use block::{Disk, DiskError, DiskInfo, DiskQueue};
    use devices::io_thread::IoThread;
    use devices::virtio::blk::{BlkConfig, BlkDevice};

    use super::*;
    use crate::snapshot::Manifest;

    /// A disk on storage that hangs when it is looked at, until it is told to go on.
    #[derive(Debug)]
    struct Hanging {
        looks: Arc<AtomicU32>,
        begun: Mutex<Sender<()>>,
        go: Mutex<Receiver<()>>,
    }

    impl Disk for Hanging {
        fn info(&self) -> DiskInfo {
            DiskInfo {
                size_bytes: 1 << 20,
                logical_block_size: 512,
                physical_block_size: 512,
                read_only: false,
                discard: None,
                write_zeroes: None,
                rotational: None,
                write_cache: true,
            }
        }

        fn refresh(&self) -> Result<DiskInfo, DiskError> {
            self.looks.fetch_add(1, Ordering::SeqCst);
            self.begun.lock().unwrap().send(()).unwrap();
            let _ = self.go.lock().unwrap().recv();
            Ok(self.info())
        }

        fn open_queue(&self, _: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
            Err(DiskError::InUse { path: PathBuf::new() })
        }

        fn sync(&self) -> Result<(), DiskError> {
            Ok(())
        }
    }

    fn watched(name: &str, disk: Hanging) -> Watched {
        let manifest: Manifest =
            serde_json::from_str(include_str!("../snapshot/golden/snapshot-v1.json")).unwrap();
        let mut function = manifest.plan.functions[0].clone();
        function.name = name.to_owned();
        // It serves nothing.
        let thread = IoThread::spawn("io", || ()).unwrap().handle();
        let device = BlkDevice::new(Arc::new(disk), BlkConfig::default(), thread);
        Watched { disk: DiskHandle::new(&function, device.handle()), path: PathBuf::new(), is_device: true }
    }

    #[test]
    fn nobody_waits_for_storage_that_hangs_to_have_another_disk_watched_or_forgotten() {
        let (begun, begins) = mpsc::channel();
        let (looks, mut waits) = ([(); 2].map(|()| Arc::<AtomicU32>::default()), Vec::new());
        let disks = ["one", "two"].into_iter().zip(&looks).map(|(name, looks)| {
            let (go, wait) = mpsc::channel();
            waits.push(go);
            let begun = Mutex::new(begun.clone());
            watched(name, Hanging { looks: Arc::clone(looks), begun, go: Mutex::new(wait) })
        });
        let disks = Mutex::new(disks.collect());
        let shared = Arc::new(Shared { inotify: Inotify::new().unwrap(), disks });
        let look = thread::spawn({
            let shared = Arc::clone(&shared);
            move || shared.look()
        });
        begins.recv().unwrap();
        let mut list = shared.disks.try_lock().expect("the list is held while storage hangs");
        list.retain(|watched| watched.disk.name() != "two");
        drop(list);
        waits.clear();
        assert!(look.join().unwrap(), "devices tell nothing");
        let seen = looks.each_ref().map(|looks| looks.load(Ordering::SeqCst));
        assert_eq!(seen, [1, 0], "what is gone is not looked at");
    }
}
