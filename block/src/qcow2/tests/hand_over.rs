//! An image that one process gives to another, and gets back.

use std::path::Path;

use super::super::{QcowDisk, QcowOptions};
use crate::ops::{ConvertOptions, CreateOptions, Format, OpenOptions, check, convert, create, open};
use crate::{Blocking, CacheMode, Disk, DiskError};

const SIZE: u64 = 64 << 20;
const CLUSTER: u64 = 64 << 10;

fn options(lock_later: bool) -> QcowOptions {
    QcowOptions { cache: CacheMode::Writeback, lock_later, ..QcowOptions::default() }
}

fn write(disk: &QcowDisk, cluster: u64, byte: u8) {
    Blocking::open(disk).unwrap().write(cluster * CLUSTER, &[byte; 4096]).unwrap();
}

fn read(disk: &QcowDisk, cluster: u64) -> u8 {
    let mut bytes = [0; 4096];
    Blocking::open(disk).unwrap().read(cluster * CLUSTER, &mut bytes).unwrap();
    bytes[0]
}

fn image(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("disk.qcow2");
    create(&path, &CreateOptions::new(Format::Qcow2, SIZE)).unwrap();
    path
}

#[test]
fn whoever_has_it_sees_what_the_other_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let path = image(folder.path());
    let first = QcowDisk::open(&path, &options(false)).unwrap();
    write(&first, 0, 1);
    // It is opened while the other one writes, and knows nothing but its size.
    let second = QcowDisk::open(&path, &options(true)).unwrap();
    assert_eq!(second.info().size_bytes, SIZE);
    assert!(second.open_queue(1).is_err());
    assert!(matches!(second.hold(), Err(DiskError::InUse { .. })));
    for cluster in 1..900 {
        write(&first, cluster, 2);
    }
    let mut turn = [(&first, 3u8), (&second, 4)].into_iter().cycle();
    let (mut has, mut byte) = turn.next().unwrap();
    for number in 0..6u64 {
        write(has, number, byte);
        // Clusters become free, which is known only here until it is flushed twice.
        Blocking::open(has).unwrap().discard(100 * CLUSTER + number * CLUSTER, CLUSTER).unwrap();
        has.let_go().unwrap();
        assert!(has.open_queue(1).is_err() && has.sync().is_ok(), "it is the other's");
        let (gets, next) = turn.next().unwrap();
        gets.hold().unwrap();
        assert_eq!((read(gets, number), read(gets, 899), read(gets, 100 + number)), (byte, 2, 0));
        (has, byte) = (gets, next);
    }
    has.let_go().unwrap();
    drop(turn);
    drop((first, second));
    let report = check(&path).unwrap();
    assert_eq!((report.corruptions, report.leaks), (0, 0), "{report:?}");
}

#[test]
fn who_has_given_it_away_does_not_touch_it_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let (raw, path) = (folder.path().join("disk.raw"), folder.path().join("disk.qcow2"));
    std::fs::write(&raw, vec![5; 40 << 16]).unwrap();
    let source = open(&raw, Format::Raw, &OpenOptions::default()).unwrap();
    let packed =
        ConvertOptions { compress: true, ..ConvertOptions::new(CreateOptions::new(Format::Qcow2, 40 << 16)) };
    convert((&raw, &source), &path, &packed, &|_| ()).unwrap();
    let first = QcowDisk::open(&path, &options(false)).unwrap();
    // What was compressed is free once the tables that do not name it are in the file; that is yet to be written then.
    (0..40).for_each(|cluster| write(&first, cluster, 1));
    first.sync().unwrap();
    first.let_go().unwrap();
    let before = std::fs::read(&path).unwrap();
    drop(first);
    assert!(std::fs::read(&path).unwrap() == before, "it was written to after it was given away");
}
