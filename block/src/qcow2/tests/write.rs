//! Images written by us, read and checked by QEMU.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::oracle::{Dir, available, contents, qemu_img, qemu_io, text};
use crate::qcow2::{Backing, QcowDisk, QcowOptions};
use crate::{Blocking, EngineKind};

const SIZE: u64 = 2 << 20;

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Discard(u64, u64),
    Flush,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..SIZE / 512, prop_oneof![1..16u64, 1..1500u64]);
    let range = range.prop_map(|(at, len)| (at * 512, (len * 512).min(SIZE - at * 512)));
    prop_oneof![
        6 => (range.clone(), any::<u8>()).prop_map(|((at, len), byte)| Step::Write(at, len, byte)),
        2 => range.clone().prop_map(|(at, len)| Step::Zero(at, len)),
        1 => range.prop_map(|(at, len)| Step::Discard(at, len)),
        1 => Just(Step::Flush),
        1 => Just(Step::Reopen),
    ]
}

struct Case {
    path: PathBuf,
    backing: Vec<Backing>,
}

impl Case {
    fn open(&self) -> QcowDisk {
        let options = QcowOptions { backing: self.backing.clone(), ..QcowOptions::default() };
        QcowDisk::open(&self.path, &options).unwrap()
    }

    /// Applies steps to the image and to a model of it, and has QEMU judge.
    fn run(&self, steps: &[Step]) {
        let mut model = contents(&self.path);
        let mut disk = self.open();
        let mut io = Blocking::open(&disk).unwrap();
        let usize_of = |value: u64| usize::try_from(value).unwrap();
        for step in steps {
            match *step {
                Step::Write(at, len, byte) => {
                    io.write(at, &vec![byte; usize_of(len)]).unwrap();
                    model[usize_of(at)..usize_of(at + len)].fill(byte);
                }
                Step::Zero(at, len) => {
                    io.write_zeroes(at, len, true).unwrap();
                    model[usize_of(at)..usize_of(at + len)].fill(0);
                }
                Step::Discard(at, len) => {
                    io.discard(at, len).unwrap();
                    io.read(at, &mut model[usize_of(at)..usize_of(at + len)]).unwrap();
                }
                Step::Flush => io.flush().unwrap(),
                Step::Reopen => {
                    drop(io);
                    drop(disk);
                    disk = self.open();
                    io = Blocking::open(&disk).unwrap();
                }
            }
        }
        let mut got = vec![1; model.len()];
        io.read(0, &mut got).unwrap();
        assert!(got == model);
        drop((io, disk));
        let checked = qemu_img(&["check", text(&self.path)]);
        assert!(checked.contains("No errors"), "{checked}");
        assert!(contents(&self.path) == model);
    }
}

/// Images of many shapes, with something in them.
fn cases(dir: &Dir) -> Vec<Case> {
    let raw = dir.path("base.raw");
    std::fs::write(&raw, vec![0x33; usize::try_from(SIZE * 3 / 4).unwrap() + 512]).unwrap();
    let source = dir.path("source.raw");
    let words: Vec<u8> = (0..u32::try_from(SIZE / 4).unwrap()).flat_map(|n| (n / 9).to_le_bytes()).collect();
    std::fs::write(&source, words).unwrap();
    let mut all = vec![];
    for (number, options) in [
        "compat=1.1",
        "compat=0.10",
        "cluster_size=512,refcount_bits=1",
        "cluster_size=4k,refcount_bits=64",
        "extended_l2=on,cluster_size=16k",
        "extended_l2=on,cluster_size=128k",
        "preallocation=metadata,cluster_size=16k",
        "compression_type=zstd,cluster_size=32k",
    ]
    .iter()
    .enumerate()
    {
        let plain = dir.create(&format!("plain{number}"), options, &SIZE.to_string(), None);
        all.push(Case { path: plain, backing: vec![] });
        if !options.contains("prealloc") {
            let over = dir.create(&format!("over{number}"), options, &SIZE.to_string(), Some((&raw, "raw")));
            all.push(Case { path: over, backing: vec![Backing::Raw(raw.clone())] });
            let packed = dir.path(&format!("packed{number}"));
            qemu_img(&["convert", "-c", "-O", "qcow2", "-o", options, text(&source), text(&packed)]);
            all.push(Case { path: packed, backing: vec![] });
        }
    }
    all
}

#[test]
fn random_operations_agree_with_qemu() {
    if !available("random_operations_agree_with_qemu") {
        return;
    }
    let dir = Dir::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let steps = prop::collection::vec(step(), 1..30);
    for case in cases(&dir) {
        let steps = steps.new_tree(&mut runner).unwrap().current();
        eprintln!("{}: {steps:?}", case.path.display());
        case.run(&steps);
    }
}

#[test]
fn tables_grow_without_losing_anything() {
    if !available("tables_grow_without_losing_anything") {
        return;
    }
    let dir = Dir::new();
    // A refcount block counts 64 clusters of 512 bytes, the table's first cluster has 64 blocks: 2 MiB.
    let path = dir.create("small", "cluster_size=512,refcount_bits=64", "16M", None);
    let case = Case { path, backing: vec![] };
    let disk = case.open();
    let mut io = Blocking::open(&disk).unwrap();
    let piece = vec![7; 100 << 10];
    for at in 0..120 {
        io.write(at * (100 << 10), &piece).unwrap();
        if at % 50 == 0 {
            io.flush().unwrap();
        }
    }
    drop((io, disk));
    assert!(qemu_img(&["check", text(&case.path)]).contains("No errors"));
    let mut bytes = vec![0; 100 << 10];
    Blocking::open(&case.open()).unwrap().read(119 * (100 << 10), &mut bytes).unwrap();
    assert!(bytes == piece);
}

#[test]
fn queues_that_write_neighbouring_sectors_lose_nothing() {
    if !available("queues_that_write_neighbouring_sectors_lose_nothing") {
        return;
    }
    const THREADS: u64 = 4;
    let dir = Dir::new();
    let raw = dir.path("base.raw");
    std::fs::write(&raw, vec![0x33; usize::try_from(SIZE).unwrap()]).unwrap();
    for options in ["cluster_size=16k", "cluster_size=16k,extended_l2=on"] {
        let path =
            dir.create(&format!("{}.qcow2", options.len()), options, &SIZE.to_string(), Some((&raw, "raw")));
        let case = Case { path, backing: vec![Backing::Raw(raw.clone())] };
        let disk = case.open();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let disk = &disk;
                scope.spawn(move || {
                    let mut io = Blocking::open(disk).unwrap();
                    for sector in (thread..SIZE / 512).step_by(usize::try_from(THREADS * 2).unwrap()) {
                        io.write(sector * 512, &[u8::try_from(thread).unwrap(); 512]).unwrap();
                        if sector % 500 == 0 {
                            io.flush().unwrap();
                        }
                    }
                });
            }
        });
        drop(disk);
        assert!(qemu_img(&["check", text(&case.path)]).contains("No errors"));
        let got = contents(&case.path);
        for (sector, bytes) in (0..).zip(got.chunks(512)) {
            let expected = if sector % 8 < 4 { u8::try_from(sector % 8).unwrap() } else { 0x33 };
            assert!(bytes.iter().all(|&byte| byte == expected), "sector {sector}");
        }
    }
}

#[test]
fn images_that_cannot_be_written_safely_are_refused_by_name() {
    if !available("images_that_cannot_be_written_safely_are_refused_by_name") {
        return;
    }
    let dir = Dir::new();
    let refusal = |path: &Path| {
        let read_only = QcowOptions { read_only: true, ..QcowOptions::default() };
        QcowDisk::open(path, &read_only).unwrap();
        let error = QcowDisk::open(path, &QcowOptions::default()).unwrap_err();
        std::error::Error::source(&error).unwrap().to_string()
    };
    let snapshots = dir.create("snapshots", "", "1M", None);
    qemu_img(&["snapshot", "-c", "x", text(&snapshots)]);
    assert!(refusal(&snapshots).contains("internal snapshots"));
    let bitmaps = dir.create("bitmaps", "", "1M", None);
    qemu_img(&["bitmap", "--add", text(&bitmaps), "x"]);
    assert!(refusal(&bitmaps).contains("dirty bitmaps"));
    let unclean = dir.create("unclean", "lazy_refcounts=on", "1M", None);
    qemu_io(&unclean, &["write 0 64k".into()]);
    let mut bytes = std::fs::read(&unclean).unwrap();
    bytes[79] |= 1;
    std::fs::write(&unclean, &bytes).unwrap();
    assert!(refusal(&unclean).contains("not closed"));
    bytes[79] = 2;
    std::fs::write(&unclean, &bytes).unwrap();
    assert!(refusal(&unclean).contains("marked so"));
}

#[test]
fn data_on_tables_is_refused_when_written_and_overlapping_tables_are_not_opened() {
    if !available("data_on_tables_is_refused") {
        return;
    }
    let dir = Dir::new();
    let path = dir.create("x", "", "4M", None);
    qemu_io(&path, &["write 0 64k".into()]);
    let bytes = std::fs::read(&path).unwrap();
    let word = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let l1 = usize::try_from(word(40)).unwrap();
    let l2 = usize::try_from(word(l1) & 0xff_ffff_ffff_fe00).unwrap();
    for target in [0x10000u64, word(40), word(l1) & 0xff_ffff_ffff_fe00, 1 << 40] {
        let mut bad = bytes.clone();
        bad[l2..l2 + 8].copy_from_slice(&(target | 1 << 63).to_be_bytes());
        std::fs::write(&path, &bad).unwrap();
        let disk = Case { path: path.clone(), backing: vec![] }.open();
        let error = Blocking::open(&disk).unwrap().write(0, &[1; 512]).unwrap_err();
        assert!(error.to_string().contains("corrupt"), "{error}");
    }
    let mut bad = bytes;
    let own = u64::try_from(l1).unwrap() | 1 << 63;
    bad[l1..l1 + 8].copy_from_slice(&own.to_be_bytes());
    std::fs::write(&path, &bad).unwrap();
    let error = QcowDisk::open(&path, &QcowOptions { engine: EngineKind::Sync, ..QcowOptions::default() })
        .unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("overlap"));
}

#[test]
fn with_writethrough_tables_are_written_without_a_flush() {
    if !available("with_writethrough_tables_are_written_without_a_flush") {
        return;
    }
    let dir = Dir::new();
    let path = dir.create("x", "", "1M", None);
    let options = QcowOptions { cache: crate::CacheMode::Writethrough, ..QcowOptions::default() };
    let disk = QcowDisk::open(&path, &options).unwrap();
    let mut io = Blocking::open(&disk).unwrap();
    io.write(65536, &[9; 4096]).unwrap();
    let copy = dir.path("copy");
    std::fs::copy(&path, &copy).unwrap();
    assert!(qemu_img(&["check", text(&copy)]).contains("No errors"));
    assert_eq!(contents(&copy)[65536..65536 + 4096], [9; 4096]);
}
