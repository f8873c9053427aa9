//! Images made by QEMU, read by us.

use std::path::Path;

use super::oracle::{Dir, available, contents, qemu_img, qemu_io, text};
use crate::qcow2::{Backing, QcowDisk, QcowOptions};
use crate::{Blocking, Disk, EngineKind};

fn open(path: &Path, backing: &[Backing], engine: EngineKind) -> QcowDisk {
    let options =
        QcowOptions { backing: backing.to_vec(), engine, read_only: true, ..QcowOptions::default() };
    QcowDisk::open(path, &options).unwrap()
}

/// Reads all of it, in pieces that keep to no boundaries.
fn read_all(disk: &QcowDisk) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(disk.info().size_bytes).unwrap()];
    let mut io = Blocking::open(disk).unwrap();
    let mut at = 0;
    for len in [512, 4096, 1536, 200 << 10, 65536, 1 << 20].into_iter().cycle() {
        let piece = &mut bytes[at..];
        let len = len.min(piece.len());
        if len == 0 {
            break;
        }
        io.read(at as u64, &mut piece[..len]).unwrap();
        at += len;
    }
    bytes
}

fn agrees(path: &Path, backing: &[Backing]) {
    let expected = contents(path);
    for engine in [EngineKind::Auto, EngineKind::Threads, EngineKind::Sync] {
        assert!(read_all(&open(path, backing, engine)) == expected, "{} {engine:?}", path.display());
    }
}

fn commands(list: &[&str]) -> Vec<String> {
    list.iter().map(|&command| command.to_owned()).collect()
}

const WRITES: &[&str] = &[
    "write -P 1 0 512",
    "write -P 2 65024 1024",
    "write -P 3 300k 200k",
    "write -z 320k 100k",
    "write -z -u 1M 256k",
    "write -P 4 1100k 4k",
    "discard 400k 64k",
    "write -P 5 3M 1M",
    "write -P 6 4095k 1k",
];

#[test]
fn plain_images_of_all_shapes() {
    if !available("plain_images_of_all_shapes") {
        return;
    }
    let dir = Dir::new();
    for (number, options) in [
        "",
        "compat=0.10",
        "cluster_size=512",
        "cluster_size=4k,refcount_bits=1",
        "cluster_size=2M,refcount_bits=64",
        "extended_l2=on,cluster_size=16k",
        "extended_l2=on,cluster_size=128k",
        "preallocation=metadata",
        "preallocation=falloc",
        "lazy_refcounts=on",
    ]
    .iter()
    .enumerate()
    {
        let path = dir.create(&format!("{number}.qcow2"), options, "4M", None);
        let writes = if options.contains("0.10") { &WRITES[..3] } else { WRITES };
        qemu_io(&path, &commands(writes));
        agrees(&path, &[]);
    }
}

#[test]
fn compressed_images() {
    if !available("compressed_images") {
        return;
    }
    let dir = Dir::new();
    let source = dir.path("source.raw");
    let text_like: Vec<u8> = (0..3_000_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    std::fs::write(&source, &text_like[..5 << 20]).unwrap();
    for (number, options) in
        ["", "compression_type=zstd", "compression_type=zstd,cluster_size=2M", "cluster_size=4k"]
            .iter()
            .enumerate()
    {
        let path = dir.path(&format!("{number}.qcow2"));
        let options = if options.is_empty() { "compat=1.1" } else { options };
        qemu_img(&["convert", "-c", "-O", "qcow2", "-o", options, text(&source), text(&path)]);
        agrees(&path, &[]);
        qemu_io(&path, &commands(&["write -P 9 70k 3k", "write -z 1M 128k"]));
        agrees(&path, &[]);
    }
}

#[test]
fn chains_of_backing_files() {
    if !available("chains_of_backing_files") {
        return;
    }
    let dir = Dir::new();
    let raw = dir.path("base.raw");
    std::fs::write(&raw, vec![0x77; (2 << 20) + 512]).unwrap();
    let middle = dir.create("middle.qcow2", "cluster_size=4k", "3M", Some((&raw, "raw")));
    qemu_io(&middle, &commands(&["write -P 1 1M 10k", "write -z 1100k 16k", "write -P 2 2500k 4k"]));
    let top = dir.create("top.qcow2", "extended_l2=on", "4M", Some((&middle, "qcow2")));
    qemu_io(&top, &commands(&["write -P 3 1032k 2k", "write -z 64k 2k", "write -P 4 3500k 4k"]));
    agrees(&middle, &[Backing::Raw(raw.clone())]);
    agrees(&top, &[Backing::Qcow2(middle.clone()), Backing::Raw(raw.clone())]);

    let refused = |path: &Path, backing: &[Backing]| {
        let options = QcowOptions { backing: backing.to_vec(), read_only: true, ..QcowOptions::default() };
        let error = QcowDisk::open(path, &options).unwrap_err();
        format!("{error}: {}", std::error::Error::source(&error).unwrap())
    };
    assert!(refused(&top, &[]).contains("opened only if it is named"));
    assert!(refused(&top, &[Backing::Qcow2(middle.clone())]).contains("opened only if it is named"));
    let too_many = [Backing::Qcow2(middle), Backing::Raw(raw.clone()), Backing::Raw(raw)];
    assert!(refused(&top, &too_many).contains("but one was named"));
}

#[test]
fn a_large_image_costs_little_to_open() {
    if !available("a_large_image_costs_little_to_open") {
        return;
    }
    let dir = Dir::new();
    let path = dir.create("large.qcow2", "", "1T", None);
    qemu_io(&path, &commands(&["write -P 5 1023G 64k"]));
    let disk = open(&path, &[], EngineKind::Auto);
    assert_eq!(disk.info().size_bytes, 1 << 40);
    let mut bytes = [0; 4096];
    Blocking::open(&disk).unwrap().read(1023 << 30, &mut bytes).unwrap();
    assert_eq!(bytes, [5; 4096]);
}
