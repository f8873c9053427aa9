//! Any files of a snapshot whose lengths and checksums are right: what is behind them is what has to be checked.

#![no_main]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use vmm::snapshot::{MemoryChoice, RestoreOptions, Snapshot, check, describe, restore};

/// The files that are read as a whole, in the order in which they stand in an input.
const FILES: [&str; 4] = ["snapshot.json", "state.json", "memory.index", "machine.json"];
/// The length of the golden snapshot's memory.
const MEMORY: u64 = 2 << 20;

/// A folder in memory, for this process.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = PathBuf::from(format!("/dev/shm/kubevmm-fuzz-{}", std::process::id()));
    fs::create_dir_all(&path).expect("a folder");
    path
});

/// Writes the files out of an input, which parts them by zero bytes.
fn write(data: &[u8]) {
    let mut sums = String::from("kubevmm snapshot, format 1\n");
    // The index is binary and comes last but one; it has all that is left but for the last part.
    let mut parts = data.splitn(3, |byte| *byte == 0);
    let (manifest, state, rest) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for (name, bytes) in FILES.iter().zip([manifest, state, rest, b"{}".as_slice()]) {
        fs::write(FOLDER.join(name), bytes).expect("a file");
        let _ = writeln!(sums, "{:08x} {} {name}", crc32fast::hash(bytes), bytes.len());
    }
    let memory = File::create(FOLDER.join("memory")).expect("a file");
    memory.set_len(MEMORY).expect("a length");
    let _ = writeln!(sums, "- {MEMORY} memory");
    let _ = writeln!(sums, "{:08x} end", crc32fast::hash(sums.as_bytes()));
    fs::write(FOLDER.join("sums"), sums).expect("a file");
}

fuzz_target!(|data: &[u8]| {
    let Some((flags, data)) = data.split_first() else { return };
    write(data);
    let Ok(snapshot) = Snapshot::open(&FOLDER) else { return };
    let _ = describe(&snapshot);
    let _ = check(&snapshot);
    let memory = if flags & 1 == 1 { MemoryChoice::Eager } else { MemoryChoice::Mapped };
    let _ = restore(&FOLDER, &RestoreOptions { memory: Some(memory), ..RestoreOptions::default() });
});
