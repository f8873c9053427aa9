//! Explaining a snapshot.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read};

use super::SnapshotError;
use super::directory::{Snapshot, name};
use super::manifest::KeptDisk;
use super::memory::crc_of;

/// A snapshot for people.
///
/// # Errors
/// It is damaged.
pub fn describe(snapshot: &Snapshot) -> Result<String, SnapshotError> {
    let (_, index) = snapshot.memory()?;
    let manifest = &snapshot.manifest;
    let plan = &manifest.plan;
    let mut text = String::new();
    let mut line = |key: &str, value: String| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key:<12} {value}");
    };
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    line("machine", format!("{}/{}", plan.namespace, plan.name));
    line("snapshot", manifest.id.clone());
    if let Some(parent) = &manifest.parent {
        line("adds to", format!("{} ({})", parent.path.display(), parent.id));
    }
    line(
        "taken",
        format!("{}, by kubevmm {} on Linux {}", manifest.created, manifest.program, manifest.kernel),
    );
    line("pause", format!("{} ms", manifest.pause_ms));
    line("vcpus", plan.cpu.topology.vcpus().to_string());
    line(
        "memory",
        format!("{}, {} of it in this snapshot", mib(plan.memory.ram.bytes()), mib(index.bytes())),
    );
    for disk in &manifest.disks {
        let place = match &disk.contents {
            KeptDisk::InPlace { .. } => "where it was".to_owned(),
            KeptDisk::Copied { file } => format!("copied to {file}"),
        };
        line("disk", format!("{}, {}, {place}", disk.name, mib(disk.bytes)));
    }
    Ok(text)
}

/// Reads all of a snapshot, and of those that it adds to, and compares it with its checksums.
///
/// # Errors
/// What is damaged.
pub fn check(snapshot: &Snapshot) -> Result<(), SnapshotError> {
    snapshot.state()?;
    let (file, index) = snapshot.memory()?;
    for extent in &index.0 {
        let crc = crc_of(&file, *extent);
        if crc.map_err(SnapshotError::file("read", &snapshot.path.join(name::MEMORY)))? != extent.crc {
            return Err(snapshot.damaged(format!("its memory was altered at {:#x}", extent.offset)));
        }
    }
    for sum in snapshot.sums.all() {
        let path = snapshot.path.join(&sum.name);
        let crc = File::open(&path).and_then(crc_of_all).map_err(SnapshotError::file("read", &path))?;
        if sum.crc.is_some_and(|wanted| wanted != crc) {
            return Err(snapshot.damaged(format!("{} was altered", sum.name)));
        }
    }
    snapshot.parent()?.as_ref().map_or(Ok(()), check)
}

fn crc_of_all(mut file: File) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            read => hasher.update(buffer.get(..read).unwrap_or_default()),
        }
    }
}
