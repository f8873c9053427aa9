//! Explaining a snapshot.

use std::fmt::Write as _;
use std::fs::File;
use std::iter;

use super::SnapshotError;
use super::crc::of_file;
use super::directory::{Snapshot, name};
use super::disks::path_of;
use super::layers::check_below;
use super::manifest::KeptDisk;
use super::restore::ancestors;
use super::sums::Sum;

/// A snapshot for people.
///
/// # Errors
/// It is damaged.
pub fn describe(snapshot: &Snapshot) -> Result<String, SnapshotError> {
    let index = snapshot.memory()?.index;
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
    if !manifest.indications.is_empty() {
        line("indications", manifest.indications.join(", "));
    }
    line("vcpus", plan.cpu.topology.vcpus().to_string());
    line(
        "memory",
        format!("{}, {} of it in this snapshot", mib(plan.memory.ram.bytes()), mib(index.bytes())),
    );
    for disk in &manifest.disks {
        let place = match &disk.contents {
            KeptDisk::InPlace { .. } => "where it was".to_owned(),
            KeptDisk::Below { file, .. } => format!("in {}, below an overlay", path_of(file).display()),
            KeptDisk::Copied { file } => format!("copied to {file}"),
        };
        line("disk", format!("{}, {}, {place}", disk.name, mib(disk.bytes)));
    }
    Ok(text)
}

/// Reads all of a snapshot, and of those that it adds to, and compares it with its checksums. Images that it has left below overlays are
/// not read, but are to be of the length and time that they had.
///
/// # Errors
/// What is damaged.
pub fn check(snapshot: &Snapshot) -> Result<(), SnapshotError> {
    let before = ancestors(snapshot)?;
    iter::once(snapshot).chain(&before).try_for_each(check_alone)?;
    // Those of the snapshots that it adds to are nothing to its own machines.
    snapshot.manifest.disks.iter().try_for_each(check_below)
}

/// The same of one snapshot alone.
fn check_alone(snapshot: &Snapshot) -> Result<(), SnapshotError> {
    snapshot.state()?;
    snapshot.memory()?.check_all()?;
    snapshot.sums.all().iter().try_for_each(|sum| check_file(snapshot, sum).map(drop))
}

/// The same of one of its files, which is given back. Guest memory is checked by its index.
pub(super) fn check_file(snapshot: &Snapshot, sum: &Sum) -> Result<File, SnapshotError> {
    let Sum { name, bytes, crc } = sum;
    let longest = snapshot.longest(name);
    let longest = longest.ok_or_else(|| snapshot.damaged(format!("{name} is no part of a snapshot")))?;
    if *bytes > longest {
        return Err(snapshot.damaged(format!("{name} has {bytes} bytes, and should have {longest} at most")));
    }
    let path = snapshot.path.join(name);
    let file = File::open(&path).map_err(SnapshotError::file("read", &path))?;
    match crc {
        None if name == name::MEMORY => Ok(file),
        None => Err(snapshot.damaged(format!("it has no checksum of {name}"))),
        Some(wanted) if of_file(&file, *bytes).map_err(SnapshotError::file("read", &path))? == *wanted => {
            Ok(file)
        }
        Some(_) => Err(snapshot.damaged(format!("{name} was altered"))),
    }
}
