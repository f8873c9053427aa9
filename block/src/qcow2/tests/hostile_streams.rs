//! Compressed clusters that nobody should make, and header extensions that say what is not so.

use std::io;

use super::hostile::{CLUSTER, changed, extension, open, put32, put64, read_all};
use crate::Disk;

/// Reads an image whose first two clusters are this stream; the file ends `cut` bytes before its last cluster does.
fn with_stream(stream: &[u8], zstd: bool, sectors: u64, cut: usize) -> io::Result<Vec<u8>> {
    let bytes = changed(|bytes| {
        if zstd {
            put64(bytes, 72, 1 << 3);
            put32(bytes, 100, 112);
            bytes[104] = 1;
        }
        for entry in 0..2 {
            put64(bytes, 3 * CLUSTER + entry * 8, 1 << 62 | sectors << 54 | (4 << 16));
        }
        bytes[4 * CLUSTER..].fill(0);
        bytes[4 * CLUSTER..4 * CLUSTER + stream.len()].copy_from_slice(stream);
        bytes.truncate(5 * CLUSTER - cut);
    });
    read_all(&open(&bytes).unwrap())
}

fn data() -> Vec<u8> {
    (0..CLUSTER).map(|at| u8::try_from(at / 200 % 251).unwrap()).collect()
}

fn zstd_frame(data: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(data, 3).unwrap()
}

#[test]
fn clusters_may_share_one_stream_and_garbage_behind_it_is_padding() {
    let mut stream = zstd_frame(&data());
    let got = with_stream(&stream, true, 127, 0).unwrap();
    assert!(got[..CLUSTER] == data() && got[CLUSTER..2 * CLUSTER] == data());
    stream.extend([0xa5; 300]);
    assert!(with_stream(&stream, true, 127, 0).unwrap()[..CLUSTER] == data());
    // The descriptor reaches behind the end of the file, the stream does not.
    assert!(with_stream(&stream, true, 127, CLUSTER - 4096).unwrap()[..CLUSTER] == data());
    assert!(with_stream(&stream, true, 0, 0).is_err(), "the descriptor is too short for the stream");
}

#[test]
fn zstd_frames_of_all_sorts() {
    let data = data();
    let (first, second) = data.split_at(CLUSTER / 2);
    let two = [zstd_frame(first), zstd_frame(second)].concat();
    assert!(with_stream(&two, true, 127, 0).unwrap()[..CLUSTER] == data, "two frames");
    // A frame to be skipped (RFC 8878 §3.1.2) before the one with data.
    let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..], &zstd_frame(&data)].concat();
    assert!(with_stream(&skipped, true, 127, 0).unwrap()[..CLUSTER] == data, "a frame to skip");
    let whole = zstd_frame(&data);
    for len in [0, 1, 4, 9, whole.len() / 2, whole.len() - 1] {
        assert!(with_stream(&whole[..len], true, 127, 0).is_err(), "cut to {len} bytes");
    }
    assert!(with_stream(&zstd_frame(&data[1..]), true, 127, 0).is_err(), "shorter than a cluster");
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.window_log(27).unwrap();
    io::Write::write_all(&mut encoder, &data).unwrap();
    io::Write::flush(&mut encoder).unwrap();
    let wide = encoder.finish().unwrap();
    // Alone it is unpacked in place, which takes no window. Behind another it would take the memory.
    assert!(
        with_stream(&wide, true, 127, 0).unwrap()[..CLUSTER] == data,
        "a window of 128 MiB that is not needed"
    );
    let behind = [&skipped[..12], &wide].concat();
    assert!(with_stream(&behind, true, 127, 0).is_err(), "a window of 128 MiB");
    assert!(with_stream(&whole, false, 127, 0).is_err(), "zstd where deflate is said to be");
}

#[test]
fn a_stream_that_every_cluster_refers_to_costs_no_more_than_one_cluster_at_a_time() {
    // A disk of 512 MiB in a file of 300 KiB.
    let bytes = changed(|bytes| {
        put64(bytes, 24, 512 << 20);
        let stream = {
            let mut out = Vec::with_capacity(CLUSTER);
            let mut deflate = flate2::Compress::new(flate2::Compression::new(6), false);
            deflate.compress_vec(&vec![7; CLUSTER], &mut out, flate2::FlushCompress::Finish).unwrap();
            out
        };
        for entry in 0..CLUSTER / 8 {
            put64(bytes, 3 * CLUSTER + entry * 8, 1 << 62 | (4 << 16));
        }
        bytes[4 * CLUSTER..].fill(0);
        bytes[4 * CLUSTER..4 * CLUSTER + stream.len()].copy_from_slice(&stream);
    });
    let disk = open(&bytes).unwrap();
    assert_eq!(disk.info().size_bytes, 512 << 20);
    assert!(read_all(&disk).unwrap().iter().all(|&byte| byte == 7));
}

#[test]
fn compression_types_must_be_known_and_agree_with_the_feature_bit() {
    for (kind, bit) in [(1, false), (2, false), (2, true), (255, true), (0, true)] {
        let bytes = changed(|bytes| {
            put64(bytes, 72, u64::from(bit) << 3);
            put32(bytes, 100, 112);
            bytes[104] = kind;
        });
        assert!(open(&bytes).is_err(), "{kind} {bit}");
    }
}

#[test]
fn extensions_that_belong_to_features_which_are_not_there_are_passed_over() {
    for (kind, data) in [
        // Names of a data file, a key's place, bitmaps: nothing of it is looked at.
        (0x4441_5441, &b"/etc/passwd"[..]),
        (0x0537_be77, &[0xff; 16]),
        (0x2385_2875, &[0xff; 24]),
        (0xe279_2aca, b"nonsense"),
        (0x1234_5678, b"unknown"),
    ] {
        let len = u32::try_from(data.len()).unwrap();
        let disk = open(&changed(|bytes| extension(bytes, kind, len, data))).unwrap();
        assert!(read_all(&disk).is_ok(), "{kind:x}");
    }
    let raw_data_without_a_file = changed(|bytes| put64(bytes, 88, 1 << 1));
    assert!(open(&raw_data_without_a_file).is_ok());
    let with_file = changed(|bytes| {
        put64(bytes, 72, 1 << 2);
        extension(bytes, 0x4441_5441, 11, b"/etc/passwd");
    });
    let error = std::error::Error::source(&open(&with_file).unwrap_err()).unwrap().to_string();
    assert!(error.contains("external data file"), "{error}");
}
