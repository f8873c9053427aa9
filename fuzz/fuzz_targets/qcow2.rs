//! Any bytes as a qcow2 image: what a machine or `kubevmm image` does with one that somebody else has made.

#![no_main]

use std::path::{Path, PathBuf};

use block::ops::{self, Format, OpenOptions};
use block::qcow2::Repair;
use block::{Blocking, EngineKind};
use libfuzzer_sys::fuzz_target;

/// Most that is read at a time, and of one image at all.
const PIECE: u64 = 64 << 10;
const PIECES: u64 = 32;

fuzz_target!(|input: &[u8]| {
    let path = PathBuf::from(format!("/dev/shm/kubevmm-fuzz-{}.qcow2", std::process::id()));
    if std::fs::write(&path, input).is_err() {
        return;
    }
    drop(ops::info(&path, Format::Qcow2));
    let clean = ops::check(&path).is_ok_and(|report| report.corruptions == 0);
    read(&path);
    let wrote = write(&path, input);
    if clean && wrote {
        // Whatever the image was, it is not worse for having been used.
        let report = ops::check(&path).unwrap_or_else(|error| panic!("after writing: {error:?}"));
        assert_eq!(report.corruptions, 0, "{report:?}");
    }
    drop(ops::repair(&path, Repair::All));
    read(&path);
    drop(ops::resize(&path, Format::Qcow2, 1 << 20, false));
    let _ = std::fs::remove_file(&path);
});

/// Reads here and there.
fn read(path: &Path) {
    let options = OpenOptions { read_only: true, engine: EngineKind::Sync, ..OpenOptions::default() };
    let Ok(image) = ops::open(path, Format::Qcow2, &options) else { return };
    let size = image.disk().info().size_bytes;
    let Ok(mut io) = Blocking::open(image.disk()) else { return };
    let mut bytes = vec![0; PIECE as usize];
    for offset in places(size) {
        let len = PIECE.min(size - offset) as usize;
        let _ = io.read(offset, &mut bytes[..len]);
    }
    if size <= 1 << 30 {
        drop(ops::map(path, &image));
    }
}

/// Writes, zeroes, discards and flushes; whether the image could be opened for that. What is written is read back.
fn write(path: &Path, input: &[u8]) -> bool {
    let options = OpenOptions { engine: EngineKind::Sync, ..OpenOptions::default() };
    let Ok(image) = ops::open(path, Format::Qcow2, &options) else { return false };
    let size = image.disk().info().size_bytes;
    let Ok(mut io) = Blocking::open(image.disk()) else { return true };
    let pattern = vec![0x5a; 1536];
    for (offset, how) in places(size).zip(input.iter().rev()) {
        let len = 1536.min(size - offset);
        match how % 4 {
            0 => drop(io.discard(offset, len)),
            1 => drop(io.write_zeroes(offset, len, true)),
            2 => drop(io.flush()),
            _ => {
                let data = &pattern[..len as usize];
                let mut back = vec![0; data.len()];
                if io.write(offset, data).is_ok() && io.read(offset, &mut back).is_ok() {
                    assert_eq!(back, data, "at {offset}");
                }
            }
        }
    }
    true
}

/// Places all over a disk, whole sectors.
fn places(size: u64) -> impl Iterator<Item = u64> {
    (0..PIECES).map(move |number| size / PIECES * number / 512 * 512).filter(move |offset| *offset < size)
}
