//! An image on a file system without room.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::chain::Chain;
use super::super::core::Core;
use super::super::image::Image;
use super::judge::judge;
use super::oracle::Dir;
use crate::buf::Bufs;
use crate::ops::{CreateOptions, Format, create};
use crate::storage::Storage;
use crate::target::Target;

/// A file that takes no more data while it is full; holes can be made.
#[derive(Debug)]
struct File {
    target: Target,
    full: AtomicBool,
}

impl Storage for File {
    fn read(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        self.target.read(offset, bufs)
    }

    fn write(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        if self.full.load(Ordering::Relaxed) {
            // Some of it was written before there was no room left.
            self.target.write(offset, &bufs.part(0, 512))?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.target.write(offset, bufs)
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.target.write_zeroes(offset, len, true)
    }

    fn sync(&self) -> io::Result<()> {
        self.target.sync()
    }

    fn len(&self) -> io::Result<u64> {
        Storage::len(&self.target)
    }
}

#[test]
fn writes_that_fail_for_want_of_room_make_the_file_no_longer() {
    const CLUSTER: u64 = 64 << 10;
    let dir = Dir::new();
    for extended_l2 in [false, true] {
        let path = dir.path("disk.qcow2");
        let options =
            CreateOptions { extended_l2, overwrite: true, ..CreateOptions::new(Format::Qcow2, 8 << 20) };
        create(&path, &options).unwrap();
        let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        let target = Target::scratch(file, &path);
        let storage = Arc::new(File { target, full: AtomicBool::new(false) });
        let shared = Arc::clone(&storage) as Arc<dyn Storage>;
        let chain = Chain { top: Core::open(Arc::clone(&shared)).unwrap(), below: Vec::new() };
        let image = Image::writable(chain).unwrap();
        let write = |cluster: u64, byte: u8| {
            image.write(cluster * CLUSTER + 4096, &Bufs::borrowing(&mut [byte; 3 * 4096]))
        };
        write(0, 1).unwrap();
        let before = Storage::len(&*storage).unwrap();
        storage.full.store(true, Ordering::Relaxed);
        for _ in 0..100 {
            assert_eq!(write(1, 2).unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        storage.full.store(false, Ordering::Relaxed);
        write(2, 3).unwrap();
        image.flush().unwrap();
        assert!(Storage::len(&*storage).unwrap() <= before + 4 * CLUSTER);
        for (cluster, byte) in [(0, 1), (1, 0), (2, 3)] {
            let mut seen = vec![9; 65536];
            image.chain.read(cluster * CLUSTER, &Bufs::borrowing(&mut seen)).unwrap();
            assert!(seen[4096..4 * 4096].iter().all(|&is| is == byte), "{cluster}");
            assert!(seen[..4096].iter().chain(&seen[4 * 4096..]).all(|&is| is == 0), "{cluster}");
        }
        drop(image);
        let report = judge(shared);
        assert_eq!((report.corruptions, report.leaks), (0, 0));
    }
}
