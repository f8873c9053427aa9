//! What a machine has written since a snapshot was taken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dirty::DirtyReader;

/// Knows which pages were written since a snapshot, so that the next one needs no others. It belongs to one memory; clones
/// are the same.
#[derive(Clone, Debug, Default)]
pub struct Tracking(Arc<Mutex<Option<Tracked>>>);

#[derive(Debug)]
struct Tracked {
    snapshot: String,
    reader: DirtyReader,
}

impl Tracking {
    /// What `reader` gets was written since the snapshot with this identifier.
    pub fn begin(&self, snapshot: String, reader: DirtyReader) {
        let before = self.tracked().replace(Tracked { snapshot, reader });
        // It may take long, and nobody is to wait for it.
        drop(before);
    }

    /// Whether somebody knows what was written since this snapshot.
    pub fn knows_since(&self, snapshot: &str) -> bool {
        self.tracked().as_ref().is_some_and(|tracked| tracked.snapshot == snapshot)
    }

    /// Who knows what was written since this snapshot; nobody knows it any more, then.
    pub fn take(&self, snapshot: &str) -> Option<DirtyReader> {
        let mut tracked = self.tracked();
        let fits = tracked.as_ref().is_some_and(|tracked| tracked.snapshot == snapshot);
        fits.then(|| tracked.take()).flatten().map(|tracked| tracked.reader)
    }

    /// Nobody wants to know any more.
    pub fn forget(&self) {
        let before = self.tracked().take();
        // As above.
        drop(before);
    }

    fn tracked(&self) -> MutexGuard<'_, Option<Tracked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use devices::GuestRam;
    use ram::Ram;
    use vm_memory::GuestAddress;

    use super::*;
    use crate::dirty::testing::log;

    #[test]
    fn nobody_waits_for_a_log_that_takes_long_to_end() {
        let ram: GuestRam = Arc::new(Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap());
        let tracking = Tracking::default();
        let (sender, knows) = mpsc::channel();
        let reader = |name: &'static str| {
            let (asks, sender) = (tracking.clone(), sender.clone());
            log(&ram, move || sender.send(asks.knows_since(name)).unwrap_or_default()).reader().unwrap()
        };
        let (one, two) = (reader("two"), reader("two"));
        let of_thread = tracking.clone();
        thread::spawn(move || {
            of_thread.begin("one".into(), one);
            of_thread.begin("two".into(), two);
            of_thread.forget();
        });
        let soon = Duration::from_secs(60);
        assert_eq!((knows.recv_timeout(soon), knows.recv_timeout(soon)), (Ok(true), Ok(false)));
    }
}
