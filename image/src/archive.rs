//! A writer of tar archives that all readers know: ustar headers, and GNU's sparse files (pax format 1.0).

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Granule of an archive.
const BLOCK: u64 = 512;
/// Longest name.
const NAME: usize = 99;
/// Bytes that are copied in one go.
const STEP: usize = 256 << 10;

/// Writes a ustar header; sizes from 8 GiB on in base 256, as GNU tar writes them.
///
/// # Errors
/// The name is longer than 99 bytes, or `to` fails.
pub fn header(to: &mut dyn Write, path: &str, mode: u32, size: u64, kind: u8) -> io::Result<()> {
    if path.len() > NAME {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path within the archive is too long"));
    }
    let octal = |value: u64, width: usize| format!("{value:0width$o}\0").into_bytes();
    let size =
        if size < 1 << 33 { octal(size, 11) } else { [&[0x80, 0, 0, 0][..], &size.to_be_bytes()].concat() };
    let fields: [(usize, &[u8]); 9] = [
        (0, path.as_bytes()),
        (100, &octal(u64::from(mode & 0o7777), 7)),
        (108, &octal(0, 7)),
        (116, &octal(0, 7)),
        (124, &size),
        (136, &octal(0, 11)),
        (148, b"        "),
        (156, &[kind]),
        (257, b"ustar\x0000"),
    ];
    let mut header = [0u8; 512];
    for (at, bytes) in fields {
        for (to, from) in header.iter_mut().skip(at).zip(bytes) {
            *to = *from;
        }
    }
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    for (to, from) in header.iter_mut().skip(148).zip(octal(sum, 6)) {
        *to = from;
    }
    to.write_all(&header)
}

/// Writes a file of `size` bytes, header and contents.
///
/// # Errors
/// It is shorter, or reading or writing fails.
pub fn file(to: &mut dyn Write, path: &str, mode: u32, from: impl Read, size: u64) -> io::Result<()> {
    header(to, path, mode, size, b'0')?;
    if io::copy(&mut from.take(size), to)? != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    pad(to, size)
}

/// Writes a file of `size` bytes that is zero but for these pieces, which are in order and do not overlap. Readers want them to
/// begin and end at multiples of 512, or at the end of the file.
///
/// # Errors
/// Reading or writing fails.
pub fn sparse(
    to: &mut dyn Write,
    path: &str,
    mode: u32,
    (from, size): (&File, u64),
    pieces: &[Range<u64>],
) -> io::Result<()> {
    let is_aligned = |at: u64| at.is_multiple_of(BLOCK) || at == size;
    if !pieces.iter().all(|piece| is_aligned(piece.start) && is_aligned(piece.end)) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a piece does not begin or end at a block"));
    }
    // By an empty piece at its end, GNU tar knows that a file ends with a hole.
    let end = pieces.last().is_none_or(|last| last.end != size).then_some(size..size);
    let mut map = format!("{}\n", pieces.len() + usize::from(end.is_some()));
    for piece in pieces.iter().chain(&end) {
        map += &format!("{}\n{}\n", piece.start, piece.end - piece.start);
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(512), 0);
    let data: u64 = pieces.iter().map(|piece| piece.end - piece.start).sum();
    let records = [
        ("GNU.sparse.major", "1".to_owned()),
        ("GNU.sparse.minor", "0".to_owned()),
        ("GNU.sparse.name", path.to_owned()),
        ("GNU.sparse.realsize", size.to_string()),
    ];
    let records: String = records.iter().map(|(key, value)| record(key, value)).collect();
    header(to, "PaxHeaders", 0o600, records.len() as u64, b'x')?;
    to.write_all(records.as_bytes())?;
    pad(to, records.len() as u64)?;
    let stored = map.len() as u64 + data;
    // The name for readers that do not know of sparse files.
    header(to, &format!("GNUSparseFile.0/{path}"), mode, stored, b'0')?;
    to.write_all(&map)?;
    in_parts(pieces.iter().cloned(), |at, part| {
        from.read_exact_at(part, at)?;
        to.write_all(part)
    })?;
    pad(to, stored)
}

/// Has `copy` take these pieces of a file part by part, each with where it is and room for what is there.
///
/// # Errors
/// Those of `copy`.
pub fn in_parts(
    pieces: impl IntoIterator<Item = Range<u64>>,
    mut copy: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; STEP];
    for piece in pieces {
        let mut at = piece.start;
        while at < piece.end {
            let step = usize::try_from(piece.end - at).unwrap_or(STEP).min(STEP);
            copy(at, buffer.get_mut(..step).unwrap_or_default())?;
            at += step as u64;
        }
    }
    Ok(())
}

/// Ends the archive.
///
/// # Errors
/// Writing fails.
pub fn end(to: &mut dyn Write) -> io::Result<()> {
    to.write_all(&[0; 1024])?;
    to.flush()
}

/// A pax record, which begins with its own length.
fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len();
    // The length's digits count, too; more of them make it one longer at most.
    while length != rest.len() + length.to_string().len() {
        length = rest.len() + length.to_string().len();
    }
    format!("{length}{rest}")
}

fn pad(to: &mut dyn Write, size: u64) -> io::Result<()> {
    let padding = usize::try_from(size.wrapping_neg() % BLOCK).unwrap_or(0);
    to.write_all([0; 512].get(..padding).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;
    use crate::tarball::{EntryKind, Tarball, sparse_map};

    const SIZE: u64 = 1 << 20;

    /// A file that is zero but for these pieces.
    fn sample(pieces: &[Range<u64>]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(SIZE).unwrap();
        for piece in pieces {
            let bytes: Vec<u8> = piece.clone().map(|at| (at % 251) as u8 + 1).collect();
            file.write_all_at(&bytes, piece.start).unwrap();
        }
        file
    }

    fn archive(pieces: &[Range<u64>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        file(&mut bytes, "small", 0o600, &b"contents"[..], 8).unwrap();
        sparse(&mut bytes, "large", 0o600, (&sample(pieces), SIZE), pieces).unwrap();
        file(&mut bytes, "behind", 0o600, &b""[..], 0).unwrap();
        end(&mut bytes).unwrap();
        bytes
    }

    fn whole(file: &File) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(SIZE).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// GNU tar's opinion.
    #[test]
    fn tar_unpacks_what_was_packed() {
        unpacked_by_tar(&[0..5120, 70_144..70_656, SIZE - 512..SIZE]);
        unpacked_by_tar(&[512..1024, 2048..5120]);
        unpacked_by_tar(&[]);
    }

    fn unpacked_by_tar(pieces: &[Range<u64>]) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.tar"), archive(pieces)).unwrap();
        let output = Command::new("tar").args(["xf", "a.tar"]).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        assert_eq!(read("small"), b"contents");
        assert!(read("large") == whole(&sample(pieces)));
        assert_eq!(read("behind"), b"");
    }

    #[test]
    fn lengths_count_themselves() {
        assert_eq!(record("path", "x"), "9 path=x\n");
        for length in 80..110 {
            let record = record("k", &"v".repeat(length));
            let (digits, _) = record.split_once(' ').unwrap();
            assert_eq!(digits.parse::<usize>().unwrap(), record.len());
        }
    }

    #[test]
    fn a_file_that_is_shorter_than_it_was_is_noticed() {
        assert!(file(&mut Vec::new(), "x", 0o600, &b"short"[..], 6).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn sparse_files_come_back(mut cuts in prop::collection::btree_set(0..=SIZE / 512, 0..12)) {
            if cuts.len() % 2 == 1 {
                cuts.pop_first();
            }
            let cuts: Vec<u64> = cuts.into_iter().map(|cut| cut * 512).collect();
            let pieces: Vec<_> = cuts.chunks(2).map(|pair| pair[0]..pair[1]).collect();
            let bytes = archive(&pieces);
            let mut tarball = Tarball::new(bytes.as_slice());
            tarball.next_entry().unwrap();
            let entry = tarball.next_entry().unwrap().unwrap();
            prop_assert_eq!(entry.path.as_str(), "large");
            prop_assert_eq!(&entry.kind, &EntryKind::Sparse { bytes: SIZE });
            let mut contents = tarball.contents();
            prop_assert_eq!(sparse_map(&mut contents, entry.size, SIZE).unwrap(), pieces.clone());
            let mut data = Vec::new();
            contents.read_to_end(&mut data).unwrap();
            let wanted: Vec<u8> = pieces.iter().flat_map(|piece| piece.clone().map(|at| (at % 251) as u8 + 1)).collect();
            prop_assert!(data == wanted);
            drop(contents);
            let behind = tarball.next_entry().unwrap().unwrap();
            prop_assert_eq!(behind.path.as_str(), "behind");
        }
    }
}
