//! The pieces of L2 tables that are in memory.
//!
//! Where all of an image's tables fit the budget, each piece has a place of its own, is loaded once
//! and stays: a look-up takes no lock. Where they do not, readers take a shared lock for one look-up.
//! A piece is loaded, changed and put away under `loading`, so that none is ever loaded while it is
//! being changed; one that somebody holds, or that has changes which are not in the file yet, stays.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use super::entry::{Geometry, RawEntry};

/// A piece of an L2 table, at most 4 KiB.
#[derive(Debug)]
pub(super) struct Slice {
    words: Box<[AtomicU64]>,
    /// Advances when a change of an entry of two words begins, and when it ends: odd meanwhile.
    changes: AtomicU64,
    used: AtomicU64,
    /// Has changes that are not in the file yet.
    pub(super) dirty: AtomicBool,
}

impl Slice {
    /// From a table's bytes.
    pub(super) fn new(bytes: &[u8]) -> Slice {
        let word = |bytes: &[u8; 8]| AtomicU64::new(u64::from_be_bytes(*bytes));
        let words = bytes.as_chunks::<8>().0.iter().map(word).collect();
        Slice { words, changes: AtomicU64::new(0), used: AtomicU64::new(0), dirty: AtomicBool::new(false) }
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.words.get(index)
    }

    /// An entry, never a mixture of an old and a new one.
    pub(super) fn get(&self, geometry: Geometry, index: u64) -> RawEntry {
        let at = usize::try_from(index * geometry.words()).unwrap_or(usize::MAX);
        let load = |at| self.word(at).map_or(0, |word| word.load(Ordering::Acquire));
        if !geometry.extended {
            return RawEntry { word: load(at), bitmap: 0 };
        }
        loop {
            let before = self.changes.load(Ordering::Acquire);
            let entry = RawEntry { word: load(at), bitmap: load(at.saturating_add(1)) };
            if before.is_multiple_of(2) && self.changes.load(Ordering::Acquire) == before {
                return entry;
            }
            // Whoever changes it is about to be done, unless it has no processor.
            std::thread::yield_now();
        }
    }

    /// Changes an entry. Only whoever holds the image's write lock does.
    pub(super) fn set(&self, geometry: Geometry, index: u64, entry: RawEntry) {
        let at = usize::try_from(index * geometry.words()).unwrap_or(usize::MAX);
        let store = |at, value| {
            if let Some(word) = self.word(at) {
                word.store(value, Ordering::Release);
            }
        };
        if geometry.extended {
            self.changes.fetch_add(1, Ordering::AcqRel);
            store(at, entry.word);
            store(at.saturating_add(1), entry.bitmap);
            self.changes.fetch_add(1, Ordering::AcqRel);
        } else {
            store(at, entry.word);
        }
        self.dirty.store(true, Ordering::Release);
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.load(Ordering::Acquire).to_be_bytes()).collect()
    }
}

/// Mixes a slice's number well enough for a hash table; nobody hostile chooses which to collide.
#[derive(Debug, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

type Map = HashMap<u64, Arc<Slice>, BuildHasherDefault<Mix>>;

#[derive(Debug)]
pub(super) struct Slices {
    store: Store,
    loading: Mutex<()>,
    /// Advances with every load; a slice remembers when it was last used.
    clock: AtomicU64,
    /// Most slices kept.
    budget: usize,
}

#[derive(Debug)]
enum Store {
    /// There is room for all of them.
    All(Box<[OnceLock<Arc<Slice>>]>),
    Some(RwLock<Map>),
}

impl Slices {
    /// Room for `budget` of an image's `total` slices.
    pub(super) fn new(budget: usize, total: u64) -> Slices {
        let budget = budget.max(16);
        let store = match usize::try_from(total) {
            Ok(total) if total <= budget => Store::All((0..total).map(|_| OnceLock::new()).collect()),
            _ => Store::Some(RwLock::new(Map::default())),
        };
        Slices { store, loading: Mutex::new(()), clock: AtomicU64::new(1), budget }
    }

    /// What `look` sees in a slice, if that is in memory.
    pub(super) fn peek<R>(&self, key: u64, look: impl FnOnce(&Arc<Slice>) -> R) -> Option<R> {
        match &self.store {
            Store::All(slots) => slots.get(usize::try_from(key).ok()?)?.get().map(look),
            Store::Some(map) => {
                let map = map.read().unwrap_or_else(PoisonError::into_inner);
                let slice = map.get(&key)?;
                let now = self.clock.load(Ordering::Relaxed);
                if slice.used.load(Ordering::Relaxed) != now {
                    slice.used.store(now, Ordering::Relaxed);
                }
                Some(look(slice))
            }
        }
    }

    /// A slice that is in memory.
    pub(super) fn get(&self, key: u64) -> Option<Arc<Slice>> {
        self.peek(key, Arc::clone)
    }

    /// A slice, brought into memory if it is not there.
    pub(super) fn load(&self, key: u64, read: impl FnOnce() -> io::Result<Slice>) -> io::Result<Arc<Slice>> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = self.get(key) {
            return Ok(slice);
        }
        let slice = Arc::new(read()?);
        slice.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        match &self.store {
            Store::All(slots) => {
                let slot = usize::try_from(key).ok().and_then(|key| slots.get(key));
                // Nobody else fills it: that is done under `loading`.
                let _ = slot.ok_or(io::ErrorKind::InvalidInput)?.set(Arc::clone(&slice));
            }
            Store::Some(map) => {
                let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
                if map.len() >= self.budget {
                    evict(&mut map);
                }
                map.insert(key, Arc::clone(&slice));
            }
        }
        Ok(slice)
    }

    /// Slices with changes that are not in the file, by key.
    pub(super) fn dirty(&self) -> Vec<(u64, Arc<Slice>)> {
        let is_dirty = |slice: &Arc<Slice>| slice.dirty.load(Ordering::Acquire);
        match &self.store {
            Store::All(slots) => (0..)
                .zip(slots)
                .filter_map(|(key, slot)| Some((key, slot.get().filter(|slice| is_dirty(slice))?)))
                .map(|(key, slice)| (key, Arc::clone(slice)))
                .collect(),
            Store::Some(map) => {
                let map = map.read().unwrap_or_else(PoisonError::into_inner);
                let dirty = map.iter().filter(|(_, slice)| is_dirty(slice));
                let mut dirty: Vec<_> = dirty.map(|(key, slice)| (*key, Arc::clone(slice))).collect();
                dirty.sort_unstable_by_key(|(key, _)| *key);
                dirty
            }
        }
    }
}

/// Puts away the eighth that has not been used for the longest time.
fn evict(map: &mut Map) {
    let free = |slice: &Arc<Slice>| Arc::strong_count(slice) == 1 && !slice.dirty.load(Ordering::Acquire);
    let free_ones = map.values().filter(|slice| free(slice));
    let mut ages: Vec<u64> = free_ones.map(|slice| slice.used.load(Ordering::Relaxed)).collect();
    let nth = ages.len() / 8;
    if ages.is_empty() {
        return;
    }
    let (_, &mut limit, _) = ages.select_nth_unstable(nth);
    map.retain(|_, slice| !free(slice) || slice.used.load(Ordering::Relaxed) > limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: Geometry = Geometry { version: 3, cluster_bits: 16, extended: false };

    fn load(slices: &Slices, key: u64) -> Arc<Slice> {
        slices.load(key, || Ok(Slice::new(&key.to_be_bytes()))).unwrap()
    }

    #[test]
    fn an_entry_of_two_words_is_never_half_of_each() {
        const EXTENDED: Geometry = Geometry { version: 3, cluster_bits: 16, extended: true };
        const ENTRIES: [RawEntry; 2] = [RawEntry { word: 1, bitmap: 0 }, RawEntry { word: 2, bitmap: 3 }];
        let slice = Slice::new(&[0; 64]);
        slice.set(EXTENDED, 1, ENTRIES[0]);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut turns = 0..;
                while !done.load(Ordering::Acquire) {
                    slice.set(EXTENDED, 1, ENTRIES[turns.next().unwrap() % 2]);
                    (0..20).for_each(|_| std::hint::spin_loop());
                }
            });
            let is_torn = |_: &u32| !ENTRIES.contains(&slice.get(EXTENDED, 1));
            let torn = (0..1_000_000).find(is_torn);
            done.store(true, Ordering::Release);
            assert_eq!(torn, None);
        });
    }

    #[test]
    fn the_budget_holds_and_dirty_slices_stay() {
        let slices = Slices::new(16, 1000);
        load(&slices, 0).set(GEOMETRY, 0, RawEntry { word: 7, bitmap: 0 });
        for key in 1..1000 {
            assert_eq!(load(&slices, key).get(GEOMETRY, 0).word, key);
        }
        let Store::Some(map) = &slices.store else { unreachable!() };
        assert!(map.read().unwrap().len() <= 16);
        assert_eq!(slices.get(0).unwrap().get(GEOMETRY, 0).word, 7);
        assert_eq!(slices.dirty().len(), 1);
    }

    #[test]
    fn where_all_fit_each_is_loaded_once() {
        let slices = Slices::new(16, 16);
        for key in (0..16).chain(0..16) {
            let again = slices.get(key).is_some();
            let slice = slices.load(key, || {
                assert!(!again);
                Ok(Slice::new(&key.to_be_bytes()))
            });
            assert_eq!(slice.unwrap().get(GEOMETRY, 0).word, key);
        }
        assert!(slices.load(16, || Ok(Slice::new(&[0; 8]))).is_err() && slices.get(16).is_none());
        load(&slices, 5).set(GEOMETRY, 0, RawEntry { word: 7, bitmap: 0 });
        load(&slices, 3).set(GEOMETRY, 0, RawEntry { word: 7, bitmap: 0 });
        assert_eq!(slices.dirty().iter().map(|(key, _)| *key).collect::<Vec<_>>(), [3, 5]);
    }
}
