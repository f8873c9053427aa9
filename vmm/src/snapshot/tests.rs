use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use vm_memory::{Bytes, GuestAddress};

use super::directory::{NewSnapshot, name};
use super::index::Index;
use super::layout::Layout;
use super::memory::{MemoryWriter, Zeroes, copy_in};
use super::*;
use crate::dirty::PageSet;
use crate::machine::{MachineState, map_memory, map_memory_file};
use crate::plan::MemoryPlan;

/// Written by the first program that took snapshots, and read by all that follow.
const STATE_V1: &str = include_str!("golden/state-v1.json");
const MANIFEST_V1: &str = include_str!("golden/snapshot-v1.json");

fn plan() -> MemoryPlan {
    serde_json::from_str::<Manifest>(MANIFEST_V1).unwrap().plan.memory
}

/// A snapshot whose memory has a word at 0x3000 and another one at its last page.
fn write(path: &Path, manifest: &Value) -> PathBuf {
    let ram = map_memory(&plan()).unwrap();
    ram.write_obj(0x1234u64, GuestAddress(0x3000)).unwrap();
    ram.write_obj(0x5678u64, GuestAddress((2 << 20) - 8)).unwrap();
    let mut new = NewSnapshot::create(path).unwrap();
    let file = new.file(name::MEMORY).unwrap();
    let mut writer = MemoryWriter::new(file, Layout::of_ram(&ram), ram.clone()).unwrap();
    writer.write(&PageSet::all(&ram), Zeroes::Skip).unwrap();
    let index = writer.index().unwrap();
    new.note(name::MEMORY, writer.bytes(), None);
    new.add(name::INDEX, &index.to_bytes()).unwrap();
    new.add(name::STATE, STATE_V1.as_bytes()).unwrap();
    new.add(name::MACHINE, b"{}").unwrap();
    new.add(name::MANIFEST, manifest.to_string().as_bytes()).unwrap();
    new.finish().unwrap()
}

fn golden() -> Value {
    serde_json::from_str(MANIFEST_V1).unwrap()
}

#[test]
fn the_first_layout_is_read_and_written_as_it_was() {
    let state: MachineState = serde_json::from_str(STATE_V1).unwrap();
    let again: Value = serde_json::to_value(&state).unwrap();
    assert_eq!(again, serde_json::from_str::<Value>(STATE_V1).unwrap());
    assert_eq!(serde_json::from_value::<MachineState>(again).unwrap(), state);
    let manifest: Manifest = serde_json::from_str(MANIFEST_V1).unwrap();
    assert_eq!(serde_json::to_value(&manifest).unwrap(), golden());
}

#[test]
fn memory_comes_back_mapped_and_copied() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder.path().join("one"), &golden());
    let snapshot = Snapshot::open(&path).unwrap();
    check(&snapshot).unwrap();
    assert!(describe(&snapshot).unwrap().contains("2.0 MiB"));
    let (file, index) = snapshot.memory().unwrap();
    let mapped = map_memory_file(&plan(), &file).unwrap();
    let copied = map_memory(&plan()).unwrap();
    for extent in &index.0 {
        assert_eq!(copy_in(&file, &Layout::of_ram(&copied), &copied, *extent).unwrap(), extent.crc);
    }
    for ram in [&mapped, &copied] {
        assert_eq!(ram.read_obj::<u64>(GuestAddress(0x3000)).unwrap(), 0x1234);
        assert_eq!(ram.read_obj::<u64>(GuestAddress((2 << 20) - 8)).unwrap(), 0x5678);
        assert_eq!(ram.read_obj::<u64>(GuestAddress(0x4000)).unwrap(), 0);
    }
    // What a machine writes is its own.
    mapped.write_obj(1u64, GuestAddress(0x3000)).unwrap();
    check(&snapshot).unwrap();
}

#[test]
fn a_file_that_was_altered_cut_or_taken_away_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    for (number, file) in
        [name::SUMS, name::MANIFEST, name::STATE, name::MACHINE, name::MEMORY, name::INDEX].iter().enumerate()
    {
        let path = write(&folder.path().join(number.to_string()), &golden());
        let altered = path.join(file);
        let length = fs::metadata(&altered).unwrap().len();
        let open = || fs::OpenOptions::new().write(true).open(&altered).unwrap();
        open().write_all_at(b"\x7f", length.min(0x3001) - 1).unwrap();
        let found = Snapshot::open(&path).and_then(|snapshot| check(&snapshot));
        assert!(found.is_err(), "{file} was altered");
        open().set_len(length - 1).unwrap();
        assert!(Snapshot::open(&path).is_err(), "{file} was cut");
        fs::remove_file(&altered).unwrap();
        assert!(Snapshot::open(&path).is_err(), "{file} is missing");
    }
}

#[test]
fn a_newer_one_and_what_is_none_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut newer = golden();
    newer["version"] = json!(2);
    let path = write(&folder.path().join("newer"), &newer);
    let said = Snapshot::open(&path).unwrap_err().to_string();
    assert!(said.contains("its layout is 2"), "{said}");
    let said = Snapshot::open(folder.path()).unwrap_err().to_string();
    assert!(said.contains("no file `sums`"), "{said}");
}

#[test]
fn a_parent_has_to_be_the_one_that_is_meant() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(&folder.path().join("base"), &golden());
    let child = |name: &str, id: &str| {
        let mut manifest = golden();
        manifest["parent"] = json!({"id": id, "path": base});
        Snapshot::open(&write(&folder.path().join(name), &manifest)).unwrap()
    };
    assert!(child("right", "golden").parent().unwrap().is_some());
    let said = child("wrong", "other").parent().unwrap_err().to_string();
    assert!(said.contains("is another one"), "{said}");
}

#[test]
fn what_is_given_up_leaves_nothing_and_what_is_there_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one");
    drop(NewSnapshot::create(&path).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    write(&path, &golden());
    assert!(matches!(NewSnapshot::create(&path), Err(SnapshotError::Exists(_))));
    Snapshot::open(&path).unwrap();
}

#[test]
fn pages_that_become_zero_are_zero_in_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let new = NewSnapshot::create(&folder.path().join("one")).unwrap();
    let ram = map_memory(&plan()).unwrap();
    let file = new.file(name::MEMORY).unwrap();
    let mut writer = MemoryWriter::new(file.try_clone().unwrap(), Layout::of_ram(&ram), ram.clone()).unwrap();
    ram.write_obj(7u64, GuestAddress(0x5000)).unwrap();
    writer.write(&PageSet::all(&ram), Zeroes::Skip).unwrap();
    ram.write_obj(0u64, GuestAddress(0x5000)).unwrap();
    writer.write(&PageSet::all(&ram), Zeroes::Write).unwrap();
    let mut word = [1; 8];
    file.read_exact_at(&mut word, 0x5000).unwrap();
    assert_eq!(word, [0; 8]);
    assert_eq!(Index::parse(&writer.index().unwrap().to_bytes(), 2 << 20).unwrap().bytes(), 2 << 20);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_state_makes_the_reader_panic(at in 0..STATE_V1.len(), with in any::<u8>()) {
        let mut bytes = STATE_V1.as_bytes().to_vec();
        bytes[at] = with;
        let _ = serde_json::from_slice::<MachineState>(&bytes);
        let _ = serde_json::from_slice::<MachineState>(&bytes[..at]);
    }
}
