//! Snapshots as streams: tar archives of their directories, which any tar unpacks into just that.
//!
//! The list of checksums comes first, so that a reader knows what is to follow and how long it is before it writes anything.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};

use block::ops::data_pieces;
use image::archive;
use image::tarball::{Entry, EntryKind, MAX_PIECES, Tarball, sparse_map};

use super::SnapshotError;
use super::directory::{NewSnapshot, Snapshot, name};
use super::disks::write_sparse;
use super::inspect::check;
use super::sums::{LONGEST, Sum, list_of};

/// Bytes that are copied in one go.
const STEP: usize = 256 << 10;
/// Holes that are shorter are written as zeroes, so that the map of a file with many stays short.
const SHORTEST: u64 = 64 << 10;
/// Who can read the files once they are unpacked.
const MODE: u32 = 0o600;

/// A snapshot whose files are open, so that its directory may be removed.
#[derive(Debug)]
pub struct OpenFiles {
    path: PathBuf,
    sums: File,
    files: Vec<(Sum, File)>,
}

impl OpenFiles {
    /// Opens all files of a snapshot.
    ///
    /// # Errors
    /// It is damaged.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        let snapshot = Snapshot::open(path)?;
        let open = |name: &str| {
            let path = snapshot.path.join(name);
            File::open(&path).map_err(SnapshotError::file("opened", &path))
        };
        let file = |sum: &Sum| Ok((sum.clone(), open(&sum.name)?));
        let files = snapshot.sums.all().iter().map(file).collect::<Result<_, SnapshotError>>()?;
        Ok(Self { sums: open(name::SUMS)?, files, path: snapshot.path.clone() })
    }

    /// Writes them as an archive.
    ///
    /// # Errors
    /// `to` takes no more, or a file cannot be read.
    pub fn write(&self, to: impl Write) -> Result<(), SnapshotError> {
        let fail = |name: &str| SnapshotError::file("sent", &self.path.join(name));
        let mut to = BufWriter::with_capacity(STEP, to);
        let sums = self.sums.metadata().map_err(fail(name::SUMS))?.len();
        archive::file(&mut to, name::SUMS, MODE, &self.sums, sums).map_err(fail(name::SUMS))?;
        for (sum, file) in &self.files {
            let pieces = data_pieces(file, sum.bytes).map_err(fail(&sum.name))?;
            // One more says where the file ends.
            let pieces = joined(pieces, MAX_PIECES - 1);
            let is_whole = pieces.first().is_some_and(|piece| *piece == (0..sum.bytes)) || sum.bytes == 0;
            let sent = if is_whole {
                let mut file = file;
                file.rewind().and_then(|()| archive::file(&mut to, &sum.name, MODE, file, sum.bytes))
            } else {
                archive::sparse(&mut to, &sum.name, MODE, (file, sum.bytes), &pieces)
            };
            sent.map_err(fail(&sum.name))?;
        }
        archive::end(&mut to).map_err(fail(name::SUMS))
    }
}

/// The pieces, those with only short holes between them as one, so that there are `most` at most: who reads takes no more.
fn joined(pieces: Vec<Range<u64>>, most: u64) -> Vec<Range<u64>> {
    let (mut all, mut shortest) = (pieces, SHORTEST);
    loop {
        all = joined_over(all, shortest);
        if all.len() as u64 <= most.max(1) {
            return all;
        }
        shortest = shortest.saturating_mul(2);
    }
}

/// The pieces, those with holes between them that are shorter than `shortest` as one.
fn joined_over(pieces: Vec<Range<u64>>, shortest: u64) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = Vec::new();
    for piece in pieces {
        match all.last_mut() {
            Some(last) if piece.start - last.end < shortest => last.end = piece.end,
            _ => all.push(piece),
        }
    }
    all
}

/// Unpacks an archive into the directory `path`, where there must be nothing, and checks all of it.
///
/// # Errors
/// It is torn, was altered, or is no snapshot. Nothing is left of it.
pub fn unpack(from: impl Read, path: &Path) -> Result<PathBuf, SnapshotError> {
    let new = NewSnapshot::create(path)?;
    let damaged = |why: String| SnapshotError::Damaged { path: path.to_owned(), why };
    let torn = |error: io::Error| damaged(format!("as a stream: {error}"));
    let mut archive = Tarball::new(from);
    let first = archive.next_entry().map_err(torn)?;
    let is_list = |entry: &Entry| entry.path == name::SUMS && entry.kind == EntryKind::File;
    let Some(list) = first.filter(|entry| is_list(entry) && entry.size <= LONGEST) else {
        return Err(SnapshotError::Unknown {
            path: path.to_owned(),
            why: "the stream does not begin with the file `sums`".to_owned(),
        });
    };
    let mut text = Vec::new();
    archive.contents().read_to_end(&mut text).map_err(torn)?;
    if text.len() as u64 != list.size {
        return Err(damaged("as a stream, it ends in its list of checksums".to_owned()));
    }
    let sums = list_of(path, &text)?;
    for sum in sums.all() {
        let entry = archive.next_entry().map_err(torn)?;
        let entry = entry.ok_or_else(|| damaged(format!("as a stream, it ends before {}", sum.name)))?;
        if entry.path != sum.name {
            return Err(damaged(format!(
                "as a stream, it has {:?} in the place of {}",
                entry.path, sum.name
            )));
        }
        let file = new.file(&sum.name)?;
        take(&mut archive, &entry, sum, &file).map_err(|error| damaged(format!("{}: {error}", sum.name)))?;
        file.sync_all().map_err(SnapshotError::file("written", &new.place(&sum.name)))?;
    }
    if archive.next_entry().map_err(torn)?.is_some() {
        return Err(damaged("as a stream, it has more files than it names".to_owned()));
    }
    new.adopt(&text, |partial| check(&Snapshot::open(partial)?))
}

/// Takes one file out of the archive.
fn take(archive: &mut Tarball<impl Read>, entry: &Entry, sum: &Sum, file: &File) -> io::Result<()> {
    let other = || io::Error::other(format!("it has another length than {} bytes", sum.bytes));
    let mut contents = archive.contents();
    let pieces = match entry.kind {
        EntryKind::File if entry.size == sum.bytes => iter::once(0..sum.bytes).collect(),
        EntryKind::Sparse { bytes } if bytes == sum.bytes => sparse_map(&mut contents, entry.size, bytes)?,
        EntryKind::File | EntryKind::Sparse { .. } => return Err(other()),
        _ => return Err(io::Error::other("it is no file")),
    };
    file.set_len(sum.bytes)?;
    archive::in_parts(pieces, |at, part| {
        contents.read_exact(part)?;
        write_sparse(file, part, at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_joined_over_short_holes_until_there_are_few() {
        const KIB: u64 = 1 << 10;
        let pieces = vec![0..4 * KIB, 8 * KIB..12 * KIB, 100 * KIB..200 * KIB, 1000 * KIB..1001 * KIB];
        let all = joined(pieces.clone(), 9);
        assert_eq!(all, [0..12 * KIB, 100 * KIB..200 * KIB, 1000 * KIB..1001 * KIB]);
        assert_eq!(joined(pieces.clone(), 2), [0..200 * KIB, 1000 * KIB..1001 * KIB]);
        assert!(joined(pieces, 1).into_iter().eq(iter::once(0..1001 * KIB)));
        assert!(joined(Vec::new(), 1).is_empty());
    }
}
