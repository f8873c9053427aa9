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
        for watched in self.disks().iter_mut() {
            // Asked for before the look, so that no change falls in between.
            let is_told = !watched.is_device && self.inotify.tell_once(&watched.path).is_ok();
            again |= !is_told || is_shared(&watched.path);
            watched.disk.look();
        }
        again
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
