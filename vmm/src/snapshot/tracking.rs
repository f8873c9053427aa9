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
        *self.tracked() = Some(Tracked { snapshot, reader });
    }

    /// Who knows what was written since this snapshot; nobody knows it any more, then.
    pub fn take(&self, snapshot: &str) -> Option<DirtyReader> {
        let mut tracked = self.tracked();
        let fits = tracked.as_ref().is_some_and(|tracked| tracked.snapshot == snapshot);
        fits.then(|| tracked.take()).flatten().map(|tracked| tracked.reader)
    }

    /// Nobody wants to know any more.
    pub fn forget(&self) {
        *self.tracked() = None;
    }

    fn tracked(&self) -> MutexGuard<'_, Option<Tracked>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
