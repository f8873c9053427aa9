//! One log of written pages, and those who read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::GuestRam;

use super::source::Source;
use super::{DirtyError, MachinePages, PageSet};

/// The log of one machine. Clones are the same log.
#[derive(Clone, Debug)]
pub struct DirtyLog(Arc<Mutex<Log>>);

#[derive(Debug)]
struct Log {
    source: Box<dyn Source>,
    none: PageSet,
    /// What each reader has not taken yet.
    readers: Vec<(u64, PageSet)>,
    next: u64,
    /// Somebody writes unseen: any page may have been written.
    unseen: Option<PageSet>,
}

impl DirtyLog {
    /// The log of a machine's memory, which is `ram`.
    pub fn new(pages: MachinePages, ram: &GuestRam) -> Self {
        Self::of(Box::new(pages), PageSet::none(ram))
    }

    /// From now on there is somebody who writes to `ram` without marking what: the kernel, for a card that it serves. All pages
    /// count as written then.
    pub fn trust_nobody(&self, ram: &GuestRam) {
        self.log().unseen = Some(PageSet::all(ram));
    }

    fn of(source: Box<dyn Source>, none: PageSet) -> Self {
        Self(Arc::new(Mutex::new(Log { source, none, readers: Vec::new(), next: 0, unseen: None })))
    }

    /// A new reader: it gets what is written from now on.
    pub fn reader(&self) -> Result<DirtyReader, DirtyError> {
        let mut log = self.log();
        if log.readers.is_empty() {
            log.source.log(true)?;
        }
        // What was marked until now is of no interest to the new one.
        if let Err(error) = log.collect() {
            log.rest();
            return Err(error);
        }
        let id = log.next;
        log.next += 1;
        let none = log.none.clone();
        log.readers.push((id, none));
        Ok(DirtyReader { log: self.clone(), id })
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log {
    /// Takes new marks for all readers.
    fn collect(&mut self) -> Result<(), DirtyError> {
        let pages = self.source.take()?;
        self.readers.iter_mut().for_each(|(_, theirs)| theirs.add(&pages));
        Ok(())
    }

    /// Ends the marking if nobody reads.
    fn rest(&mut self) {
        if self.readers.is_empty() {
            // If it fails, marks cost a little and do no harm.
            let _ = self.source.log(false);
        }
    }
}

/// Somebody who wants to know which pages were written. When the last one is gone, nobody marks pages any more.
#[derive(Debug)]
pub struct DirtyReader {
    log: DirtyLog,
    id: u64,
}

impl DirtyReader {
    /// The pages that were written since the reader was made, or since the last call. A page that is being written meanwhile is in
    /// this set or in the next one; who reads a page after this call and finds it in no later set has its last contents.
    pub fn take(&mut self) -> Result<PageSet, DirtyError> {
        let mut log = self.log.log();
        log.collect()?;
        if let Some(all) = &log.unseen {
            return Ok(all.clone());
        }
        let none = log.none.clone();
        let mine = log.readers.iter_mut().find(|(id, _)| *id == self.id);
        Ok(mine.map_or_else(|| none.clone(), |(_, pages)| std::mem::replace(pages, none.clone())))
    }
}

impl Drop for DirtyReader {
    fn drop(&mut self) {
        let mut log = self.log.log();
        log.readers.retain(|(id, _)| *id != self.id);
        log.rest();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use ram::Ram;
    use vm_memory::GuestAddress;

    use super::*;

    #[derive(Clone, Debug)]
    struct Fake {
        ram: GuestRam,
        on: Arc<AtomicBool>,
        written: Arc<AtomicU64>,
    }

    impl Source for Fake {
        fn log(&mut self, on: bool) -> Result<(), DirtyError> {
            self.on.store(on, Ordering::SeqCst);
            Ok(())
        }

        fn take(&mut self) -> Result<PageSet, DirtyError> {
            let mut pages = PageSet::none(&self.ram);
            pages.add_words(0, &[self.written.swap(0, Ordering::SeqCst)]);
            Ok(pages)
        }
    }

    #[test]
    fn each_reader_gets_all_pages_written_since_it_last_asked() {
        let ram = Arc::new(Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap());
        let fake = Fake { ram: ram.clone(), on: Arc::default(), written: Arc::default() };
        let write = |pages| fake.written.fetch_or(pages, Ordering::SeqCst);
        let set = |word| {
            let mut pages = PageSet::none(&ram);
            pages.add_words(0, &[word]);
            pages
        };
        let log = DirtyLog::of(Box::new(fake.clone()), PageSet::none(&ram));
        write(0b1);
        let mut one = log.reader().unwrap();
        assert!(fake.on.load(Ordering::SeqCst));
        write(0b10);
        let mut other = log.reader().unwrap();
        write(0b100);
        assert_eq!(other.take().unwrap(), set(0b100));
        write(0b1000);
        assert_eq!(one.take().unwrap(), set(0b1110));
        assert!(one.take().unwrap().is_empty());
        log.trust_nobody(&ram);
        assert_eq!(one.take().unwrap(), PageSet::all(&ram), "whatever is marked");
        log.log().unseen = None;
        drop(one);
        assert!(fake.on.load(Ordering::SeqCst));
        assert_eq!(other.take().unwrap(), set(0b1000));
        drop(other);
        assert!(!fake.on.load(Ordering::SeqCst));
    }
}
