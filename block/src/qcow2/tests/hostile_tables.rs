//! Tables that disagree with each other: images to be written or checked.

use std::path::{Path, PathBuf};

use super::hostile::{put32, put64};
use crate::ops::{self, CreateOptions, Format, OpenOptions};
use crate::qcow2::{Backing, QcowDisk, QcowOptions};
use crate::{Blocking, DiskError};

const CLUSTER: usize = 4096;

/// An image of 4 MiB in clusters of 4 KiB with data in its first and last; its bytes and its places.
struct Made {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
    reftable: usize,
    refblock: usize,
    l1: usize,
    l2: usize,
    data: u64,
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn place(bytes: &[u8], at: usize) -> usize {
    usize::try_from(word(bytes, at) & 0x00ff_ffff_ffff_fe00).unwrap()
}

impl Made {
    fn new() -> Made {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("good");
        let options = CreateOptions { cluster_size: 4096, ..CreateOptions::new(Format::Qcow2, 4 << 20) };
        ops::create(&path, &options).unwrap();
        let disk = QcowDisk::open(&path, &QcowOptions::default()).unwrap();
        let mut io = Blocking::open(&disk).unwrap();
        io.write(0, &[1; CLUSTER]).unwrap();
        io.write((4 << 20) - 4096, &[2; CLUSTER]).unwrap();
        drop((io, disk));
        let bytes = std::fs::read(&path).unwrap();
        let (reftable, l1) = (place(&bytes, 48), place(&bytes, 40));
        let (refblock, l2) = (place(&bytes, reftable), place(&bytes, l1));
        let data = u64::try_from(place(&bytes, l2)).unwrap();
        Made { dir, bytes, reftable, refblock, l1, l2, data }
    }

    fn changed(&self, change: impl FnOnce(&mut Vec<u8>)) -> PathBuf {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        let path = self.dir.path().join("bad");
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

/// Whether the image is refused when it is opened for writing, or when it is written to.
fn is_refused(path: &Path) -> bool {
    let Ok(disk) = QcowDisk::open(path, &QcowOptions::default()) else { return true };
    let mut io = Blocking::open(&disk).unwrap();
    let all = [0, 8192, 1 << 20, (4 << 20) - 4096].map(|at| io.write(at, &[9; 512]).is_err());
    all.contains(&true)
}

/// Whether the check says that it is damaged, or cannot be checked.
fn is_found(path: &Path) -> bool {
    ops::check(path).map_or(true, |report| report.corruptions > 0)
}

#[test]
fn the_image_to_start_from_is_fine() {
    let made = Made::new();
    let path = made.changed(|_| {});
    assert!(!is_found(&path) && !is_refused(&path) && !is_found(&path));
}

#[test]
fn refcount_tables_and_blocks() {
    let made = Made::new();
    let end = made.bytes.len() as u64;
    let table = made.reftable as u64;
    for entry in [1, 511, table, made.l1 as u64, end.next_multiple_of(4096) + 4096, 1 << 55, u64::MAX] {
        let path = made.changed(|bytes| put64(bytes, made.reftable, entry));
        assert!(is_refused(&path) || is_found(&path), "{entry:x}");
        assert!(is_found(&made.changed(|bytes| put64(bytes, made.reftable, entry))), "{entry:x}");
    }
    let twice = made.changed(|bytes| put64(bytes, made.reftable + 8, made.refblock as u64));
    assert!(is_refused(&twice), "one block in two places");
    let none = made.changed(|bytes| put64(bytes, made.reftable, 0));
    assert!(is_found(&none));
}

#[test]
fn marks_that_the_counts_do_not_bear_out_are_found() {
    let made = Made::new();
    let cluster = usize::try_from(made.data).unwrap() / CLUSTER;
    for count in [0, 2, 255] {
        let path = made.changed(|bytes| bytes[made.refblock + 2 * cluster + 1] = count);
        // A count too large, without the mark, would only be a leak; with it, somebody may write what is shared.
        assert!(is_found(&path), "{count}");
    }
}

#[test]
fn tables_that_lie_on_each_other() {
    let made = Made::new();
    let owned = 1 << 63;
    for target in [0x1000, made.l1, made.l2, made.reftable, made.refblock] {
        let path = made.changed(|bytes| put64(bytes, made.l1 + 8, target as u64 | owned));
        assert!(is_refused(&path), "an L2 table at {target:x}");
        assert!(is_found(&path), "an L2 table at {target:x}");
    }
    for target in [made.l1, made.l2, made.reftable, made.refblock] {
        let path = made.changed(|bytes| put64(bytes, made.l2, target as u64 | owned));
        assert!(is_refused(&path), "data at {target:x}");
    }
    for (field, target) in [(40, made.reftable), (40, made.refblock), (48, made.l1), (48, made.l2)] {
        let path = made.changed(|bytes| put64(bytes, field, target as u64));
        assert!(is_refused(&path) || is_found(&path), "field {field} at {target:x}");
    }
}

#[test]
fn every_cluster_in_one_place() {
    let made = Made::new();
    let path = made.changed(|bytes| {
        for entry in 0..CLUSTER / 8 {
            put64(bytes, made.l2 + entry * 8, made.data | 1 << 63);
        }
    });
    assert!(is_found(&path));
    let options = OpenOptions { read_only: true, ..OpenOptions::default() };
    let disk = ops::open(&path, Format::Qcow2, &options).unwrap();
    let mut bytes = vec![0; 1 << 20];
    Blocking::open(disk.disk()).unwrap().read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 1));
}

#[test]
fn snapshot_tables_are_not_trusted() {
    let made = Made::new();
    let last = made.bytes.len() as u64;
    for (count, offset) in [(1, 1), (1, last), (1, 1 << 56), (65_537, 4096), (u32::MAX, 4096), (1, 0)] {
        let path = made.changed(|bytes| {
            put32(bytes, 60, count);
            put64(bytes, 64, offset);
        });
        assert!(is_refused(&path), "{count} at {offset:x}");
    }
}

#[test]
fn chains_are_as_long_as_the_caller_says_and_no_longer() {
    let made = Made::new();
    let with_name = |bytes: &mut Vec<u8>, name: &str| {
        let at = 512;
        put64(bytes, 8, at);
        put32(bytes, 16, u32::try_from(name.len()).unwrap());
        bytes[512..512 + name.len()].copy_from_slice(name.as_bytes());
    };
    let path = made.changed(|bytes| with_name(bytes, "bad"));
    let open = |backing: Vec<Backing>| {
        let options = QcowOptions { read_only: true, backing, ..QcowOptions::default() };
        QcowDisk::open(&path, &options)
    };
    // It is its own backing file: however often it is given, one is missing below the last.
    for length in [0, 1, 11, 200, 10_000] {
        let chain = vec![Backing::Qcow2(path.clone()); length];
        assert!(matches!(open(chain), Err(DiskError::Format { .. })), "{length}");
    }
    let missing = open(vec![Backing::Raw(made.dir.path().join("missing"))]);
    assert!(matches!(missing, Err(DiskError::Open { .. })));
    // A FIFO is no disk, and nobody waits for its other end.
    let fifo = made.dir.path().join("fifo");
    let status = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(status.success());
    assert!(matches!(open(vec![Backing::Raw(fifo)]), Err(DiskError::NotADisk { .. })));
    // A base that is shorter than the disk over it shows zeroes behind its end.
    let base = made.dir.path().join("base");
    std::fs::write(&base, [5; 8192]).unwrap();
    let disk = open(vec![Backing::Raw(base)]).unwrap();
    let mut bytes = vec![9; 16384];
    Blocking::open(&disk).unwrap().read(0, &mut bytes).unwrap();
    assert!(bytes[..4096].iter().all(|&byte| byte == 1) && bytes[4096..8192].iter().all(|&byte| byte == 5));
    assert!(bytes[8192..].iter().all(|&byte| byte == 0));
}
