//! Images that nobody should make. Each is to be refused, or read without harm.

use std::io;

use proptest::prelude::*;

use super::super::header::{Header, MAX_HEADER};
use crate::qcow2::{QcowDisk, QcowError, QcowOptions};
use crate::{Blocking, Disk, DiskError};

pub(super) const CLUSTER: usize = 65536;

/// A version 3 image of 1 MiB: header, refcount table, L1 table, L2 table, one data cluster.
pub(super) fn image() -> Vec<u8> {
    let mut bytes = vec![0; 5 * CLUSTER];
    for (at, value) in [(0, 0x5146_49fb), (4, 3), (20, 16), (36, 1), (56, 1), (96, 4), (100, 104)] {
        put32(&mut bytes, at, value);
    }
    for (at, value) in [(24, 1 << 20), (40, 2 * CLUSTER), (48, CLUSTER)] {
        put64(&mut bytes, at, value as u64);
    }
    put64(&mut bytes, 2 * CLUSTER, (3 * CLUSTER) as u64 | 1 << 63);
    put64(&mut bytes, 3 * CLUSTER, (4 * CLUSTER) as u64 | 1 << 63);
    bytes[4 * CLUSTER..].fill(0x55);
    bytes
}

pub(super) fn put32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn put64(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_be_bytes());
}

/// Adds a header extension behind the header; an end mark follows by itself.
pub(super) fn extension(bytes: &mut [u8], kind: u32, len: u32, data: &[u8]) {
    put32(bytes, 104, kind);
    put32(bytes, 108, len);
    bytes[112..112 + data.len()].copy_from_slice(data);
}

pub(super) fn open(bytes: &[u8]) -> Result<QcowDisk, DiskError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    QcowDisk::open(file.path(), &QcowOptions { read_only: true, ..QcowOptions::default() })
}

pub(super) fn read_all(disk: &QcowDisk) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(disk.info().size_bytes.min(2 << 20)).unwrap()];
    Blocking::open(disk).unwrap().read(0, &mut bytes)?;
    Ok(bytes)
}

pub(super) fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = image();
    change(&mut bytes);
    bytes
}

#[test]
fn the_image_to_start_from_is_fine() {
    let bytes = read_all(&open(&image()).unwrap()).unwrap();
    assert!(bytes[..CLUSTER].iter().all(|&byte| byte == 0x55));
    assert!(bytes[CLUSTER..].iter().all(|&byte| byte == 0));
}

#[test]
fn short_files() {
    for len in [0, 4, 71, 72, 103, 104, 4096, CLUSTER, 2 * CLUSTER, 3 * CLUSTER - 1] {
        assert!(open(&image()[..len]).is_err(), "{len}");
    }
}

#[test]
fn header_fields() {
    let cases32: &[(usize, &[u32])] = &[
        (0, &[0, 0x5146_4900]),
        (4, &[0, 1, 4, u32::MAX]),
        (20, &[0, 8, 22, 31, 63, 64, u32::MAX]),
        (32, &[1, 2, 99]),
        (36, &[0, 1 << 23, u32::MAX]),
        (56, &[0, 4096, u32::MAX]),
        (60, &[1, 65537, u32::MAX]),
        (96, &[7, 255, u32::MAX]),
        (100, &[0, 72, 96, 105, 65544, u32::MAX]),
    ];
    for (at, values) in cases32 {
        for &value in *values {
            assert!(open(&changed(|bytes| put32(bytes, *at, value))).is_err(), "{at}: {value}");
        }
    }
    let cases64: &[(usize, &[u64])] = &[
        (24, &[0, 1 << 30, 1 << 63, u64::MAX - 511]),
        (40, &[0, 1, 5 << 16, 1 << 56, u64::MAX]),
        (48, &[0, 1, 5 << 16, 1 << 56, u64::MAX]),
        (72, &[1 << 2, 1 << 3, 1 << 5, 1 << 63]),
    ];
    for (at, values) in cases64 {
        for &value in *values {
            assert!(open(&changed(|bytes| put64(bytes, *at, value))).is_err(), "{at}: {value}");
        }
    }
    let small = changed(|bytes| {
        put64(bytes, 72, 1 << 4);
        put32(bytes, 20, 12);
    });
    assert!(open(&small).is_err(), "subclusters in small clusters");
}

#[test]
fn sizes_are_rounded_up_to_sectors() {
    for (size, expected) in [(1, 512), (511, 512), ((1 << 20) - 511, 1 << 20)] {
        assert_eq!(open(&changed(|bytes| put64(bytes, 24, size))).unwrap().info().size_bytes, expected);
    }
}

#[test]
fn unknown_features_are_named_and_harmless_to_print() {
    for bit in 5..64 {
        let plain = changed(|bytes| put64(bytes, 72, 1 << bit));
        let error = Header::parse(&plain, plain.len() as u64).unwrap_err().to_string();
        assert!(error.contains(&format!("bit {bit}")), "{error}");
    }
    let named = changed(|bytes| {
        put64(bytes, 72, 1 << 7);
        extension(bytes, 0x6803_f857, 48, b"\0\x07evil\x1b[2J\n\xff\0");
    });
    let error = Header::parse(&named, named.len() as u64).unwrap_err().to_string();
    assert!(error.contains(r"evil\x1b[2J\n\xff"), "{error}");
}

#[test]
fn extensions() {
    for (kind, len) in [(1, u32::MAX), (1, 1 << 16), (0xe279_2aca, 1 << 20)] {
        assert!(open(&changed(|bytes| extension(bytes, kind, len, b""))).is_err());
    }
    let odd_names = changed(|bytes| extension(bytes, 0x6803_f857, 47, b""));
    assert!(open(&odd_names).is_ok());
    let twice = changed(|bytes| {
        extension(bytes, 0xe279_2aca, 0, b"");
        put32(bytes, 112, 0xe279_2aca);
    });
    assert!(open(&twice).is_err());
    let endless = changed(|bytes| bytes[104..CLUSTER].fill(1));
    assert!(open(&endless).is_err());
}

#[test]
fn backing_names_are_never_opened() {
    let with_name = |offset: u64, name: &[u8]| {
        changed(|bytes| {
            put64(bytes, 8, offset);
            put32(bytes, 16, u32::try_from(name.len()).unwrap());
            let at = usize::try_from(offset).unwrap();
            if let Some(place) = bytes.get_mut(at..at + name.len()) {
                place.copy_from_slice(name);
            }
        })
    };
    for name in [
        "/etc/passwd",
        "/dev/stdin",
        "../x",
        r#"json:{"driver":"file"}"#,
        "nbd://127.0.0.1",
        "fd:3",
        "/dev/fdset/1",
    ] {
        let bytes = with_name(4096, name.as_bytes());
        let error = open(&bytes).unwrap_err();
        assert!(
            matches!(&error, DiskError::Format { source: QcowError::HasBacking(at), .. } if at == name),
            "{error}"
        );
    }
    for (offset, name) in
        [(8, &b"xx"[..]), (65530, b"12345678"), (4096, &[b'x'; 1024]), (4096, b"a\0b"), (4096, b"\xff")]
    {
        assert!(open(&with_name(offset, name)).is_err(), "{offset}");
    }
    assert!(open(&with_name(4096, b"")).is_ok());
}

#[test]
fn tables() {
    let l1 = 2 * CLUSTER;
    for bad in [1, 1 << 8, 1 << 56, 1 << 62, 1 << 9, 5 << 16, 1 << 55] {
        assert!(open(&changed(|bytes| put64(bytes, l1, bad))).is_err(), "{bad:x}");
    }
    let l2 = 3 * CLUSTER;
    for bad in [2, 1 << 8, 1 << 9, 1 << 56, 1 << 61, 1 << 62 | 5 << 16, (1 << 62) | ((1 << 54) - 1)] {
        let disk = open(&changed(|bytes| put64(bytes, l2, bad))).unwrap();
        assert!(read_all(&disk).is_err(), "{bad:x}");
    }
    // Where nobody is harmed, reading goes on: tables that refer to themselves, data behind the end.
    for odd in [2 << 16, 3 << 16, 1 << 16, 1 << 54] {
        let disk = open(&changed(|bytes| put64(bytes, l2, odd))).unwrap();
        read_all(&disk).unwrap();
    }
    let own = open(&changed(|bytes| put64(bytes, l1, 2 << 16))).unwrap();
    let _ = read_all(&own);
}

#[test]
fn compressed_clusters() {
    let l2 = 3 * CLUSTER;
    let with = |stream: &[u8], sectors: u64| {
        let bytes = changed(|bytes| {
            put64(bytes, l2, 1 << 62 | sectors << 54 | (4 << 16));
            bytes[4 * CLUSTER..].fill(0);
            bytes[4 * CLUSTER..4 * CLUSTER + stream.len()].copy_from_slice(stream);
        });
        read_all(&open(&bytes).unwrap())
    };
    let deflate = |data: &[u8], zlib: bool| {
        let mut out = Vec::with_capacity(CLUSTER);
        let mut stream = flate2::Compress::new(flate2::Compression::new(6), zlib);
        stream.compress_vec(data, &mut out, flate2::FlushCompress::Finish).unwrap();
        out
    };
    let data: Vec<u8> = (0..CLUSTER + 4096).map(|n| u8::try_from(n / 300 % 256).unwrap()).collect();
    assert!(with(&deflate(&data[..CLUSTER], false), 127).unwrap()[..CLUSTER] == data[..CLUSTER]);
    assert!(
        with(&deflate(&data, false), 127).unwrap()[..CLUSTER] == data[..CLUSTER],
        "longer than a cluster"
    );
    assert!(with(&deflate(&data[..CLUSTER - 1], false), 127).is_err(), "shorter than a cluster");
    assert!(with(&deflate(&data[..CLUSTER], true), 127).is_err(), "with a zlib header");
    assert!(with(&[0xff; 600], 0).is_err(), "no stream at all");
    assert!(with(&[], 255).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_header_is_refused_or_read(changes in prop::collection::vec((0..200usize, any::<u8>()), 1..6), cut in 0..MAX_HEADER) {
        let mut bytes = image();
        for (at, value) in changes {
            bytes[at] = value;
        }
        let _ = Header::parse(&bytes[..MAX_HEADER], bytes.len() as u64);
        let _ = Header::parse(&bytes[..cut.min(300)], bytes.len() as u64);
    }

    #[test]
    fn any_table_is_refused_or_read(entries in prop::collection::vec(any::<u64>(), 16), keep in any::<u64>(), extended: bool) {
        let bytes = changed(|bytes| {
            if extended {
                put64(bytes, 72, 1 << 4);
            }
            for (index, entry) in entries.iter().enumerate() {
                put64(bytes, 3 * CLUSTER + index * 8, entry & (keep | 0xc000_0000_0007_0000));
            }
        });
        if let Ok(disk) = open(&bytes) {
            let mut io = Blocking::open(&disk).unwrap();
            for at in (0..disk.info().size_bytes).step_by(CLUSTER / 2) {
                let _ = io.read(at, &mut [0; 4096]);
            }
        }
    }
}
