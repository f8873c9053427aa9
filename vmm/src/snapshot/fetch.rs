//! A snapshot of another host: its files but for the memory, which comes on demand.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use devices::chain;

use super::SnapshotError;
use super::directory::{NewSnapshot, Snapshot, name};
use super::inspect::check_file;
use super::server::is_memory;
use super::sums::{LONGEST, Sum, Sums};
use crate::demand::{Connection, Link, PATIENCE};
use crate::migration::transport::{Route, Stream};
use crate::migration::wire::{FileHead, Message, Part, Reader, Writer};

/// Has the snapshot at the end of `route` come into the directory `into`, where there must be nothing, all but its memory.
///
/// # Errors
/// It does not come, or is damaged. Nothing is left of it.
pub(super) fn fetch(route: &Route, into: &Path) -> Result<Snapshot, SnapshotError> {
    let new = NewSnapshot::create(into)?;
    let far = |why: String| SnapshotError::Far { place: route.address().to_string(), why };
    let mut reader = call(route, None).map_err(far)?.0;
    let text = receive(&mut reader, &new).map_err(far)?;
    let path = new.adopt(&text, |partial| {
        let snapshot = Snapshot::open_without_memory(partial)?;
        snapshot
            .sums
            .all()
            .iter()
            .filter(|sum| !is_memory(&sum.name))
            .try_for_each(|sum| verify(&snapshot, sum))
    })?;
    Snapshot::open_without_memory(&path)
}

/// Calls, and says what is wanted: a snapshot's memory, or else all that is not.
fn call(route: &Route, id: Option<String>) -> Result<(Reader<Stream>, Writer<Stream>, Stream), String> {
    let lost = |error: std::io::Error| format!("it cannot be reached: {error}");
    let stream = route.dial().map_err(lost)?;
    stream.set_patience(PATIENCE).map_err(lost)?;
    let reader = Reader::new(stream.try_clone().map_err(lost)?);
    let mut writer = Writer::new(stream.try_clone().map_err(lost)?);
    writer.write(&Message::Fetch(id)).map_err(|error| chain(&error))?;
    Ok((reader, writer, stream))
}

/// Takes the files in; the list of checksums, which is first.
fn receive(reader: &mut Reader<Stream>, new: &NewSnapshot) -> Result<Vec<u8>, String> {
    let mut next = || reader.read().map_err(|error| chain(&error));
    let mut list = Vec::new();
    let mut sums = Sums::default();
    let mut left: Vec<Sum> = Vec::new();
    let mut open: Option<(File, u64)> = None;
    loop {
        match next()? {
            Message::File(FileHead { name, bytes })
                if name == name::SUMS && list.is_empty() && bytes <= LONGEST =>
            {
                list = vec![0; usize::try_from(bytes).unwrap_or(0)];
            }
            Message::Part(part) if sums.all().is_empty() && !list.is_empty() => {
                put(&mut list, &part).ok_or("it sends more than it said")?;
                if let Ok(parsed) = Sums::parse(&String::from_utf8_lossy(&list)) {
                    left = parsed.all().iter().filter(|sum| !is_memory(&sum.name)).cloned().collect();
                    sums = parsed;
                }
            }
            Message::File(head) => {
                let place = left.iter().position(|sum| sum.name == head.name && sum.bytes == head.bytes);
                let sum = left
                    .remove(place.ok_or_else(|| format!("it sends {:?}, which it did not name", head.name))?);
                let file = new.file(&sum.name).map_err(|error| chain(&error))?;
                file.set_len(sum.bytes).map_err(|error| format!("{}: {error}", sum.name))?;
                open = Some((file, sum.bytes));
            }
            Message::Part(Part { offset, bytes }) => {
                let end = offset.checked_add(bytes.len() as u64);
                match &open {
                    Some((file, length)) if end.is_some_and(|end| end <= *length) => {
                        file.write_all_at(&bytes, offset).map_err(|error| format!("a file here: {error}"))?;
                    }
                    _ => return Err("it sends more than it said".into()),
                }
            }
            Message::Complete if left.is_empty() && !sums.all().is_empty() => return Ok(list),
            Message::Failed(why) => return Err(why),
            _ => return Err("it says what makes no sense".into()),
        }
    }
}

/// Puts a part in its place, if it is in there.
fn put(list: &mut [u8], part: &Part) -> Option<()> {
    let start = usize::try_from(part.offset).ok()?;
    let place = list.get_mut(start..start.checked_add(part.bytes.len())?)?;
    place.copy_from_slice(&part.bytes);
    Some(())
}

/// Whether a file is as its checksum says, and durable.
fn verify(snapshot: &Snapshot, sum: &Sum) -> Result<(), SnapshotError> {
    let synced = check_file(snapshot, sum)?.sync_all();
    synced.map_err(SnapshotError::file("made durable", &snapshot.path.join(&sum.name)))
}

/// The way to a snapshot's memory.
pub(super) struct RemoteLink {
    pub(super) route: Route,
    pub(super) id: String,
}

impl Link for RemoteLink {
    fn connect(&mut self) -> Result<Connection, String> {
        let (reader, writer, stream) = call(&self.route, Some(self.id.clone()))?;
        Connection::greeted(reader, writer, stream).map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::migration::transport::{Address, Protection};

    /// What comes of a server that says this.
    fn fetched(messages: Vec<Message>) -> String {
        let directory = tempfile::tempdir().unwrap();
        let (socket, into) = (directory.path().join("socket"), directory.path().join("into"));
        let listener = net::socket::listen(&socket).unwrap();
        let server = thread::spawn(move || {
            let stream = listener.accept().unwrap().0;
            assert_eq!(Reader::new(stream.try_clone().unwrap()).read().unwrap(), Message::Fetch(None));
            let mut writer = Writer::new(stream);
            // Who sends it away hears no more.
            let _ = messages.iter().try_for_each(|message| writer.write(message));
        });
        let route = Route::new(Address::Unix(socket.clone()), &Protection::default()).unwrap();
        let why = chain(&fetch(&route, &into).unwrap_err());
        server.join().unwrap();
        std::fs::remove_file(socket).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "something is left");
        why
    }

    fn file(name: &str, bytes: u64) -> Message {
        Message::File(FileHead { name: name.into(), bytes })
    }

    fn part(offset: u64, bytes: &[u8]) -> Message {
        Message::Part(Part { offset, bytes: bytes.to_vec() })
    }

    #[test]
    fn what_a_server_did_not_name_or_has_altered_does_not_come() {
        let mut sums = Sums::default();
        sums.add("snapshot.json", 2, Some(crc32fast::hash(b"{}")));
        sums.add("memory", 4096, None);
        let text = sums.to_text().into_bytes();
        let with = |more: &[Message]| {
            let list = [file("sums", text.len() as u64), part(0, &text)];
            fetched([&list, more].concat())
        };
        for (more, word) in [
            (vec![file("../outside", 2)], "did not name"),
            (vec![file("memory", 4096)], "did not name"),
            (vec![file("snapshot.json", 3)], "did not name"),
            (vec![file("snapshot.json", 2), part(1, b"{}")], "more than it said"),
            (vec![file("snapshot.json", 2), part(u64::MAX, b"{}")], "more than it said"),
            (vec![part(0, b"{}")], "more than it said"),
            (vec![Message::Complete], "no sense"),
            (vec![Message::Go], "no sense"),
            (vec![Message::Failed("it is gone".into())], "it is gone"),
            (vec![file("snapshot.json", 2)], "lost"),
            (vec![file("snapshot.json", 2), part(0, b"[]"), Message::Complete], "altered"),
            (vec![file("snapshot.json", 2), part(0, b"{}"), Message::Complete], "version"),
        ] {
            let why = with(&more);
            assert!(why.contains(word), "{more:?}: {why}");
        }
        for messages in
            [vec![], vec![file("sums", u64::MAX)], vec![part(0, b"x")], vec![file("sums", 1), part(1, b"x")]]
        {
            assert!(!fetched(messages).is_empty());
        }
    }
}
