//! A snapshot for machines of other hosts.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use block::ops::data_pieces;
use devices::{chain, say};

use super::SnapshotError;
use super::directory::{Snapshot, name};
use super::restore::ancestors;
use super::shelf::{SnapshotShelf, serve_and_learn};
use crate::demand::{Connection, PATIENCE};
use crate::migration::transport::{Caller, Callers, Listener, Place, Stream};
use crate::migration::wire::{FileHead, Message, Part, Reader, Writer};

/// Machines that are served at a time.
const MOST: usize = 32;
/// Time until connections are waited for again when none can be taken.
const RECOVER: Duration = Duration::from_millis(200);
/// How long a new connection may be silent.
const GREETING: Duration = Duration::from_secs(10);
/// Bytes of a file that go at a time.
const STEP: u64 = 1 << 20;

/// What was served so far.
#[derive(Debug, Default)]
pub struct Totals {
    /// Machines that have taken all but their memory.
    machines: AtomicUsize,
    /// Bytes of memory that they have had sent.
    memory: AtomicU64,
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machines, memory) =
            (self.machines.load(Ordering::Relaxed), self.memory.load(Ordering::Relaxed) >> 20);
        write!(f, "{machines} {}, {memory} MiB of memory", if machines == 1 { "machine" } else { "machines" })
    }
}

/// Serves the snapshot at `path` to whoever is let in by `listener`, for as long as the process lives; what is counted of it.
///
/// # Errors
/// It is none, or is damaged, or the host has no thread left.
pub fn serve(path: &Path, listener: Listener) -> Result<Arc<Totals>, SnapshotError> {
    // Opened again for each caller; this one tells early what is wrong.
    let snapshot = Snapshot::open(path)?;
    ancestors(&snapshot)?;
    let path = snapshot.path;
    let totals = Arc::<Totals>::default();
    let desk = Arc::new(Desk {
        path: path.clone(),
        callers: Callers::default(),
        served: AtomicUsize::new(0),
        totals: Arc::clone(&totals),
    });
    let accept = move || {
        let mut is_told = false;
        loop {
            match listener.accept() {
                Ok(caller) => {
                    is_told = false;
                    Desk::admit(&desk, caller);
                }
                // It went before it was looked at, or there are no descriptors left for the moment.
                Err(error) => {
                    if !std::mem::replace(&mut is_told, true) {
                        say!("kubevmm: callers cannot be let in at the moment: {error}");
                    }
                    thread::sleep(RECOVER);
                }
            }
        }
    };
    let thread = thread::Builder::new().name("accept".into()).stack_size(128 << 10).spawn(accept);
    thread.map(|_| totals).map_err(SnapshotError::file("served", &path))
}

/// Where callers are looked at and served.
struct Desk {
    path: PathBuf,
    /// Those that have not said yet what they want.
    callers: Callers,
    /// Machines that are served.
    served: AtomicUsize,
    totals: Arc<Totals>,
}

/// What a caller gets.
enum Goods {
    Files(Snapshot),
    Memory(Snapshot, SnapshotShelf),
}

/// One of the machines that are served, until it is dropped.
struct Served<'a>(&'a AtomicUsize);

impl Desk {
    /// Serves a caller on a thread of its own, unless there are too many.
    fn admit(desk: &Arc<Self>, caller: Caller) {
        let Some(place) = caller.stream().ok().and_then(|stream| desk.callers.enter(stream)) else { return };
        let own = Arc::clone(desk);
        // Without a thread it is sent away.
        let _ = thread::Builder::new().name("caller".into()).stack_size(256 << 10).spawn(move || {
            if let Err(why) = own.hear(caller, place) {
                say!("kubevmm: a caller was not served: {why}");
            }
        });
    }

    /// Gives a caller what it asks for, once it has shown that it is a machine: all but the memory, or the memory.
    fn hear(&self, caller: Caller, place: Place) -> Result<(), String> {
        let lost = |error: std::io::Error| format!("the connection was lost: {error}");
        let stream = caller.greet(Instant::now() + GREETING).map_err(lost)?;
        stream.set_patience(GREETING).map_err(lost)?;
        let mut reader = Reader::new(stream.try_clone().map_err(lost)?);
        let wanted = match reader.read_greeting().map_err(|error| chain(&error))? {
            Message::Fetch(wanted) => wanted,
            _ => return Err("it says what makes no sense".into()),
        };
        stream.set_patience(PATIENCE).map_err(lost)?;
        let mut writer = Writer::new(stream.try_clone().map_err(lost)?);
        let served = Served::enter(&self.served);
        let served = served.ok_or_else(|| refuse(&mut writer, format!("{MOST} are served already")))?;
        // From here on it is not cut for somebody who comes later.
        drop(place);
        let given = self.give(wanted, (reader, writer, stream));
        drop(served);
        given
    }

    /// Gives all but the memory, or the memory.
    fn give(
        &self,
        wanted: Option<String>,
        (reader, mut writer, stream): (Reader<Stream>, Writer<Stream>, Stream),
    ) -> Result<(), String> {
        match self.find(wanted).map_err(|why| refuse(&mut writer, why))? {
            Goods::Files(snapshot) => {
                send_files(&snapshot, &mut writer).map_err(|why| refuse(&mut writer, why))?;
                self.totals.machines.fetch_add(1, Ordering::Relaxed);
            }
            Goods::Memory(snapshot, mut shelf) => {
                let connection = Connection::greeted(reader, writer, stream);
                let connection = connection.map_err(|error| format!("the connection was lost: {error}"))?;
                serve_and_learn(
                    connection,
                    &mut shelf,
                    &snapshot.path,
                    &snapshot.manifest.id,
                    &mut |bytes| {
                        self.totals.memory.fetch_add(bytes, Ordering::Relaxed);
                    },
                );
            }
        }
        Ok(())
    }

    /// All but the memory, or the memory of the snapshot with this identifier.
    fn find(&self, wanted: Option<String>) -> Result<Goods, String> {
        let snapshot = Snapshot::open(&self.path).map_err(|error| chain(&error))?;
        match wanted {
            None => Ok(Goods::Files(snapshot)),
            Some(id) if id != snapshot.manifest.id => Err("another snapshot is served here".to_owned()),
            Some(_) => {
                let shelf = SnapshotShelf::open(&snapshot).map_err(|error| chain(&error))?;
                Ok(Goods::Memory(snapshot, shelf))
            }
        }
    }
}

/// Tells a caller why it gets nothing, or nothing more: without that it would call again and never know.
fn refuse(writer: &mut Writer<Stream>, why: String) -> String {
    // If it does not arrive, the connection's end says the same.
    let _ = writer.write(&Message::Failed(why.clone()));
    why
}

impl<'a> Served<'a> {
    /// `None` if there are too many.
    fn enter(count: &'a AtomicUsize) -> Option<Self> {
        // Counted before it is looked at, so that of two at once one is too many.
        let served = Self(count);
        (count.fetch_add(1, Ordering::AcqRel) < MOST).then_some(served)
    }
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Sends all files but those of the memory.
fn send_files(snapshot: &Snapshot, writer: &mut Writer<Stream>) -> Result<(), String> {
    let names = std::iter::once(name::SUMS).chain(snapshot.sums.all().iter().map(|sum| sum.name.as_str()));
    for name in names.filter(|name| !is_memory(name)) {
        send_file(&snapshot.path.join(name), name, writer)?;
    }
    writer.write(&Message::Complete).map_err(|error| chain(&error))
}

fn send_file(path: &PathBuf, name: &str, writer: &mut Writer<Stream>) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{} could not be read: {error}", path.display());
    let file = File::open(path).map_err(fail)?;
    let bytes = file.metadata().map_err(fail)?.len();
    let mut say = |message: &Message| writer.write(message).map_err(|error| chain(&error));
    say(&Message::File(FileHead { name: name.to_owned(), bytes }))?;
    for piece in data_pieces(&file, bytes).map_err(fail)? {
        let mut offset = piece.start;
        while offset < piece.end {
            let length = STEP.min(piece.end - offset);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
            file.read_exact_at(&mut bytes, offset).map_err(fail)?;
            say(&Message::Part(Part { offset, bytes }))?;
            offset += length;
        }
    }
    Ok(())
}

/// Whether this file has to do with memory alone, which comes on demand.
pub(super) fn is_memory(name: &str) -> bool {
    [name::MEMORY, name::INDEX].contains(&name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use net::socket;

    use super::*;
    use crate::migration::transport::{Address, Gate, Protection, Route};
    use crate::snapshot::fetch::fetch;
    use crate::snapshot::unpack;

    const SNAPSHOT: &[u8] = include_bytes!("golden/format-1.tar");

    #[test]
    fn those_who_say_nothing_do_not_keep_machines_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = unpack(SNAPSHOT, &folder.path().join("one")).unwrap();
        let socket = folder.path().join("socket");
        let address = Address::Unix(socket.clone());
        let gate = Gate::new(address.clone(), &Protection::default()).unwrap();
        let totals = serve(&path, gate.listen().unwrap()).unwrap();
        assert_eq!(totals.to_string(), "0 machines, 0 MiB of memory");
        let silent: Vec<_> = (0..2 * MOST).map(|_| socket::connect(&socket).unwrap()).collect();
        let route = Route::new(address, &Protection::default()).unwrap();
        // Those that were cut for others take a moment to go.
        let comes = (0..600).any(|attempt| {
            thread::sleep(Duration::from_millis(100));
            fetch(&route, &folder.path().join(format!("into-{attempt}"))).is_ok()
        });
        assert!(comes, "it is kept out");
        let begun = Instant::now();
        while totals.to_string() != "1 machine, 0 MiB of memory" {
            assert!(begun.elapsed() < Duration::from_secs(60), "{totals}");
            thread::sleep(Duration::from_millis(10));
        }
        drop(silent);
    }

    /// What is said to somebody who calls for the memory of this snapshot, and the connection.
    fn called(socket: &Path, id: &str) -> (Message, UnixStream) {
        let stream = socket::connect(socket).unwrap();
        Writer::new(stream.try_clone().unwrap()).write(&Message::Fetch(Some(id.into()))).unwrap();
        (Reader::new(stream.try_clone().unwrap()).read().unwrap(), stream)
    }

    #[test]
    fn who_gets_nothing_is_told_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = unpack(SNAPSHOT, &folder.path().join("one")).unwrap();
        let id = Snapshot::open(&path).unwrap().manifest.id;
        let socket = folder.path().join("socket");
        let gate = Gate::new(Address::Unix(socket.clone()), &Protection::default()).unwrap();
        serve(&path, gate.listen().unwrap()).unwrap();
        let served: Vec<_> = (0..MOST).map(|_| called(&socket, &id)).collect();
        assert!(served.iter().all(|(said, _)| matches!(said, Message::Holds(_))));
        let is_refused = |id: &str, word: &str| {
            let said = called(&socket, id).0;
            assert!(matches!(&said, Message::Failed(why) if why.contains(word)), "{said:?} has no {word:?}");
        };
        is_refused(&id, "32 are served already");
        drop(served);
        let begun = Instant::now();
        while matches!(called(&socket, "other").0, Message::Failed(why) if why.contains("already")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "those that have gone are served for ever");
            thread::sleep(Duration::from_millis(10));
        }
        is_refused("other", "another snapshot");
        File::options().write(true).open(path.join(name::INDEX)).unwrap().write_all_at(b"x", 0).unwrap();
        is_refused(&id, "damaged");
    }

    #[test]
    fn no_more_machines_are_served_than_there_is_room_for() {
        let count = AtomicUsize::new(0);
        let served: Vec<_> = (0..MOST).map(|_| Served::enter(&count).unwrap()).collect();
        assert!(Served::enter(&count).is_none());
        drop(served);
        assert!(Served::enter(&count).is_some());
        assert_eq!(count.load(Ordering::Acquire), 0);
    }
}
