//! What the driver has set by commands, and how queues learn of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::filter::{Filter, Mac};
use crate::lock;

/// All that commands of the control queue change. Reset makes it new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings {
    /// Hardware address.
    pub(super) mac: Mac,
    /// Queue pairs in use.
    pub(super) active_pairs: u16,
    /// Offloads that the driver asked for, as feature bits; without a command, all that it negotiated.
    pub(super) offloads: Option<u64>,
    /// Frames that it wants.
    pub(super) filter: Filter,
}

impl Settings {
    /// Those of a card that was just reset.
    pub(super) fn new(mac: Mac) -> Self {
        Self { mac, active_pairs: 1, offloads: None, filter: Filter::default() }
    }
}

/// A value that few change and many look at: the others notice by a number that there is a new one.
#[derive(Debug)]
pub(super) struct Shared<T> {
    value: Mutex<Arc<T>>,
    version: AtomicU64,
}

impl<T: Clone> Shared<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(Arc::new(value)), version: AtomicU64::new(0) }
    }

    pub(super) fn get(&self) -> Arc<T> {
        Arc::clone(&lock(&self.value))
    }

    pub(super) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut value = lock(&self.value);
        let result = change(Arc::make_mut(&mut value));
        self.version.fetch_add(1, Ordering::Release);
        result
    }
}

/// The value as one looks at it again and again, without a lock while it is the same.
#[derive(Debug)]
pub(super) struct View<T> {
    value: Arc<T>,
    version: u64,
}

impl<T: Clone> View<T> {
    pub(super) fn new(shared: &Shared<T>) -> Self {
        // The number first: a value that is newer than its number is only fetched once more.
        let version = shared.version.load(Ordering::Acquire);
        Self { value: shared.get(), version }
    }

    pub(super) fn current(&mut self, shared: &Shared<T>) -> &T {
        if shared.version.load(Ordering::Acquire) != self.version {
            *self = Self::new(shared);
        }
        &self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen() {
        let shared = Shared::new(1);
        let mut view = View::new(&shared);
        assert_eq!(*view.current(&shared), 1);
        shared.change(|value| *value = 2);
        assert_eq!((*view.current(&shared), *shared.get()), (2, 2));
    }
}
