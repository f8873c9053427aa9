//! Copying the memory of a guest that runs, so that little is left for when it stands still.

use std::io;

use super::SnapshotError;
use super::directory::{NewSnapshot, Snapshot, name};
use super::index::Index;
use super::layout::Layout;
use super::memory::{MemoryWriter, Zeroes};
use crate::dirty::{DirtyReader, PageSet};
use crate::state::Glance;

/// Rounds in which memory is written while the guest runs, at most.
const ROUNDS: u32 = 4;
/// Pages that are few enough to be written while the guest stands still.
const FEW: u64 = 2048;

/// A memory file that is being written.
pub(super) struct MemoryCopy {
    writer: MemoryWriter,
    reader: Option<DirtyReader>,
    /// Pages that are in the file, if it only adds to another one.
    added: Option<PageSet>,
    /// Pages that have to be written still.
    left: PageSet,
    /// Whether the file is still empty.
    is_new: bool,
}

impl MemoryCopy {
    /// Begins the memory file of `new`: with all pages, or with those that were written since `base` was taken.
    pub(super) fn begin(
        new: &NewSnapshot,
        glance: &Glance,
        base: Option<&Snapshot>,
    ) -> Result<Self, SnapshotError> {
        if let Some(base) = base
            && !glance.tracking.knows_since(&base.manifest.id)
        {
            return Err(untracked(base));
        }
        // Before the writes are logged, or are no longer, for which the kernel waits for every vCPU that waits for a page. It is broken off with
        // the machine.
        glance.presence.await_all(&mut |_| false).map_err(SnapshotError::Missing)?;
        let (reader, left) = match base {
            None => (glance.dirty.reader()?, PageSet::touched(&glance.ram)),
            Some(base) => {
                let reader = glance.tracking.take(&base.manifest.id);
                let mut reader = reader.ok_or_else(|| untracked(base))?;
                let left = reader.take()?;
                (reader, left)
            }
        };
        let file = new.file(name::MEMORY)?;
        let writer = MemoryWriter::new(file, Layout::of_ram(&glance.ram), glance.ram.clone());
        let writer = writer.map_err(failed(new))?;
        let added = base.map(|_| PageSet::none(&glance.ram));
        Ok(Self { writer, reader: Some(reader), added, left, is_new: base.is_none() })
    }

    /// Writes while the guest runs, until little is left or the guest is faster.
    pub(super) fn run_ahead(&mut self, new: &NewSnapshot) -> Result<(), SnapshotError> {
        for _ in 0..ROUNDS {
            if self.left.len() <= FEW && !self.is_new {
                break;
            }
            let before = self.left.len();
            self.write(new)?;
            self.left = self.written(new)?;
            if self.left.len() > before / 2 {
                break;
            }
        }
        Ok(())
    }

    /// Writes what is left, while the guest stands still.
    pub(super) fn complete(&mut self, new: &NewSnapshot) -> Result<(), SnapshotError> {
        let last = self.written(new)?;
        self.left.add(&last);
        self.write(new)
    }

    /// Who knows what the guest writes from now on, that the file is complete.
    pub(super) fn take_reader(&mut self) -> Option<DirtyReader> {
        self.reader.take()
    }

    /// What the guest has written since this was asked last.
    fn written(&mut self, new: &NewSnapshot) -> Result<PageSet, SnapshotError> {
        let gone = || failed(new)(io::Error::other("the file is complete already"));
        Ok(self.reader.as_mut().ok_or_else(gone)?.take()?)
    }

    fn write(&mut self, new: &NewSnapshot) -> Result<(), SnapshotError> {
        // Pages of an empty file are zero already; later they may have been written as something else.
        let zeroes = if std::mem::take(&mut self.is_new) { Zeroes::Skip } else { Zeroes::Write };
        if let Some(added) = &mut self.added {
            added.add(&self.left);
        }
        self.writer.write(&self.left, zeroes).map_err(failed(new))
    }

    /// Makes the file durable; gives back its index.
    pub(super) fn finish(self, new: &mut NewSnapshot) -> Result<Index, SnapshotError> {
        let index = match &self.added {
            None => self.writer.index(),
            Some(pages) => self.writer.index_of(pages),
        };
        let index = index.and_then(|index| self.writer.sync().map(|()| index)).map_err(failed(new))?;
        new.note(name::MEMORY, self.writer.bytes(), None);
        new.add(name::INDEX, &index.to_bytes())?;
        Ok(index)
    }
}

fn failed(new: &NewSnapshot) -> impl FnOnce(io::Error) -> SnapshotError + use<> {
    SnapshotError::file("written", &new.place(name::MEMORY))
}

fn untracked(base: &Snapshot) -> SnapshotError {
    SnapshotError::Usage(format!(
        "it is not known what the guest has written since {} was taken: take that one with --track, or a whole one now",
        base.path.display()
    ))
}
