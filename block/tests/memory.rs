//! What qcow2 images cost in memory. A program of its own, so that nothing else takes any meanwhile.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::process::Command;

use block::{Blocking, Disk, QcowDisk, QcowOptions};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;

/// A line of `/proc/self/status`, in bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim_matches(|c: char| !c.is_ascii_digit()).parse::<u64>().unwrap() * 1024
}

/// How much resident memory `work` takes at its peak.
fn peak(work: impl FnOnce()) -> u64 {
    // 5 resets the peak (proc(5)).
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    work();
    status("VmHWM:").saturating_sub(before)
}

fn make(path: &Path, options: &str, size: &str) -> bool {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-o", options]).arg(path).arg(size);
    command.status().is_ok_and(|status| status.success())
}

fn open(path: &Path, read_only: bool) -> QcowDisk {
    QcowDisk::open(path, &QcowOptions { read_only, ..QcowOptions::default() }).unwrap()
}

#[test]
fn large_images_cost_little_and_tables_stay_within_their_budget() {
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large");
    if !make(&large, "cluster_size=64k", "1T") {
        eprintln!("skipped: large_images_cost_little needs qemu-img, which is not installed");
        return;
    }
    // Code and allocator are brought in by a first round.
    for round in 0..2 {
        for read_only in [true, false] {
            let taken = peak(|| {
                let disk = open(&large, read_only);
                assert_eq!(disk.info().size_bytes, 1024 * GIB);
                let mut io = Blocking::open(&disk).unwrap();
                io.read(1000 * GIB, &mut [0; 4096]).unwrap();
                if !read_only {
                    io.write(round * 500 * GIB, &[1; 4096]).unwrap();
                }
            });
            eprintln!("opening 1 TiB: {taken} bytes (read-only: {read_only})");
            assert!(
                round == 0 || taken < 2 * MIB,
                "opening 1 TiB took {taken} bytes (read-only: {read_only})"
            );
        }
    }

    // Twice as much as the budget of 8 MiB covers: 16 MiB of L2 tables.
    let wide = dir.path().join("wide");
    assert!(make(&wide, "preallocation=metadata", "128G"));
    let taken = peak(|| {
        let disk = open(&wide, true);
        let mut io = Blocking::open(&disk).unwrap();
        // One read for each piece of a table: 512 clusters of 64 KiB.
        for offset in (0..128 * GIB).step_by(32 << 20) {
            io.read(offset, &mut [0; 512]).unwrap();
        }
    });
    eprintln!("reading all over 128 GiB: {taken} bytes");
    assert!(taken > 4 * MIB && taken < 10 * MIB, "reading all over 128 GiB took {taken} bytes");
}
