//! Any archive: read as whoever unpacks an image's layer reads it, and as a snapshot that comes as a stream. The checksums of headers are
//! put right here, and a snapshot's list of its files is made here, as no search would find them.

#![no_main]

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use image::archive;
use image::tarball::{EntryKind, Tarball, sparse_map};
use libfuzzer_sys::fuzz_target;
use vmm::snapshot::unpack;

const BLOCK: usize = 512;
/// Where a header has its size and its checksum, in octal digits.
const SIZE: std::ops::Range<usize> = 124..136;
const SUM: std::ops::Range<usize> = 148..156;

/// A folder in memory, for this process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = PathBuf::from(format!("/dev/shm/kubevmm-fuzz-archive-{}", std::process::id()));
    let _ = fs::remove_dir_all(&path);
    path
});

/// The archive with headers whose checksums are right.
fn repaired(data: &[u8]) -> Vec<u8> {
    let mut tar = data.to_vec();
    let mut at = 0;
    while let Some(header) = tar.get_mut(at..at + BLOCK) {
        header[SUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = String::from_utf8_lossy(&header[SIZE]).into_owned();
        let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        at = at.saturating_add(BLOCK).saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    tar.resize(tar.len().next_multiple_of(BLOCK) + 2 * BLOCK, 0);
    tar
}

/// The list of a snapshot that consists of these files.
fn sums(tar: &[u8]) -> String {
    let mut sums = String::from("kubevmm snapshot, format 1\n");
    let mut archive = Tarball::new(tar);
    while let Ok(Some(entry)) = archive.next_entry() {
        let mut contents = Vec::new();
        let _ = archive.contents().read_to_end(&mut contents);
        let (bytes, crc) = match entry.kind {
            EntryKind::Sparse { bytes } => (bytes, "-".to_owned()),
            _ => (entry.size, format!("{:08x}", crc32fast::hash(&contents))),
        };
        let _ = writeln!(sums, "{crc} {bytes} {}", entry.path);
    }
    let _ = writeln!(sums, "{:08x} end", crc32fast::hash(sums.as_bytes()));
    sums
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else { return };
    let tar = if flags & 1 == 0 { repaired(data) } else { data.to_vec() };
    let mut archive = Tarball::new(tar.as_slice());
    while let Ok(Some(entry)) = archive.next_entry() {
        if let EntryKind::Sparse { bytes } = entry.kind {
            let pieces = sparse_map(&mut archive.contents(), entry.size, bytes);
            for pieces in pieces.iter().flat_map(|pieces| pieces.windows(2)) {
                assert!(pieces[0].end <= pieces[1].start && pieces[1].end <= bytes);
            }
        }
    }
    let sums = sums(&tar);
    let mut stream = Vec::new();
    archive::file(&mut stream, "sums", 0o600, sums.as_bytes(), sums.len() as u64).expect("room in memory");
    stream.extend(tar);
    let made = unpack(stream.as_slice(), &FOLDER);
    assert_eq!(made.is_ok(), FOLDER.exists(), "what was refused leaves nothing");
    let _ = fs::remove_dir_all(&*FOLDER);
});
