//! The memory of a snapshot, served page by page.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use devices::{chain, say};
use ram::PAGE;
use vm_memory::GuestAddress;

use super::SnapshotError;
use super::directory::Snapshot;
use super::layout::Layout;
use super::restore::ancestors;
use super::saved::SavedMemory;
use super::working_set::{self, WorkingSet};
use crate::demand::{Connection, Link, Rest, Service, Shelf, serve};
use crate::dirty::{PageRun, PageSet};
use crate::migration::transport::Stream;

/// A guest that needs nothing new for so long has what it needs at first.
const QUIET: Duration = Duration::from_millis(500);

/// A snapshot with all those that it adds to, open.
pub(super) struct SnapshotShelf {
    layout: Layout,
    /// The last one first.
    layers: Vec<Layer>,
}

struct Layer {
    memory: SavedMemory,
    /// Which extents are as they were written.
    checked: Vec<bool>,
}

impl SnapshotShelf {
    /// Opens the memory of `snapshot`.
    ///
    /// # Errors
    /// Something is missing or damaged.
    pub(super) fn open(snapshot: &Snapshot) -> Result<Self, SnapshotError> {
        let before = ancestors(snapshot)?;
        let layers = std::iter::once(snapshot).chain(&before).map(|snapshot| {
            let memory = snapshot.memory()?;
            let checked = vec![false; memory.index.0.len()];
            Ok(Layer { memory, checked })
        });
        let layers = layers.collect::<Result<_, SnapshotError>>()?;
        Ok(Self { layout: Layout::of(&snapshot.manifest.plan.memory.ram), layers })
    }

    /// How it is served: what was needed first last time goes first. Without that, it is found out.
    pub(super) fn service(directory: &Path, id: &str) -> (Service, bool) {
        let known = working_set::read(directory, id);
        let rest = if known.is_some() { Rest::AtOnce } else { Rest::AfterQuiet(QUIET) };
        let first = known.as_ref().map(WorkingSet::runs).unwrap_or_default();
        (Service { first, rest, ..Service::default() }, known.is_none())
    }
}

impl Shelf for SnapshotShelf {
    fn holds(&mut self) -> Result<PageSet, String> {
        let mut holds = PageSet::of_regions(self.layout.areas());
        for extent in self.layers.iter().flat_map(|layer| &layer.memory.index.0) {
            let mut done = 0;
            while let Some((start, room)) =
                self.layout.address(extent.offset + done).filter(|_| done < extent.bytes())
            {
                let bytes = room.min(extent.bytes() - done);
                holds.insert(PageRun { start, pages: bytes / PAGE as u64 });
                done += bytes;
            }
        }
        Ok(holds)
    }

    fn read(&mut self, start: GuestAddress, page: &mut [u8]) -> Result<(), String> {
        let offset = self.layout.offset(start).ok_or("a page is in no memory")?;
        match self.layers.iter_mut().find_map(|layer| layer.find(offset).map(|number| (layer, number))) {
            Some((layer, number)) => layer.read(number, offset, page),
            // It is in none, so it is zero, as `page` is.
            None => Ok(()),
        }
    }
}

impl Layer {
    /// The number of the extent with the page at `offset`.
    fn find(&self, offset: u64) -> Option<usize> {
        let extents = &self.memory.index.0;
        let behind = extents.partition_point(|extent| extent.offset <= offset);
        let number = behind.checked_sub(1)?;
        extents.get(number).filter(|extent| offset - extent.offset < extent.bytes()).map(|_| number)
    }

    fn read(&mut self, number: usize, offset: u64, page: &mut [u8]) -> Result<(), String> {
        let memory = &self.memory;
        if let (Some(extent), Some(checked)) = (memory.index.0.get(number), self.checked.get_mut(number))
            && !*checked
        {
            memory.check(*extent).map_err(|error| chain(&error))?;
            *checked = true;
        }
        memory.read(page, offset).map_err(|error| chain(&error))
    }
}

/// The way to a snapshot on this host, which is served by a thread of this process.
pub(super) struct LocalLink {
    path: PathBuf,
    id: String,
}

impl LocalLink {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self { path: snapshot.path.clone(), id: snapshot.manifest.id.clone() }
    }

    /// Opens the snapshot, which has to be the same every time.
    fn open(&self) -> Result<SnapshotShelf, String> {
        let snapshot = Snapshot::open(&self.path).map_err(|error| chain(&error))?;
        if snapshot.manifest.id != self.id {
            return Err(format!("{} is another snapshot now", self.path.display()));
        }
        SnapshotShelf::open(&snapshot).map_err(|error| chain(&error))
    }
}

impl Link for LocalLink {
    fn connect(&mut self) -> Result<Connection, String> {
        let fail = |error: std::io::Error| format!("the host has nothing left to read it with: {error}");
        let mut shelf = self.open()?;
        let (here, there) = UnixStream::pair().map_err(fail)?;
        let there = Connection::new(Stream::Unix(there)).map_err(fail)?;
        let (path, id) = (self.path.clone(), self.id.clone());
        let server = thread::Builder::new().name("snapshot".into()).stack_size(256 << 10);
        let serving = move || serve_and_learn(there, &mut shelf, &path, &id, &mut |_| {});
        server.spawn(serving).map_err(fail)?;
        Connection::new(Stream::Unix(here)).map_err(fail)
    }
}

/// Serves a snapshot, and notes what was needed first if that was not known; `sent` is told of bytes of its memory. What is needed on a
/// later connection of a machine is not what it needed first, and what is noted once is believed for ever.
pub(super) fn serve_and_learn(
    connection: Connection,
    shelf: &mut SnapshotShelf,
    path: &Path,
    id: &str,
    sent: &mut dyn FnMut(u64),
) {
    let (service, is_new) = SnapshotShelf::service(path, id);
    let served = serve(connection, shelf, service, sent);
    if is_new
        && served.ended.is_ok()
        && served.from_start
        && !served.touched.is_empty()
        && let Err(error) = working_set::write(path, id, &served.touched)
    {
        say!("kubevmm: what the guest needs first could not be noted in {}: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::migration::wire::{Message, Reader, Writer};
    use crate::snapshot::unpack;

    const SNAPSHOT: &[u8] = include_bytes!("golden/format-1.tar");

    /// Whether it is noted what a machine needs first that lacks all of its memory, or all but a page, and asks for one, or none.
    fn is_noted(lacks_all: bool, asks: bool) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let snapshot = Snapshot::open(&unpack(SNAPSHOT, &folder.path().join("one")).unwrap()).unwrap();
        let (path, id) = (snapshot.path.clone(), snapshot.manifest.id.clone());
        let (here, there) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = (Reader::new(here.try_clone().unwrap()), Writer::new(here));
        let connection = Connection::new(Stream::Unix(there)).unwrap();
        let server = thread::spawn(move || {
            let mut shelf = SnapshotShelf::open(&snapshot).unwrap();
            serve_and_learn(connection, &mut shelf, &snapshot.path, &snapshot.manifest.id, &mut |_| {});
        });
        let mut page = None;
        loop {
            let Message::Holds(mut piece) = reader.read().unwrap() else { panic!("it says nothing") };
            if page.is_none() && !lacks_all {
                piece.words[0] &= piece.words[0] - 1;
            }
            page = page
                .or(piece.words.first().map(|word| piece.start + (u64::from(word.trailing_zeros()) << 12)));
            let is_last = piece.last;
            writer.write(&Message::Lacks(piece)).unwrap();
            if is_last {
                break;
            }
        }
        if asks {
            writer.write(&Message::Want(vec![page.unwrap()])).unwrap();
            while !matches!(reader.read().unwrap(), Message::Pages(_)) {}
        }
        writer.write(&Message::Complete).unwrap();
        server.join().unwrap();
        working_set::read(&path, &id).is_some()
    }

    #[test]
    fn what_is_needed_first_is_noted_of_machines_that_have_nothing_yet() {
        assert!(is_noted(true, true));
        assert!(!is_noted(false, true), "it came back after a connection was lost");
        assert!(!is_noted(true, false), "it has needed nothing");
    }
}
