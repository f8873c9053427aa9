use std::path::{Path, PathBuf};

use super::*;
use crate::Blocking;
use crate::qcow2::tests::oracle::{Dir, available, contents, qemu_img, qemu_io, text};
use crate::qcow2::{Compression, Repair};

fn read_only(path: &Path, format: Format) -> Opened {
    open(path, format, &OpenOptions { read_only: true, ..OpenOptions::default() }).unwrap()
}

/// A raw file with data, text-like data and holes.
fn source(dir: &Dir) -> PathBuf {
    let path = dir.path("source.raw");
    let mut bytes = vec![0u8; (9 << 20) + 512];
    for (at, byte) in bytes[1 << 20..3 << 20].iter_mut().enumerate() {
        *byte = u8::try_from(at / 100 % 256).unwrap();
    }
    let mut state = 1u32;
    for byte in &mut bytes[(5 << 20) + 1024..(6 << 20) + 512] {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *byte = u8::try_from(state >> 24).unwrap();
    }
    *bytes.last_mut().unwrap() = 9;
    std::fs::write(&path, bytes).unwrap();
    path
}

fn shapes(size: u64) -> Vec<CreateOptions> {
    let plain = CreateOptions::new(Format::Qcow2, size);
    vec![
        plain.clone(),
        CreateOptions { cluster_size: 512, ..plain.clone() },
        CreateOptions { cluster_size: 2 << 20, compression: Compression::Zstd, ..plain.clone() },
        CreateOptions { compression: Compression::Zstd, ..plain.clone() },
        CreateOptions { extended_l2: true, cluster_size: 32 << 10, ..plain.clone() },
        CreateOptions { old_version: true, ..plain.clone() },
        CreateOptions { refcount_bits: 1, cluster_size: 4096, ..plain.clone() },
        CreateOptions { refcount_bits: 64, lazy_refcounts: true, ..plain },
    ]
}

#[test]
fn copies_are_the_same_for_qemu_and_for_us() {
    if !available("copies_are_the_same_for_qemu_and_for_us") {
        return;
    }
    let dir = Dir::new();
    let raw = source(&dir);
    let expected = std::fs::read(&raw).unwrap();
    let from = read_only(&raw, Format::Raw);
    for (number, create) in shapes(expected.len() as u64).into_iter().enumerate() {
        for compress in [false, true] {
            let path = dir.path(&format!("{number}-{compress}.qcow2"));
            let options = ConvertOptions { compress, ..ConvertOptions::new(create.clone()) };
            let last = std::sync::Mutex::new(0.0f64);
            let seen = |done: f64| {
                let mut last = last.lock().unwrap();
                *last = last.max(done);
            };
            convert((&raw, &from), &path, &options, &seen).unwrap();
            assert!(*last.lock().unwrap() > 0.99);
            assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
            assert!(contents(&path) == expected, "{options:?}");
            let copy = read_only(&path, Format::Qcow2);
            let same = compare((&raw, &from), (&path, &copy)).unwrap();
            assert_eq!(same, Comparison::Identical { sizes_differ: false });
            let summary = info(&path, Format::Qcow2).unwrap();
            assert!(summary.actual_size < 5 << 20, "{summary:?}");
            let report = check(&path).unwrap();
            assert_eq!((report.corruptions, report.leaks), (0, 0));
            assert_eq!(report.compressed_clusters > 0, compress);

            let back = dir.path("back.raw");
            let create =
                CreateOptions { overwrite: true, ..CreateOptions::new(Format::Raw, expected.len() as u64) };
            convert((&path, &copy), &back, &ConvertOptions::new(create), &|_| {}).unwrap();
            assert!(std::fs::read(&back).unwrap() == expected);
            assert!(info(&back, Format::Raw).unwrap().actual_size < 5 << 20);
        }
    }
}

#[test]
fn a_compressed_copy_can_be_written_to() {
    if !available("a_compressed_copy_can_be_written_to") {
        return;
    }
    let dir = Dir::new();
    let raw = source(&dir);
    let mut expected = std::fs::read(&raw).unwrap();
    let path = dir.path("x.qcow2");
    let create = CreateOptions::new(Format::Qcow2, expected.len() as u64);
    convert(
        (&raw, &read_only(&raw, Format::Raw)),
        &path,
        &ConvertOptions { compress: true, ..ConvertOptions::new(create) },
        &|_| {},
    )
    .unwrap();
    let disk = open(&path, Format::Qcow2, &OpenOptions::default()).unwrap();
    let mut io = Blocking::open(disk.disk()).unwrap();
    for at in [1 << 20, (2 << 20) - 512, 5 << 20, 8 << 20] {
        io.write(at, &[7; 1536]).unwrap();
        let at = usize::try_from(at).unwrap();
        expected[at..at + 1536].fill(7);
    }
    io.flush().unwrap();
    drop((io, disk));
    assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
    assert!(contents(&path) == expected);
}

#[test]
fn new_images_are_what_qemu_expects() {
    if !available("new_images_are_what_qemu_expects") {
        return;
    }
    let dir = Dir::new();
    for (number, options) in shapes(300 << 20).into_iter().chain(shapes(1 << 30)).enumerate() {
        let path = dir.path(&format!("{number}.qcow2"));
        create(&path, &options).unwrap();
        assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
        let theirs = qemu_img(&["info", text(&path)]);
        let kind = if options.compression == Compression::Zstd { "zstd" } else { "zlib" };
        assert!(theirs.contains(&format!("compression type: {kind}")), "{theirs}");
        assert_eq!(theirs.contains("extended l2: true"), options.extended_l2, "{theirs}");
        assert!(theirs.contains(&format!("refcount bits: {}", options.refcount_bits)), "{theirs}");
        assert_eq!(theirs.contains("compat: 0.10"), options.old_version, "{theirs}");
        assert!(matches!(create(&path, &options), Err(DiskError::Open { .. })), "it is there already");
        qemu_io(&path, &["write 0 1M".into()]);
        assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
    }
    let base = dir.path("base.raw");
    std::fs::write(&base, [5; 4096]).unwrap();
    let over = dir.path("over.qcow2");
    let backing = Some((text(&base).to_owned(), Format::Raw));
    create(&over, &CreateOptions { backing, ..CreateOptions::new(Format::Qcow2, 8192) }).unwrap();
    assert_eq!(contents(&over), [[5; 4096], [0; 4096]].concat());
    let summary = info(&over, Format::Qcow2).unwrap().qcow2.unwrap();
    assert_eq!(summary.backing_filename.as_deref(), Some(text(&base)));
}

#[test]
fn raw_images_are_sparse_or_reserved() {
    let dir = Dir::new();
    for (preallocation, least) in
        [(Preallocation::Off, 0), (Preallocation::Falloc, 1 << 20), (Preallocation::Full, 1 << 20)]
    {
        let path = dir.path(&format!("{preallocation:?}"));
        create(&path, &CreateOptions { preallocation, ..CreateOptions::new(Format::Raw, 1 << 20) }).unwrap();
        let info = info(&path, Format::Raw).unwrap();
        assert_eq!(info.virtual_size, 1 << 20);
        assert!(info.actual_size >= least && (least > 0 || info.actual_size == 0), "{info:?}");
    }
}

#[test]
fn wrong_options_are_refused() {
    let dir = Dir::new();
    let path = dir.path("x");
    let qcow2 = CreateOptions::new(Format::Qcow2, 1 << 20);
    for bad in [
        CreateOptions::new(Format::Raw, 0),
        CreateOptions::new(Format::Raw, 1000),
        CreateOptions::new(Format::Raw, u64::MAX - 511),
        CreateOptions { cluster_size: 1000, ..qcow2.clone() },
        CreateOptions { cluster_size: 4 << 20, ..qcow2.clone() },
        CreateOptions { cluster_size: 4096, extended_l2: true, ..qcow2.clone() },
        CreateOptions { cluster_size: 512, size: 1 << 50, ..qcow2.clone() },
        CreateOptions { backing: Some(("x".repeat(1024), Format::Raw)), ..qcow2.clone() },
        CreateOptions { backing: Some(("x".into(), Format::Raw)), ..CreateOptions::new(Format::Raw, 512) },
        CreateOptions { old_version: true, refcount_bits: 8, ..qcow2.clone() },
        CreateOptions { refcount_bits: 12, ..qcow2.clone() },
        CreateOptions { preallocation: Preallocation::Metadata, ..CreateOptions::new(Format::Raw, 512) },
    ] {
        assert!(create(&path, &bad).is_err(), "{bad:?}");
        assert!(!path.exists());
    }
    assert!("vmdk".parse::<Format>().is_err());
}

#[test]
fn resized_images_have_zeroes_behind_their_old_end() {
    if !available("resized_images_have_zeroes_behind_their_old_end") {
        return;
    }
    let dir = Dir::new();
    for (number, options) in ["", "cluster_size=512", "extended_l2=on"].iter().enumerate() {
        let path = dir.create(&format!("{number}"), options, &((1 << 20) + 512).to_string(), None);
        qemu_io(&path, &["write -P 1 0 1049088".into()]);
        let mut expected = contents(&path);
        for size in [(1 << 20) + 1024, 5 << 20, 40 << 20] {
            resize(&path, Format::Qcow2, size, false).unwrap();
            assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
        }
        expected.resize(40 << 20, 0);
        assert!(contents(&path) == expected, "{options}");
        assert!(resize(&path, Format::Qcow2, 1 << 20, false).is_err(), "only if it is asked for");
        for size in [700 << 10, 512] {
            resize(&path, Format::Qcow2, size, true).unwrap();
            assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
            expected.truncate(usize::try_from(size).unwrap());
            assert!(contents(&path) == expected, "{options}");
            // What was let go does not come back.
            resize(&path, Format::Qcow2, 3 << 20, false).unwrap();
            let mut longer = expected.clone();
            longer.resize(3 << 20, 0);
            assert!(contents(&path) == longer, "{options}");
        }
    }
    let raw = dir.path("raw");
    create(&raw, &CreateOptions::new(Format::Raw, 1 << 20)).unwrap();
    resize(&raw, Format::Raw, 2 << 20, false).unwrap();
    assert!(resize(&raw, Format::Raw, 1 << 20, false).is_err());
    resize(&raw, Format::Raw, 1 << 20, true).unwrap();
    assert_eq!(std::fs::metadata(&raw).unwrap().len(), 1 << 20);
}

#[test]
fn maps_name_data_and_differences_are_found() {
    let dir = Dir::new();
    let raw = source(&dir);
    let from = read_only(&raw, Format::Raw);
    let path = dir.path("x.qcow2");
    let size = from.disk().info().size_bytes;
    let create = CreateOptions::new(Format::Qcow2, size);
    convert((&raw, &from), &path, &ConvertOptions::new(create), &|_| {}).unwrap();
    let copy = open(&path, Format::Qcow2, &OpenOptions::default()).unwrap();
    let extents = map(&path, &copy).unwrap();
    assert_eq!(extents.iter().map(|extent| extent.length).sum::<u64>(), size);
    let data = |at: u64| {
        let extent = extents.iter().find(|extent| (extent.start..extent.start + extent.length).contains(&at));
        matches!(extent.unwrap().kind, ExtentKind::Data { depth: 0, .. })
    };
    assert!(!data(0) && data(1 << 20) && data((3 << 20) - 1) && !data(4 << 20) && data(size - 1));
    Blocking::open(copy.disk()).unwrap().write((4 << 20) + 512, &[1; 512]).unwrap();
    assert_eq!(
        compare((&raw, &from), (&path, &copy)).unwrap(),
        Comparison::Different { offset: (4 << 20) + 512 }
    );
}

#[test]
fn a_bench_runs_all_of_its_requests() {
    let dir = Dir::new();
    let path = dir.path("x");
    create(&path, &CreateOptions::new(Format::Qcow2, 1 << 20)).unwrap();
    let disk = open(&path, Format::Qcow2, &OpenOptions::default()).unwrap();
    for (write, flush_interval, drain) in
        [(Some(7), 0, true), (None, 0, true), (Some(9), 10, false), (Some(8), 10, true)]
    {
        let options =
            BenchOptions { count: 600, depth: 16, write, flush_interval, drain, ..BenchOptions::default() };
        bench(disk.disk(), &options).unwrap();
    }
    let mut bytes = vec![0; 1 << 20];
    Blocking::open(disk.disk()).unwrap().read(0, &mut bytes).unwrap();
    assert!(bytes.iter().all(|&byte| byte == 8));
    assert!(bench(disk.disk(), &BenchOptions { size: 2 << 20, ..BenchOptions::default() }).is_err());
}

#[test]
fn damaged_refcounts_are_repaired() {
    if !available("damaged_refcounts_are_repaired") {
        return;
    }
    let dir = Dir::new();
    for (number, options) in
        ["cluster_size=4k", "cluster_size=16k,extended_l2=on", "compat=0.10"].iter().enumerate()
    {
        let path = dir.create(&format!("{number}"), options, "8M", None);
        qemu_io(&path, &["write -P 5 0 1M".into(), "write -P 6 5M 100k".into()]);
        let expected = contents(&path);
        let mut bytes = std::fs::read(&path).unwrap();
        let word = |bytes: &[u8], at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
        let table = usize::try_from(word(&bytes, 48)).unwrap();
        let block = usize::try_from(word(&bytes, table)).unwrap();
        let leak = bytes.len().div_ceil(1 << bytes[23]);
        bytes.resize((leak + 4) << bytes[23], 1);
        bytes[block + 2 * leak + 1] = 1;
        std::fs::write(&path, &bytes).unwrap();
        let (before, after) = repair(&path, Repair::Leaks).unwrap();
        assert_eq!((before.leaks, after.leaks, after.corruptions), (1, 0, 0));
        // Nothing counted at all, as if the block had been lost.
        bytes[block..block + 64].fill(0);
        if !options.contains("0.10") {
            bytes[79] |= 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        let (before, after) = repair(&path, Repair::All).unwrap();
        assert!(before.corruptions > 0);
        assert_eq!((after.leaks, after.corruptions), (0, 0));
        assert!(qemu_img(&["check", text(&path)]).contains("No errors"));
        assert!(contents(&path) == expected);
        open(&path, Format::Qcow2, &OpenOptions::default()).unwrap();
    }
}

#[test]
fn read_only_images_are_unpacked_once() {
    if !available("read_only_images_are_unpacked_once") {
        return;
    }
    let dir = Dir::new();
    let (raw, packed, copy) = (source(&dir), dir.path("packed"), dir.path("copy"));
    assert_eq!(unpacked(&raw, &copy).unwrap(), raw);
    qemu_img(&["convert", "-c", "-O", "qcow2", text(&raw), text(&packed)]);
    assert_eq!(unpacked(&packed, &copy).unwrap(), copy);
    assert!(std::fs::read(&copy).unwrap() == std::fs::read(&raw).unwrap());
    std::fs::write(&copy, "kept").unwrap();
    assert_eq!(unpacked(&packed, &copy).unwrap(), copy);
    assert_eq!(std::fs::read(&copy).unwrap(), b"kept");

    let over = dir.create("over", "", "1M", Some((&raw, "raw")));
    assert!(matches!(unpacked(&over, &dir.path("none")), Err(DiskError::Format { .. })));
    let left = std::fs::read_dir(raw.parent().unwrap()).unwrap().flatten();
    assert!(left.map(|entry| entry.file_name()).all(|name| !name.to_string_lossy().contains("partial")));
}

#[test]
fn unfinished_copies_of_others_are_left_alone() {
    let dir = Dir::new();
    let (packed, copy) = (dir.path("packed"), dir.path("copy"));
    create(&packed, &CreateOptions::new(Format::Qcow2, 1 << 20)).unwrap();
    // A launcher in another pod has the same number.
    let theirs = ["", "-0", "-1"].map(|end| dir.path(&format!("copy.partial-{}{end}", std::process::id())));
    theirs.iter().for_each(|path| std::fs::write(path, "theirs").unwrap());
    assert_eq!(unpacked(&packed, &copy).unwrap(), copy);
    assert_eq!(std::fs::metadata(&copy).unwrap().len(), 1 << 20);
    theirs.iter().for_each(|path| assert_eq!(std::fs::read(path).unwrap(), b"theirs"));
}

#[test]
fn runs_of_data_are_whole_pieces_without_zeroes_between() {
    let runs = |bytes: &[u8]| data_runs(bytes, 4).map(|run| (run.start, run.end)).collect::<Vec<_>>();
    assert_eq!(runs(b""), []);
    assert_eq!(runs(&[0; 9]), []);
    assert_eq!(runs(&[0, 0, 0, 1]), [(0, 4)]);
    assert_eq!(runs(&[1, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3]), [(0, 8), (12, 14)]);
    assert_eq!(runs(&[0, 0, 0, 0, 5, 0, 0, 0, 0, 0]), [(4, 8)]);
}
