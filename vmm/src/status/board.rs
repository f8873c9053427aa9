//! Where everyone can see how the machine is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use spec::api::VirtualMachineInstance;
use vmm_sys_util::eventfd::EventFd;

use super::{Change, EventRecord, PublishedMigration};
use crate::migration::source::Progress;

/// Versions that are kept, so that a watch shows phases that did not last.
const VERSIONS: usize = 16;
/// Changes of migrations that are kept.
const CHANGES: usize = 64;
/// Events that are kept.
const EVENTS: usize = 256;

/// The machine as it was from one change of its status to the next.
#[derive(Debug)]
pub struct Published {
    /// Its resource version, which only grows: over restarts of the process, too, unless the clock is set back.
    pub version: u64,
    /// The object.
    pub vmi: VirtualMachineInstance,
    /// The same as JSON.
    pub text: Arc<str>,
    /// How far the last migration is, or was.
    pub progress: Option<Progress>,
}

/// A board that one thread writes on and all can read. Clones are the same board.
#[derive(Clone, Debug)]
pub struct Board(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// Never empty.
    current: Arc<Published>,
    before: VecDeque<Arc<Published>>,
    events: VecDeque<Arc<EventRecord>>,
    /// Migrations that are there, the oldest first.
    migrations: Vec<Arc<PublishedMigration>>,
    changes: VecDeque<Arc<PublishedMigration>>,
    watchers: Vec<Weak<Watcher>>,
}

#[derive(Debug)]
struct Watcher(Arc<EventFd>);

/// A wish to be woken at every change; it ends when this is dropped.
#[derive(Debug)]
pub struct Subscription {
    _watcher: Arc<Watcher>,
}

impl Board {
    /// A board that shows `first`.
    pub(super) fn new(first: Published) -> Self {
        let inner = Inner {
            current: Arc::new(first),
            before: VecDeque::new(),
            events: VecDeque::new(),
            migrations: Vec::new(),
            changes: VecDeque::new(),
            watchers: Vec::new(),
        };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// The machine as it is.
    pub fn current(&self) -> Arc<Published> {
        Arc::clone(&self.inner().current)
    }

    /// The machine as it was after `version`, oldest first: the last 16 versions at most.
    pub fn since(&self, version: u64) -> Vec<Arc<Published>> {
        let inner = self.inner();
        let all = inner.before.iter().chain([&inner.current]);
        all.filter(|published| published.version > version).cloned().collect()
    }

    /// Events whose number is greater than `after`, oldest first: the last 256 at most.
    pub fn events(&self, after: u64) -> Vec<Arc<EventRecord>> {
        let inner = self.inner();
        inner.events.iter().filter(|event| event.number > after).cloned().collect()
    }

    /// Migrations of the machine as they are, the oldest first.
    pub fn migrations(&self) -> Vec<Arc<PublishedMigration>> {
        self.inner().migrations.clone()
    }

    /// What came of migrations after `version`, oldest first: the last 64 changes at most.
    pub fn migrations_since(&self, version: u64) -> Vec<Arc<PublishedMigration>> {
        self.inner().changes.iter().filter(|change| change.version > version).cloned().collect()
    }

    /// Writes to `wake` whenever there is a new version or event.
    pub fn watch(&self, wake: Arc<EventFd>) -> Subscription {
        let watcher = Arc::new(Watcher(wake));
        let mut inner = self.inner();
        inner.watchers.retain(|watcher| watcher.strong_count() > 0);
        inner.watchers.push(Arc::downgrade(&watcher));
        Subscription { _watcher: watcher }
    }

    pub(super) fn publish(&self, published: Published) {
        let mut inner = self.inner();
        let before = std::mem::replace(&mut inner.current, Arc::new(published));
        keep(&mut inner.before, before, VERSIONS - 1);
        inner.wake();
    }

    pub(super) fn show_migration(&self, news: Arc<PublishedMigration>) {
        let mut inner = self.inner();
        let name = &news.object.metadata.name;
        let place = inner.migrations.iter().position(|known| known.object.metadata.name == *name);
        match (place, news.change) {
            (Some(place), Change::Deleted) => drop(inner.migrations.remove(place)),
            (None, Change::Deleted) => {}
            (Some(place), _) => {
                if let Some(known) = inner.migrations.get_mut(place) {
                    *known = Arc::clone(&news);
                }
            }
            (None, _) => inner.migrations.push(Arc::clone(&news)),
        }
        keep(&mut inner.changes, news, CHANGES);
        inner.wake();
    }

    pub(super) fn tell(&self, event: Arc<EventRecord>) {
        let mut inner = self.inner();
        keep(&mut inner.events, event, EVENTS);
        inner.wake();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn wake(&self) {
        for watcher in self.watchers.iter().filter_map(Weak::upgrade) {
            // A counter that overflows is one that nobody has read: it is readable all the same. Blocking
            // descriptors would block here, which whoever watches has to know.
            let _ = watcher.0.write(1);
        }
    }
}

fn keep<T>(all: &mut VecDeque<T>, one: T, most: usize) {
    if all.len() == most {
        all.pop_front();
    }
    all.push_back(one);
}
