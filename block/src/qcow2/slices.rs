//! The pieces of L2 tables that are in memory.
//!
//! Readers take a shared lock for one look-up. A piece is loaded, changed and put away under
//! `loading`, so that none is ever loaded while it is being changed; one that somebody holds, or
//! that has changes which are not in the file yet, stays.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::entry::{Geometry, RawEntry};

/// A piece of an L2 table, at most 4 KiB.
#[derive(Debug)]
pub(super) struct Slice {
    words: Box<[AtomicU64]>,
    used: AtomicU64,
    /// Has changes that are not in the file yet.
    pub(super) dirty: AtomicBool,
}

impl Slice {
    /// From a table's bytes.
    pub(super) fn new(bytes: &[u8]) -> Slice {
        let word = |bytes: &[u8; 8]| AtomicU64::new(u64::from_be_bytes(*bytes));
        let words = bytes.as_chunks::<8>().0.iter().map(word).collect();
        Slice { words, used: AtomicU64::new(0), dirty: AtomicBool::new(false) }
    }

    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.words.get(index)
    }

    /// An entry. Whoever sees a subcluster in the bitmap sees the cluster that it is in.
    pub(super) fn get(&self, geometry: Geometry, index: u64) -> RawEntry {
        let at = usize::try_from(index * geometry.words()).unwrap_or(usize::MAX);
        let load = |at| self.word(at).map_or(0, |word| word.load(Ordering::Acquire));
        if geometry.extended {
            let bitmap = load(at.saturating_add(1));
            RawEntry { word: load(at), bitmap }
        } else {
            RawEntry { word: load(at), bitmap: 0 }
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
        store(at, entry.word);
        if geometry.extended {
            store(at.saturating_add(1), entry.bitmap);
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
    map: RwLock<Map>,
    loading: Mutex<()>,
    /// Advances with every load; a slice remembers when it was last used.
    clock: AtomicU64,
    /// Most slices kept.
    budget: usize,
}

impl Slices {
    pub(super) fn new(budget: usize) -> Slices {
        let map = RwLock::new(Map::default());
        Slices { map, loading: Mutex::new(()), clock: AtomicU64::new(1), budget: budget.max(16) }
    }

    /// A slice that is in memory.
    pub(super) fn get(&self, key: u64) -> Option<Arc<Slice>> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let slice = map.get(&key)?;
        let now = self.clock.load(Ordering::Relaxed);
        if slice.used.load(Ordering::Relaxed) != now {
            slice.used.store(now, Ordering::Relaxed);
        }
        Some(Arc::clone(slice))
    }

    /// A slice, brought into memory if it is not there.
    pub(super) fn load(&self, key: u64, read: impl FnOnce() -> io::Result<Slice>) -> io::Result<Arc<Slice>> {
        let _loading = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slice) = self.get(key) {
            return Ok(slice);
        }
        let slice = Arc::new(read()?);
        slice.used.store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut map = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= self.budget {
            self.evict(&mut map);
        }
        map.insert(key, Arc::clone(&slice));
        Ok(slice)
    }

    /// Puts away the eighth that has not been used for the longest time.
    fn evict(&self, map: &mut Map) {
        let free = |slice: &Arc<Slice>| Arc::strong_count(slice) == 1 && !slice.dirty.load(Ordering::Acquire);
        let mut ages: Vec<u64> = map
            .values()
            .filter(|slice| free(slice))
            .map(|slice| slice.used.load(Ordering::Relaxed))
            .collect();
        let nth = ages.len() / 8;
        if ages.is_empty() {
            return;
        }
        let (_, &mut limit, _) = ages.select_nth_unstable(nth);
        map.retain(|_, slice| !free(slice) || slice.used.load(Ordering::Relaxed) > limit);
    }

    /// Slices with changes that are not in the file, by key.
    pub(super) fn dirty(&self) -> Vec<(u64, Arc<Slice>)> {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let dirty = map.iter().filter(|(_, slice)| slice.dirty.load(Ordering::Acquire));
        let mut dirty: Vec<_> = dirty.map(|(key, slice)| (*key, Arc::clone(slice))).collect();
        dirty.sort_unstable_by_key(|(key, _)| *key);
        dirty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_holds_and_dirty_slices_stay() {
        let slices = Slices::new(16);
        let load = |key: u64| slices.load(key, || Ok(Slice::new(&key.to_be_bytes()))).unwrap();
        let geometry = Geometry { version: 3, cluster_bits: 16, extended: false };
        load(0).set(geometry, 0, RawEntry { word: 7, bitmap: 0 });
        for key in 1..1000 {
            assert_eq!(load(key).get(geometry, 0).word, key);
        }
        assert!(slices.map.read().unwrap().len() <= 16);
        assert_eq!(slices.get(0).unwrap().get(geometry, 0).word, 7);
        assert_eq!(slices.dirty().len(), 1);
    }
}
