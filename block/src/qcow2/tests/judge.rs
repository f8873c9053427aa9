//! Our check, against QEMU's.

use std::io::Write as _;
use std::sync::Arc;

use super::super::check::{CheckReport, check};
use super::super::core::Core;
use super::oracle::{Dir, available, qemu_img, qemu_io, run, text};
use crate::storage::Storage;
use crate::target::Target;

pub(super) fn judge(storage: Arc<dyn Storage>) -> CheckReport {
    check(&Core::open(storage).unwrap()).unwrap()
}

fn number(json: &str, field: &str) -> u64 {
    let Some((_, rest)) = json.split_once(&format!("\"{field}\": ")) else { return 0 };
    rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn agrees(path: &std::path::Path) -> CheckReport {
    let file = std::fs::File::open(path).unwrap();
    let ours = judge(Arc::new(Target::scratch(file, path)));
    let output = run("qemu-img", &["check", "--output=json", text(path)]);
    let theirs = String::from_utf8(output.stdout).unwrap();
    for (field, value) in [
        ("corruptions", ours.corruptions),
        ("leaks", ours.leaks),
        ("total-clusters", ours.total_clusters),
        ("allocated-clusters", ours.allocated_clusters),
        ("compressed-clusters", ours.compressed_clusters),
        ("fragmented-clusters", ours.fragmented_clusters),
        ("image-end-offset", ours.image_end_offset),
    ] {
        assert_eq!(number(&theirs, field), value, "{field} of {}\n{theirs}", path.display());
    }
    ours
}

#[test]
fn finds_what_qemu_finds() {
    if !available("finds_what_qemu_finds") {
        return;
    }
    let dir = Dir::new();
    let source = dir.path("source");
    std::fs::write(&source, vec![7; 1 << 20]).unwrap();
    for (number, options) in [
        "cluster_size=4k",
        "extended_l2=on,cluster_size=16k",
        "refcount_bits=1,cluster_size=512",
        "compat=0.10",
    ]
    .iter()
    .enumerate()
    {
        let path = dir.create(&format!("{number}"), options, "8M", None);
        qemu_io(&path, &["write 0 100k".into(), "write 3M 200k".into(), "write 1M 64k".into()]);
        assert_eq!(agrees(&path).corruptions, 0);
        let packed = dir.path(&format!("packed{number}"));
        qemu_img(&["convert", "-c", "-O", "qcow2", "-o", options, text(&source), text(&packed)]);
        agrees(&packed);
    }
    let path = dir.create("broken", "cluster_size=64k", "8M", None);
    qemu_io(&path, &["write 0 1M".into()]);
    let bytes = std::fs::read(&path).unwrap();
    let table = usize::try_from(u64::from_be_bytes(bytes[48..56].try_into().unwrap())).unwrap();
    let block = usize::try_from(u64::from_be_bytes(bytes[table..table + 8].try_into().unwrap())).unwrap();
    let mut bad = bytes.clone();
    // One count too small, one too large, one for nothing.
    bad[block + 2 * 7 + 1] = 0;
    bad[block + 2 * 9 + 1] = 2;
    bad[block + 2 * 300 + 1] = 1;
    std::fs::File::create(&path).unwrap().write_all(&bad).unwrap();
    let report = agrees(&path);
    assert!(report.corruptions > 0 && report.leaks == 1);
}
