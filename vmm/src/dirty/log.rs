//! One log of written pages, and those who read it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use devices::GuestRam;

use super::source::{Noting, Source};
use super::{DirtyError, MachinePages, PageSet};

/// The log of one machine. Clones are the same log.
#[derive(Clone, Debug)]
pub struct DirtyLog(Arc<Mutex<Log>>);

#[derive(Debug)]
struct Log {
    source: Box<dyn Source>,
    ram: GuestRam,
    none: PageSet,
    /// What each reader has not taken yet.
    readers: Vec<(u64, PageSet)>,
    next: u64,
    /// Those who write in the kernel, by name.
    others: Vec<(String, Box<dyn Noting>)>,
}

impl DirtyLog {
    /// The log of a machine's memory, which is `ram`.
    pub fn new(pages: MachinePages, ram: &GuestRam) -> Self {
        Self::of(Box::new(pages), ram)
    }

    pub(super) fn of(source: Box<dyn Source>, ram: &GuestRam) -> Self {
        Self(Arc::new(Mutex::new(Log {
            source,
            ram: ram.clone(),
            none: PageSet::none(ram),
            readers: Vec::new(),
            next: 0,
            others: Vec::new(),
        })))
    }

    /// From now on the kernel writes to the memory for the device `name`, too.
    ///
    /// # Errors
    /// Somebody wants to know what is written, and the kernel does not note it.
    pub fn add(&self, name: &str, other: impl Noting + 'static) -> Result<(), DirtyError> {
        let mut log = self.log();
        log.others.retain(|(_, other)| !other.is_over());
        if !log.readers.is_empty() {
            log.begin(name, &other)?;
        }
        log.others.push((name.to_owned(), Box::new(other)));
        Ok(())
    }

    /// A new reader: it gets what is written from now on.
    pub fn reader(&self) -> Result<DirtyReader, DirtyError> {
        let mut log = self.log();
        // What was marked until now is of no interest to the new one.
        if let Err(error) = log.wake().and_then(|()| log.collect()) {
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
    /// Begins the marking if nobody has read until now.
    fn wake(&mut self) -> Result<(), DirtyError> {
        if !self.readers.is_empty() {
            return Ok(());
        }
        self.source.log(true)?;
        self.others.iter().try_for_each(|(name, other)| self.begin(name, other.as_ref()))
    }

    fn begin(&self, name: &str, other: &dyn Noting) -> Result<(), DirtyError> {
        other.begin(&self.ram).map_err(|source| DirtyError::Unseen { name: name.to_owned(), source })
    }

    /// Takes new marks for all readers.
    fn collect(&mut self) -> Result<(), DirtyError> {
        self.others.iter().for_each(|(_, other)| other.collect());
        let (pages, outcome) = match self.source.take() {
            Ok(pages) => (pages, Ok(())),
            // Marks may have been taken and lost: then nobody knows what was written.
            Err(error) => (PageSet::all(&self.ram), Err(error)),
        };
        self.readers.iter_mut().for_each(|(_, theirs)| theirs.add(&pages));
        outcome
    }

    /// Ends the marking if nobody reads.
    fn rest(&mut self) {
        if self.readers.is_empty() {
            // If it fails, marks cost a little and do no harm.
            self.others.iter().for_each(|(_, other)| drop(other.end()));
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
#[path = "log_tests.rs"]
mod tests;
