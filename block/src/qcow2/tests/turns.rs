//! The same random operations on twins, one image by us and the other by QEMU, taking turns: after each turn QEMU has to
//! find both sound and the same.

use std::path::Path;

use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::oracle::{Dir, available, qemu_img, qemu_io, text};
use crate::qcow2::{Backing, QcowDisk, QcowOptions};
use crate::{Blocking, EngineKind};

const SIZE: u64 = 1 << 20;

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    let range = (0..SIZE / 512, prop_oneof![1..16u64, 1..600u64]);
    let range = range.prop_map(|(at, len)| (at * 512, (len * 512).min(SIZE - at * 512)));
    prop_oneof![
        6 => (range.clone(), any::<u8>()).prop_map(|((at, len), byte)| Step::Write(at, len, byte)),
        2 => range.prop_map(|(at, len)| Step::Zero(at, len)),
        1 => Just(Step::Flush),
    ]
}

fn by_us(path: &Path, backing: &[Backing], engine: EngineKind, steps: &[Step]) {
    let options = QcowOptions { backing: backing.to_vec(), engine, ..QcowOptions::default() };
    let disk = QcowDisk::open(path, &options).unwrap();
    let mut io = Blocking::open(&disk).unwrap();
    for step in steps {
        match *step {
            Step::Write(at, len, byte) => io.write(at, &vec![byte; usize::try_from(len).unwrap()]).unwrap(),
            Step::Zero(at, len) => io.write_zeroes(at, len, true).unwrap(),
            Step::Flush => io.flush().unwrap(),
        }
    }
}

fn by_qemu(path: &Path, steps: &[Step]) {
    let commands: Vec<String> = steps
        .iter()
        .map(|step| match step {
            Step::Write(at, len, byte) => format!("write -P {byte} {at} {len}"),
            Step::Zero(at, len) => format!("write -z -u {at} {len}"),
            Step::Flush => "flush".into(),
        })
        .collect();
    qemu_io(path, &commands);
}

/// Pairs of twins: bare, over a raw file, over a qcow2 image, and compressed.
fn twins(dir: &Dir) -> Vec<([std::path::PathBuf; 2], Vec<Backing>)> {
    let raw = dir.path("base.raw");
    std::fs::write(&raw, vec![0x33; usize::try_from(SIZE * 3 / 4).unwrap()]).unwrap();
    let size = SIZE.to_string();
    let middle = dir.create("middle", "cluster_size=8k", &size, Some((&raw, "raw")));
    qemu_io(&middle, &["write -P 9 100k 50k".into(), "write -z 300k 64k".into()]);
    let mut all = vec![];
    for (number, options) in
        ["cluster_size=2k,refcount_bits=2", "extended_l2=on,cluster_size=16k", "compat=0.10"]
            .iter()
            .enumerate()
    {
        let names = |kind: &str| ["a", "b"].map(|twin| format!("{kind}{number}{twin}"));
        all.push((names("bare").map(|name| dir.create(&name, options, &size, None)), vec![]));
        let over = names("over").map(|name| dir.create(&name, options, &size, Some((&middle, "qcow2"))));
        all.push((over, vec![Backing::Qcow2(middle.clone()), Backing::Raw(raw.clone())]));
        let packed = names("packed").map(|name| {
            let path = dir.path(&name);
            qemu_img(&["convert", "-c", "-O", "qcow2", "-o", options, text(&raw), text(&path)]);
            qemu_img(&["resize", "-q", text(&path), &size]);
            path
        });
        all.push((packed, vec![]));
    }
    all
}

#[test]
fn twins_stay_twins_whoever_writes_to_them() {
    if !available("twins_stay_twins_whoever_writes_to_them") {
        return;
    }
    let dir = Dir::new();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let turn = prop::collection::vec(step(), 1..15);
    for ([first, second], backing) in twins(&dir) {
        for (ours, theirs) in [(&first, &second), (&second, &first), (&first, &second)] {
            let steps = turn.new_tree(&mut runner).unwrap().current();
            eprintln!("{}: {steps:?}", ours.display());
            by_us(ours, &backing, EngineKind::Auto, &steps);
            by_qemu(theirs, &steps);
            for path in [ours, theirs] {
                let checked = qemu_img(&["check", text(path)]);
                assert!(checked.contains("No errors"), "{checked}");
            }
            assert!(qemu_img(&["compare", text(&first), text(&second)]).contains("identical"));
        }
    }
}
