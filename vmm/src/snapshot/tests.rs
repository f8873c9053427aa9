use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use vm_memory::{Bytes, GuestAddress};

use super::copy::MemoryCopy;
use super::directory::{NewSnapshot, name};
use super::index::Index;
use super::layout::Layout;
use super::memory::{MemoryWriter, Zeroes};
use super::*;
use crate::demand::testing::Stalled;
use crate::demand::{NotFetched, Presence};
use crate::dirty::PageSet;
use crate::dirty::testing::log;
use crate::machine::{MachineState, map_memory, map_memory_file};
use crate::migration::transport::{Address, Gate, Protection};
use crate::plan::MemoryPlan;
use crate::state::Glance;
use crate::sys::userfault::is_allowed;

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

/// A process that was killed, in a container where the next one has its number.
#[test]
fn what_a_killed_process_left_keeps_nobody_from_taking_the_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one");
    let left = folder.path().join(format!(".one.{}.partial", std::process::id()));
    fs::create_dir(&left).unwrap();
    fs::write(left.join(name::MEMORY), "torn").unwrap();
    write(&path, &golden());
    assert!(path.join(name::SUMS).exists() && !left.exists());
    // Somebody who is at work on it is not in another one's hands.
    let other = folder.path().join("two");
    let busy = NewSnapshot::create(&other).unwrap();
    assert!(NewSnapshot::create(&other).is_err(), "two are at work on one");
    busy.finish().unwrap();
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
    let saved = snapshot.memory().unwrap();
    let mapped = map_memory_file(&plan(), &saved.file).unwrap();
    let copied = map_memory(&plan()).unwrap();
    saved.copy_to(&Layout::of_ram(&copied), &copied).unwrap();
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

/// Some file systems keep holes of any length, and what is in them is nothing to be kept here.
#[test]
fn a_file_that_nobody_would_keep_as_a_whole_is_neither_written_nor_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder.path().join("one"), &golden());
    let sums = fs::read_to_string(path.join(name::SUMS)).unwrap();
    let long = (256u64 << 20) + 1;
    for (file, word) in [(name::STATE, "read"), (name::INDEX, "impossible pages")] {
        fs::File::options().write(true).open(path.join(file)).unwrap().set_len(long).unwrap();
        let mut listed = sums::Sums::default();
        for sum in sums::Sums::parse(&sums).unwrap().all() {
            listed.add(&sum.name, fs::metadata(path.join(&sum.name)).unwrap().len(), sum.crc);
        }
        fs::write(path.join(name::SUMS), listed.to_text()).unwrap();
        let found = Snapshot::open(&path).unwrap();
        let error =
            if file == name::STATE { found.state().unwrap_err() } else { found.memory().unwrap_err() };
        assert!(error.to_string().contains(word), "{error}");
    }
    let mut new = NewSnapshot::create(&folder.path().join("two")).unwrap();
    assert!(new.add(name::STATE, &vec![0; usize::try_from(long).unwrap()]).is_err());
}

#[test]
fn files_that_are_no_part_of_it_and_copies_without_a_checksum_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = golden();
    let copy = json!({"name": "data", "bytes": 5, "contents": {"kind": "copied", "file": "copy"}});
    manifest["disks"] = json!([copy]);
    let path = write(&folder.path().join("one"), &manifest);
    let sums = fs::read_to_string(path.join(name::SUMS)).unwrap();
    let check_with = |file: &str, bytes, crc| {
        let mut listed = sums::Sums::parse(&sums).unwrap();
        listed.add(file, bytes, crc);
        fs::File::create(path.join(file)).unwrap().set_len(bytes).unwrap();
        fs::write(path.join(name::SUMS), listed.to_text()).unwrap();
        check(&Snapshot::open(&path).unwrap())
    };
    let crc = Some(crc32fast::hash(&[0; 5]));
    check_with("copy", 5, crc).unwrap();
    for (file, bytes, crc, word) in [
        ("more", 1 << 43, Some(0), "more is no part of a snapshot"),
        ("copy", 6, crc, "copy has 6 bytes"),
        ("copy", 5, None, "no checksum of copy"),
        ("copy", 4, crc, "copy was altered"),
    ] {
        let said = check_with(file, bytes, crc).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
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
fn who_cannot_have_memory_on_demand_is_told_what_goes_instead() {
    use super::restore::{ELSEWHERE, HERE, on_demand};
    let folder = tempfile::tempdir().unwrap();
    let snapshot = Snapshot::open(&write(&folder.path().join("one"), &golden())).unwrap();
    let mut plan = snapshot.manifest.plan.clone();
    plan.memory.backing = crate::plan::Backing::HugePages { page_size: 1 << 30 };
    for (instead, word) in [(HERE, "--memory eager"), (ELSEWHERE, "copy the directory")] {
        let link = Box::new(shelf::LocalLink::new(&snapshot));
        let said = on_demand(&plan, link, instead).unwrap_err().to_string();
        assert!(said.contains("1 GiB") && said.contains(word), "{said}");
    }
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
fn one_whose_parent_is_gone_is_not_served() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = golden();
    manifest["parent"] = json!({"id": "golden", "path": "gone"});
    let path = write(&folder.path().join("one"), &manifest);
    let address = Address::Unix(folder.path().join("socket"));
    let listener = Gate::new(address, &Protection::default()).unwrap().listen().unwrap();
    let said = devices::chain(&serve(&path, listener).unwrap_err());
    assert!(said.contains("gone"), "{said}");
}

#[test]
fn a_chain_without_an_end_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one");
    let mut manifest = golden();
    manifest["parent"] = json!({"id": "golden", "path": path});
    let snapshot = Snapshot::open(&write(&path, &manifest)).unwrap();
    for error in [check(&snapshot).unwrap_err(), Unchecked::of(&snapshot).unwrap_err()] {
        assert!(error.to_string().contains("more than 64"), "{error}");
    }
}

#[test]
fn every_snapshot_of_a_chain_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let base = write(&folder.path().join("base"), &golden());
    let mut manifest = golden();
    manifest["parent"] = json!({"id": "golden", "path": base});
    let snapshot = Snapshot::open(&write(&folder.path().join("next"), &manifest)).unwrap();
    check(&snapshot).unwrap();
    let memory = fs::OpenOptions::new().write(true).open(base.join(name::MEMORY)).unwrap();
    memory.write_all_at(b"x", 0x3000).unwrap();
    let said = check(&snapshot).unwrap_err().to_string();
    assert!(said.contains(&format!("{}", base.display())), "{said}");
}

/// The images below overlays belong to it, though they are elsewhere.
#[test]
fn a_base_that_was_written_to_is_noticed_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("disk.1.img");
    fs::write(&base, "x").unwrap();
    let layer = json!({"file": base, "bytes": 1, "modified": 7_000_000_000_i64});
    let contents = json!({"kind": "below", "file": {"raw": base}});
    let mut manifest = golden();
    manifest["disks"] = json!([{"name": "data", "bytes": 1, "contents": contents, "layers": [layer]}]);
    let snapshot = Snapshot::open(&write(&folder.path().join("one"), &manifest)).unwrap();
    let file = fs::File::options().write(true).open(&base).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(7)).unwrap();
    check(&snapshot).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    let said = check(&snapshot).unwrap_err().to_string();
    assert!(said.contains("disk data") && said.contains("written to since"), "{said}");
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
    assert_eq!(Index::read(&*writer.index().unwrap().to_bytes(), 2 << 20).unwrap().bytes(), 2 << 20);
}

/// A stream of the golden snapshot.
fn stream(folder: &Path) -> Vec<u8> {
    let path = write(&folder.join("source"), &golden());
    let mut bytes = Vec::new();
    OpenFiles::open(&path).unwrap().write(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_stream_becomes_the_directory_that_it_was_and_tar_agrees() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = stream(folder.path());
    assert!(bytes.len() < 1 << 20, "2 MiB of memory, most of it zero, became {} bytes", bytes.len());
    let source = folder.path().join("source");
    let copy = unpack(bytes.as_slice(), &folder.path().join("copy")).unwrap();
    let other = folder.path().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(folder.path().join("stream.tar"), &bytes).unwrap();
    let tar = std::process::Command::new("tar").arg("xf").arg("../stream.tar").current_dir(&other).output();
    assert!(tar.unwrap().status.success());
    let names = || fs::read_dir(&source).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names().count(), 6);
    for name in names() {
        let wanted = fs::read(source.join(&name)).unwrap();
        assert!(fs::read(copy.join(&name)).unwrap() == wanted, "{name:?}");
        assert!(fs::read(other.join(&name)).unwrap() == wanted, "{name:?} by tar");
    }
    let sparse = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(copy.join(name::MEMORY)).unwrap());
    assert!(sparse < 2048, "{sparse} blocks of the memory have something in them");
}

#[test]
fn a_stream_that_is_torn_or_altered_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = stream(folder.path());
    let into = folder.path().join("into");
    let refused = |bytes: &[u8], what: &str| {
        let error = unpack(bytes, &into).err().unwrap_or_else(|| panic!("{what} is taken"));
        assert!(
            !into.exists() && fs::read_dir(folder.path()).unwrap().count() == 1,
            "{what} leaves something"
        );
        error.to_string()
    };
    let blocks = bytes.len() / 512;
    for block in (0..blocks - 2).step_by(1 + blocks / 60) {
        refused(&bytes[..block * 512], "a cut");
        refused(&bytes[..block * 512 + 100], "a cut within a block");
    }
    // What is behind the files is nothing to be checked; padding is not either.
    let list = bytes.windows(3).position(|window| window == b"end").unwrap();
    for at in (600..list).step_by(7) {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        refused(&altered, "an altered list of checksums");
    }
    let state = bytes.windows(9).position(|window| window == b"\"version\"").unwrap();
    let mut altered = bytes.clone();
    altered[state + 20] ^= 1;
    assert!(refused(&altered, "an altered state").contains("was altered"));
    let mut memory = bytes.clone();
    let word = memory.windows(8).position(|window| window == 0x1234u64.to_le_bytes()).unwrap();
    memory[word] ^= 1;
    assert!(refused(&memory, "altered memory").contains("its memory was altered"));
    assert!(refused(b"", "nothing").contains("does not begin with"));
    refused(&bytes[512..], "a stream without its beginning");
}

#[test]
fn a_stream_of_other_files_than_it_names_is_refused() {
    use image::archive;
    let folder = tempfile::tempdir().unwrap();
    let path = write(&folder.path().join("source"), &golden());
    let sums = fs::read(path.join(name::SUMS)).unwrap();
    let begin = |bytes: &mut Vec<u8>| {
        archive::file(bytes, name::SUMS, 0o600, sums.as_slice(), sums.len() as u64).unwrap();
    };
    let into = folder.path().join("into");
    for (file, kind, size) in [
        ("../../escaped", b'0', 0),
        ("/etc/escaped", b'0', 0),
        ("memory", b'2', 0),
        ("memory", b'5', 0),
        ("memory", b'0', 5),
        ("memory", b'0', 1 << 50),
    ] {
        let mut bytes = Vec::new();
        begin(&mut bytes);
        archive::header(&mut bytes, file, 0o600, size, kind).unwrap();
        bytes.extend([0; 1024]);
        assert!(unpack(bytes.as_slice(), &into).is_err(), "{file} of kind {kind}");
        assert!(!into.exists());
    }
    // A claim of a tebibyte in a hole is a claim against the list.
    let mut bytes = Vec::new();
    begin(&mut bytes);
    archive::sparse(&mut bytes, name::MEMORY, 0o600, (&fs::File::open("/dev/null").unwrap(), 1 << 40), &[])
        .unwrap();
    archive::end(&mut bytes).unwrap();
    let said = unpack(bytes.as_slice(), &into).unwrap_err().to_string();
    assert!(said.contains("another length"), "{said}");
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

#[test]
fn one_that_adds_to_another_takes_nothing_while_memory_does_not_come() {
    if !is_allowed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let base = Snapshot::open(&write(&folder.path().join("one"), &golden())).unwrap();
    let new = NewSnapshot::create(&folder.path().join("two")).unwrap();
    let ram = map_memory(&plan()).unwrap();
    let stalled = Stalled::begin(&ram);
    let (sender, ended) = mpsc::channel();
    let dirty = log(&ram, move || sender.send(()).unwrap_or_default());
    let presence = Presence::Coming(stalled.demand.fetcher());
    let glance = Glance { ram, presence, dirty, tracking: Tracking::default() };
    let begin = || MemoryCopy::begin(&new, &glance, Some(&base)).map(drop).unwrap_err();
    let untracked = begin().to_string();
    assert!(untracked.contains("not known what the guest has written"), "{untracked}");
    glance.tracking.begin(base.manifest.id.clone(), glance.dirty.reader().unwrap());
    stalled.lose();
    while stalled.demand.lost().is_none() {
        thread::sleep(Duration::from_millis(1));
    }
    let missing = begin();
    assert!(matches!(missing, SnapshotError::Missing(NotFetched::Lost(_))), "{missing}");
    // A vCPU may wait in the kernel now, which would wait for it to end the log.
    assert!(ended.try_recv().is_err() && glance.tracking.knows_since(&base.manifest.id));
    stalled.demand.release();
}
