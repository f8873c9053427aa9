use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::{Blocking, RawOptions};

/// Five clusters and a bit.
const SIZE: usize = 5 * CLUSTER_BYTES + 1536;

fn base() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("base.img");
    let bytes: Vec<u8> = (0..SIZE).map(|at| u8::try_from(at / 512 % 251).unwrap()).collect();
    std::fs::write(&path, &bytes).unwrap();
    (dir, path, bytes)
}

fn open(path: &Path, scratch: Option<&Path>, engine: EngineKind) -> CowDisk {
    let base = RawDisk::open(path, RawOptions { read_only: true, ..RawOptions::default() }).unwrap();
    // Without a folder, in memory.
    let scratch = tempfile::tempfile_in(scratch.unwrap_or(Path::new("/dev/shm"))).unwrap();
    CowDisk::open(&base, scratch, engine).unwrap()
}

fn range() -> impl Strategy<Value = std::ops::Range<usize>> {
    (0..SIZE / 512, 1..400usize).prop_map(|(at, len)| at * 512..(at * 512 + len * 512).min(SIZE))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_memory_and_leaves_the_base_alone(
        steps in prop::collection::vec((0..4u8, range(), any::<u8>()), 1..40),
        engine in prop::sample::select(&[EngineKind::Auto, EngineKind::Threads, EngineKind::Sync][..]),
        in_memory in any::<bool>(),
    ) {
        let (dir, path, original) = base();
        let disk = open(&path, (!in_memory).then_some(dir.path()), engine);
        let mut io = Blocking::open(&disk).unwrap();
        let mut model = original.clone();
        for (kind, range, byte) in steps {
            let (at, len) = (range.start as u64, range.len() as u64);
            match kind {
                0 => {
                    io.write(at, &vec![byte; range.len()]).unwrap();
                    model[range.clone()].fill(byte);
                }
                1 => {
                    io.write_zeroes(at, len, byte > 127).unwrap();
                    model[range.clone()].fill(0);
                }
                2 => {
                    io.discard(at, len).unwrap();
                    io.read(at, &mut model[range.clone()]).unwrap();
                }
                _ => {}
            }
            let mut got = vec![1; range.len()];
            io.read(at, &mut got).unwrap();
            prop_assert_eq!(&got[..], &model[range]);
        }
        let mut got = vec![1; SIZE];
        io.read(0, &mut got).unwrap();
        prop_assert_eq!(got, model);
        prop_assert_eq!(std::fs::read(&path).unwrap(), original);
    }
}

#[test]
fn queues_that_write_neighbouring_sectors_lose_nothing() {
    let (_dir, path, mut expected) = base();
    let disk = open(&path, None, EngineKind::Auto);
    const THREADS: usize = 4;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let disk = &disk;
            scope.spawn(move || {
                let mut io = Blocking::open(disk).unwrap();
                for sector in (thread..SIZE / 512).step_by(THREADS * 2) {
                    io.write(sector as u64 * 512, &[u8::try_from(thread).unwrap(); 512]).unwrap();
                }
            });
        }
    });
    for thread in 0..THREADS {
        for sector in (thread..SIZE / 512).step_by(THREADS * 2) {
            expected[sector * 512..][..512].fill(u8::try_from(thread).unwrap());
        }
    }
    let mut got = vec![0; SIZE];
    Blocking::open(&disk).unwrap().read(0, &mut got).unwrap();
    assert!(got == expected);
}

#[test]
fn a_discarded_cluster_does_not_show_the_base_again() {
    let (_dir, path, _) = base();
    let disk = open(&path, None, EngineKind::Sync);
    let mut io = Blocking::open(&disk).unwrap();
    io.discard(CLUSTER, CLUSTER).unwrap();
    let mut got = vec![1; CLUSTER_BYTES];
    io.read(CLUSTER, &mut got).unwrap();
    assert!(got.iter().all(|&byte| byte == 0));
}
