//! Space: taken before it is needed, left out, or given back.

use std::path::Path;

use super::*;
use crate::Blocking;
use crate::qcow2::tests::oracle::{Dir, available, contents, qemu_img, qemu_io, text};

fn taken(path: &Path, format: Format) -> u64 {
    info(path, format).unwrap().actual_size
}

#[test]
fn preallocated_images_have_a_place_for_everything() {
    if !available("preallocated_images_have_a_place_for_everything") {
        return;
    }
    const SIZE: u64 = (5 << 20) + 512;
    let dir = Dir::new();
    let plain = CreateOptions::new(Format::Qcow2, SIZE);
    let shapes = [
        plain.clone(),
        CreateOptions { cluster_size: 512, refcount_bits: 64, ..plain.clone() },
        CreateOptions { cluster_size: 16 << 10, extended_l2: true, ..plain.clone() },
        CreateOptions { old_version: true, ..plain },
    ];
    for (number, shape) in shapes.into_iter().enumerate() {
        for preallocation in [Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full] {
            let path = dir.path(&format!("{number}-{preallocation:?}"));
            create(&path, &CreateOptions { preallocation, ..shape.clone() }).unwrap();
            let report = check(&path).unwrap();
            assert_eq!((report.corruptions, report.leaks), (0, 0));
            assert_eq!(report.allocated_clusters, SIZE.div_ceil(shape.cluster_size.into()));
            assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
            assert_eq!(taken(&path, Format::Qcow2) > SIZE, preallocation != Preallocation::Metadata);
            assert!(contents(&path).iter().all(|&byte| byte == 0));
            // Nothing more is taken by writing, and QEMU finds what was written.
            let length = std::fs::metadata(&path).unwrap().len();
            let disk = open(&path, Format::Qcow2, &OpenOptions::default()).unwrap();
            Blocking::open(disk.disk()).unwrap().write(3 << 20, &[7; 4096]).unwrap();
            drop(disk);
            qemu_io(&path, &[format!("read -P 7 {} 4k", 3 << 20), "write -P 8 1M 64k".into()]);
            assert_eq!(std::fs::metadata(&path).unwrap().len(), length);
        }
    }
}

#[test]
fn a_copy_onto_something_that_is_there_hides_all_of_it() {
    if !available("a_copy_onto_something_that_is_there_hides_all_of_it") {
        return;
    }
    let dir = Dir::new();
    let raw = dir.path("source");
    let mut bytes = vec![0; 4 << 20];
    bytes[1 << 20..(1 << 20) + 5000].fill(3);
    std::fs::write(&raw, &bytes).unwrap();
    let from = open(&raw, Format::Raw, &OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap();
    let old_raw = dir.path("old.raw");
    std::fs::write(&old_raw, vec![9; 5 << 20]).unwrap();
    let old_qcow2 = dir.create("old.qcow2", "", "5M", None);
    qemu_io(&old_qcow2, &["write -P 9 0 5M".into()]);
    bytes.resize(5 << 20, 9);
    for (path, format) in [(old_raw, Format::Raw), (old_qcow2, Format::Qcow2)] {
        let options =
            ConvertOptions { existing: true, ..ConvertOptions::new(CreateOptions::new(format, 4 << 20)) };
        convert((&raw, &from), &path, &options, &|_| {}).unwrap();
        let got = if format == Format::Raw { std::fs::read(&path).unwrap() } else { contents(&path) };
        assert!(got == bytes);
        assert!(taken(&path, format) < 3 << 20, "the zeroes were given back");
        let small = dir.path(&format!("small.{format}"));
        create(&small, &CreateOptions::new(format, 1 << 20)).unwrap();
        assert!(convert((&raw, &from), &small, &options, &|_| {}).is_err(), "too small");
    }
    let full = dir.path("full");
    let options =
        ConvertOptions { full: true, ..ConvertOptions::new(CreateOptions::new(Format::Raw, 4 << 20)) };
    convert((&raw, &from), &full, &options, &|_| {}).unwrap();
    assert!(taken(&full, Format::Raw) >= 4 << 20);
}

#[test]
fn nothing_is_left_of_an_image_that_could_not_be_made() {
    let dir = Dir::new();
    let path = dir.path("image");
    // No file system has so much.
    let vast = CreateOptions {
        preallocation: Preallocation::Falloc,
        ..CreateOptions::new(Format::Raw, (1 << 63) - 512)
    };
    create(&path, &vast).unwrap_err();
    assert!(!path.exists(), "a file is left");
    std::fs::write(&path, "theirs").unwrap();
    create(&path, &vast).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), b"theirs");
    create(&path, &CreateOptions { overwrite: true, ..vast }).unwrap_err();
    assert!(path.exists(), "what was there is not this call's to remove");
}
