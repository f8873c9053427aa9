//! Disks of both sides in one process, without a connection between them.

use std::io;
use std::path::Path;

use block::ops::{CreateOptions, Format, OpenOptions, create, open};
use block::{Blocking, CowDisk, Disk, EngineKind, MarkedDisk, RawDisk, RawOptions};
use proptest::prelude::*;
use std::sync::Arc;

use super::*;
use crate::migration::options::CopyWishes;
use crate::migration::wire::Batch;

/// No whole number of the parts that are marked, nor of pages.
const SIZE: u64 = (5 << 16) + 1536;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Made {
    Raw,
    Qcow2,
    Overlay,
}

fn disk(folder: &Path, name: &str, made: Made) -> Arc<MarkedDisk> {
    let path = folder.join(name);
    let disk: Arc<dyn Disk> = match made {
        Made::Raw => {
            let file = std::fs::File::create(&path).unwrap();
            file.set_len(SIZE).unwrap();
            Arc::new(RawDisk::open(&path, RawOptions::default()).unwrap())
        }
        Made::Qcow2 => {
            create(&path, &CreateOptions::new(Format::Qcow2, SIZE)).unwrap();
            open(&path, Format::Qcow2, &OpenOptions::default()).unwrap().into_disk().into()
        }
        Made::Overlay => {
            // The same base under all overlays.
            let base = folder.join("base");
            if !base.exists() {
                std::fs::write(&base, vec![7; usize::try_from(SIZE).unwrap()]).unwrap();
            }
            let base = RawDisk::open(&base, RawOptions { read_only: true, ..RawOptions::default() }).unwrap();
            Arc::new(CowDisk::open(&base, tempfile::tempfile().unwrap(), EngineKind::Auto).unwrap())
        }
    };
    Arc::new(MarkedDisk::new(disk))
}

fn kind(made: Made) -> DiskKind {
    if made == Made::Overlay { DiskKind::Scratch } else { DiskKind::Storage }
}

fn leaving(disk: &Arc<MarkedDisk>, kind: DiskKind) -> Leaving {
    let disk =
        LeavingDisk { name: "d".into(), kind, content: None, shareable: false, disk: Arc::clone(disk) };
    Leaving::new(vec![disk], Vec::new(), 77)
}

fn ours(disk: &Arc<MarkedDisk>, kind: DiskKind) -> [OurDisk; 1] {
    [OurDisk { name: "d".into(), kind, disk: Arc::clone(disk), content: None, made: None }]
}

fn no_files(_: &str, _: u64) -> Result<FilesDisk, String> {
    Err("there are none".into())
}

const COPIES: CopyWishes = CopyWishes { others: true, named: Vec::new() };

fn contents(disk: &MarkedDisk) -> Vec<u8> {
    let mut bytes = vec![0xee; usize::try_from(SIZE).unwrap()];
    Blocking::open(disk).unwrap().read(0, &mut bytes).unwrap();
    bytes
}

/// Copies what is left.
fn round(leaving: &mut Leaving, sinks: &mut Sinks) -> u64 {
    let mut sent = 0;
    // Few at a time, so that ranges are cut.
    while leaving
        .send_zeroes::<io::Error>(12 << 10, &mut |part, batch: &mut Batch| {
            assert_eq!((part, batch.bytes()), (Part::Blocks(0), 0));
            let pages: u32 = batch.runs().map(|(run, _)| run.pages).sum();
            assert!(pages <= 3, "{pages} pages are more than were asked for");
            sinks.put(0, batch).map_err(io::Error::other)?;
            batch.clear();
            Ok(())
        })
        .unwrap()
    {}
    leaving
        .send::<io::Error>(&mut |part, batch: &mut Batch| {
            let Part::Blocks(number) = part else { panic!("{part:?}") };
            sent += batch.bytes();
            sinks.put(number, batch).map_err(io::Error::other)?;
            batch.clear();
            Ok(())
        })
        .unwrap();
    sinks.sync().unwrap();
    sent
}

#[derive(Clone, Debug)]
enum Step {
    Write(u64, u64, u8),
    Zero(u64, u64),
    Discard(u64, u64),
    Round,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sectors = SIZE / 512;
    let range =
        move || (0..sectors, 1..200u64).prop_map(move |(at, len)| (at * 512, len.min(sectors - at) * 512));
    let step = prop_oneof![
        3 => (range(), any::<u8>()).prop_map(|((at, len), byte)| Step::Write(at, len, byte)),
        1 => range().prop_map(|(at, len)| Step::Zero(at, len)),
        1 => range().prop_map(|(at, len)| Step::Discard(at, len)),
        2 => Just(Step::Round),
    ];
    prop::collection::vec(step, 0..24)
}

fn made() -> impl Strategy<Value = Made> {
    prop::sample::select(&[Made::Raw, Made::Qcow2][..])
}

fn apply(disk: &MarkedDisk, step: &Step) {
    let mut io = Blocking::open(disk).unwrap();
    match *step {
        Step::Write(at, len, byte) => io.write(at, &vec![byte; usize::try_from(len).unwrap()]).unwrap(),
        Step::Zero(at, len) => io.write_zeroes(at, len, true).unwrap(),
        Step::Discard(at, len) => io.discard(at, len).unwrap(),
        Step::Round => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_when_the_copy_is_the_disk(
        (from, to) in prop_oneof![4 => (made(), made()), 1 => Just((Made::Overlay, Made::Overlay))],
        before in steps(),
        steps in steps(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (disk(folder.path(), "source", from), disk(folder.path(), "copy", to));
        before.iter().for_each(|step| apply(&source, step));
        if to != Made::Overlay {
            // What is there is written over, where the source has zeroes, too.
            apply(&copy, &Step::Write(0, SIZE, 0x55));
        }
        let mut leaving = leaving(&source, kind(from));
        let devices = leaving.tell(&COPIES);
        let mut agreed = accept(&devices, &ours(&copy, kind(to)), true, &no_files).unwrap();
        let expected = if to == Made::Overlay { Verdict::CopyDifferences } else { Verdict::Copy };
        prop_assert_eq!(agreed.answers[0].verdict, expected);
        leaving.settle(&agreed.answers).unwrap();
        for step in &steps {
            apply(&source, step);
            if let Step::Round = step {
                round(&mut leaving, &mut agreed.sinks);
            }
        }
        leaving.look();
        round(&mut leaving, &mut agreed.sinks);
        prop_assert_eq!(leaving.left(), 0);
        agreed.sinks.finish().unwrap();
        prop_assert!(contents(&source) == contents(&copy));
    }
}

#[test]
fn of_an_overlay_only_what_differs_goes_over_and_of_a_sparse_disk_only_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    for (made, byte) in [(Made::Overlay, 7), (Made::Raw, 0), (Made::Qcow2, 0)] {
        let (source, copy) = (disk(folder.path(), "a", made), disk(folder.path(), "b", made));
        apply(&source, &Step::Write(3 << 16, 4096, 1));
        let mut leaving = leaving(&source, kind(made));
        let mut agreed = accept(&leaving.tell(&COPIES), &ours(&copy, kind(made)), true, &no_files).unwrap();
        leaving.settle(&agreed.answers).unwrap();
        let sent = round(&mut leaving, &mut agreed.sinks);
        assert!((4096..=1 << 16).contains(&sent), "{made:?}: {sent} bytes");
        assert_eq!(contents(&copy)[0], byte);
        assert!(contents(&source) == contents(&copy));
        drop((leaving, agreed));
        let _ =
            (std::fs::remove_file(folder.path().join("a")), std::fs::remove_file(folder.path().join("b")));
    }
}

/// A disk once more, as another process would open it.
fn again(folder: &Path, name: &str) -> Arc<MarkedDisk> {
    let options = RawOptions { lock_later: true, ..RawOptions::default() };
    Arc::new(MarkedDisk::new(Arc::new(RawDisk::open(&folder.join(name), options).unwrap())))
}

#[test]
fn one_disk_is_known_and_two_are_told_apart_whatever_is_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let (source, _) = (disk(folder.path(), "disk", Made::Raw), disk(folder.path(), "other", Made::Raw));
    let (same, other) = (again(folder.path(), "disk"), again(folder.path(), "other"));
    for wishes in [CopyWishes::default(), COPIES] {
        for host in [host(), "another kernel".to_owned()] {
            let mut leaving = leaving(&source, DiskKind::Storage);
            let devices = Devices { host, ..leaving.tell(&wishes) };
            // By another kernel's word it is the sign in the lock that tells.
            let agreed = accept(&devices, &ours(&same, DiskKind::Storage), true, &no_files).unwrap();
            assert_eq!(agreed.answers[0].verdict, Verdict::Shared);
            let refused = accept(&devices, &ours(&other, DiskKind::Storage), true, &no_files);
            match wishes.others {
                true => assert_eq!(refused.unwrap().answers[0].verdict, Verdict::Copy),
                false => assert!(refused.err().unwrap().contains("not the same storage")),
            }
        }
    }
    // A host that was copied while it ran says that it is this one; the lock knows better.
    let mut copied = leaving(&source, DiskKind::Storage);
    let mut devices = copied.tell(&CopyWishes::default());
    let file = devices.disks[0].file.as_mut().unwrap();
    file.identity = other.host_file().unwrap().identity().unwrap().into();
    let refused = accept(&devices, &ours(&other, DiskKind::Storage), true, &no_files);
    assert!(refused.err().unwrap().contains("not the same storage"));
    // Without a sign, as shareable files and devices by other nodes are, what is in it has to tell.
    devices.disks[0].file.as_mut().unwrap().signed = false;
    let mut agreed = accept(&devices, &ours(&other, DiskKind::Storage), true, &no_files).unwrap();
    assert_eq!(agreed.answers[0].verdict, Verdict::Compare);
    copied.settle(&agreed.answers).unwrap();
    apply(&source, &Step::Write(2 << 16, 4096, 9));
    copied.look();
    let mut compared = None;
    copied
        .send_samples::<io::Error>(&mut |_, batch| {
            compared = Some(agreed.sinks.compare(0, batch));
            Ok(())
        })
        .unwrap();
    assert!(compared.unwrap().unwrap_err().contains("it is another one"));
    drop(copied);
    // Named, it is still not copied onto itself.
    let mut leaving = leaving(&source, DiskKind::Storage);
    let devices = leaving.tell(&CopyWishes { others: false, named: vec!["d".into()] });
    let refused = accept(&devices, &ours(&same, DiskKind::Storage), true, &no_files);
    assert!(refused.err().unwrap().contains("same storage"));
}

#[test]
fn a_copy_is_locked_while_it_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let source = disk(folder.path(), "source", Made::Raw);
    drop(disk(folder.path(), "copy", Made::Raw));
    let copy = again(folder.path(), "copy");
    let other = again(folder.path(), "copy");
    let devices = leaving(&source, DiskKind::Storage).tell(&COPIES);
    let agreed = accept(&devices, &ours(&copy, DiskKind::Storage), true, &no_files).unwrap();
    assert!(other.hold().is_err());
    drop((agreed, copy));
    let busy = disk(folder.path(), "busy", Made::Raw);
    let ours = ours(&again(folder.path(), "busy"), DiskKind::Storage);
    assert!(accept(&devices, &ours, true, &no_files).err().unwrap().contains("in use"));
    drop(busy);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (disk(folder.path(), "source", Made::Raw), disk(folder.path(), "copy", Made::Raw));
    let mut leaving = leaving(&source, DiskKind::Storage);
    let devices = leaving.tell(&COPIES);
    let ours = ours(&copy, DiskKind::Storage);
    let say = |devices: &Devices, takes| accept(devices, &ours, takes, &no_files).err().unwrap();
    assert!(say(&devices, false).contains("--copy-storage"));
    let change = |change: &dyn Fn(&mut DiskNote)| {
        let mut devices = devices.clone();
        change(&mut devices.disks[0]);
        devices
    };
    assert!(say(&change(&|note| note.bytes = 512), true).contains("512 at the source"));
    assert!(say(&change(&|note| note.name = "x".into()), true).contains("no disk d"));
    assert!(say(&change(&|note| note.kind = DiskKind::Scratch), true).contains("no such disk"));
    let mut agreed = accept(&devices, &ours, true, &no_files).unwrap();
    for (start, pages) in [(SIZE.next_multiple_of(4096), 1), (0, u32::MAX), (u64::MAX - 4095, 1)] {
        let mut batch = Batch::default();
        batch.add_zeroes(start, pages);
        assert!(agreed.sinks.put(0, &batch).is_err(), "{start} {pages}");
        assert!(agreed.sinks.put(1, &batch).is_err());
        assert!(agreed.sinks.compare(0, &batch).is_err());
    }
    assert!(leaving.settle(&[]).is_err());
    let other = Answer { name: "x".into(), verdict: Verdict::Shared };
    assert!(leaving.settle(&[other]).is_err());
}

#[test]
fn an_image_that_was_made_becomes_as_long_as_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let source = disk(folder.path(), "source", Made::Raw);
    let path = folder.path().join("copy");
    std::fs::write(&path, [0; 512]).unwrap();
    let copy = again(folder.path(), "copy");
    let made = OurDisk { made: Some(path.clone()), ..ours(&copy, DiskKind::Storage)[0].clone() };
    let mut leaving = leaving(&source, DiskKind::Storage);
    let mut agreed = accept(&leaving.tell(&COPIES), &[made], true, &no_files).unwrap();
    leaving.settle(&agreed.answers).unwrap();
    round(&mut leaving, &mut agreed.sinks);
    agreed.sinks.finish().unwrap();
    assert_eq!(std::fs::metadata(path).unwrap().len(), SIZE);
}

#[test]
fn a_disk_that_cannot_be_known_is_compared_when_nobody_writes_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let source = disk(folder.path(), "source", Made::Raw);
    apply(&source, &Step::Write(0, SIZE, 3));
    for (differs, alike) in
        [(None, true), (Some(0), false), (Some(2 << 16), false), (Some(SIZE - 1536 - 4096), false)]
    {
        std::fs::copy(folder.path().join("source"), folder.path().join("copy")).unwrap();
        let copy = again(folder.path(), "copy");
        let mut leaving = leaving(&source, DiskKind::Storage);
        let mut devices = leaving.tell(&CopyWishes::default());
        // As it is with block devices of two hosts.
        devices.host.clear();
        devices.disks[0].file = None;
        let mut agreed = accept(&devices, &ours(&copy, DiskKind::Storage), true, &no_files).unwrap();
        assert_eq!(agreed.answers[0].verdict, Verdict::Compare);
        assert!(agreed.sinks.finish().is_err(), "nothing was compared");
        leaving.settle(&agreed.answers).unwrap();
        // What is written since is looked at in any case; an older copy does not have it.
        apply(&source, &Step::Write(2 << 16, 4096, 9));
        leaving.look();
        let mut file = Blocking::open(copy.as_ref()).unwrap();
        file.write(2 << 16, &[9; 4096]).unwrap();
        if let Some(at) = differs {
            file.write(at / 512 * 512, &[4; 512]).unwrap();
        }
        let mut result = Ok(());
        leaving
            .send_samples::<io::Error>(&mut |part, batch: &mut Batch| {
                assert_eq!(part, Part::Samples(0));
                result = agreed.sinks.compare(0, batch);
                Ok(())
            })
            .unwrap();
        assert_eq!(result.is_ok(), alike, "{differs:?}: {result:?}");
        assert_eq!(agreed.sinks.finish().is_ok(), alike);
    }
}

/// Of what a guest writes while it moves, an older copy has nothing, in whatever part of the file it lies.
#[test]
fn what_was_written_last_is_compared_where_it_lies() {
    const BIG: u64 = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let places = |name: &str| (folder.path().join(name), folder.path().join(format!("{name}.old")));
    for format in [Format::Raw, Format::Qcow2] {
        // The second changes but a table of an image.
        for change in [Step::Write((8 << 20) + 5 * 4096, 4096, 9), Step::Zero(8 << 20, 64 << 10)] {
            let (path, old) = places(&format!("{format:?}{change:?}"));
            create(&path, &CreateOptions::new(format, BIG)).unwrap();
            let disk = open(&path, format, &OpenOptions::default()).unwrap().into_disk().into();
            let disk = MarkedDisk::new(disk);
            apply(&disk, &Step::Write(0, BIG, 1));
            disk.sync().unwrap();
            std::fs::copy(&path, &old).unwrap();
            disk.marks().begin(BIG);
            apply(&disk, &change);
            disk.sync().unwrap();
            let file = disk.host_file().unwrap();
            let taken = samples::take(&disk, &file, 77, &disk.marks().take()).unwrap();
            assert!(samples::are_in(&file, &taken).unwrap());
            let name = old.file_name().unwrap().to_str().unwrap().to_owned();
            let old = again(folder.path(), &name).host_file().unwrap();
            assert!(!samples::are_in(&old, &taken).unwrap(), "{format:?} {change:?}");
        }
    }
}

#[test]
fn one_image_below_both_is_known_on_any_host_by_what_it_was_taken_out_of() {
    let folder = tempfile::tempdir().unwrap();
    let (source, copy) = (disk(folder.path(), "a", Made::Overlay), disk(folder.path(), "b", Made::Overlay));
    let answer = |theirs: Option<&str>, content: Option<&str>| {
        let mut devices = leaving(&source, DiskKind::Scratch).tell(&COPIES);
        devices.host = "another kernel".into();
        devices.disks[0].content = theirs.map(str::to_owned);
        let our =
            OurDisk { content: content.map(str::to_owned), ..ours(&copy, DiskKind::Scratch)[0].clone() };
        accept(&devices, &[our], false, &no_files).unwrap().answers[0].verdict
    };
    assert_eq!(answer(Some("1/disk"), Some("1/disk")), Verdict::CopyDifferences);
    for (theirs, here) in [(Some("1/disk"), Some("2/disk")), (Some("1/disk"), None), (None, None)] {
        assert_eq!(answer(theirs, here), Verdict::Copy, "{theirs:?} {here:?}");
    }
}

#[test]
fn zeroes_of_all_disks_together_are_no_more_than_were_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let disks = ["one", "two"].map(|name| LeavingDisk {
        name: name.into(),
        kind: DiskKind::Storage,
        content: None,
        shareable: false,
        disk: disk(folder.path(), name, Made::Raw),
    });
    let answers = ["one", "two"].map(|name| Answer { name: name.into(), verdict: Verdict::Copy });
    let mut leaving = Leaving::new(disks.to_vec(), Vec::new(), 77);
    leaving.settle(&answers).unwrap();
    // Each has 80 pages, and something behind them.
    let told = [(); 3].map(|()| {
        let mut pages = 0;
        let mut send = |_, batch: &mut Batch| {
            pages += batch.runs().map(|(run, _)| run.pages).sum::<u32>();
            batch.clear();
            Ok::<_, io::Error>(())
        };
        (leaving.send_zeroes(100 << 12, &mut send).unwrap(), pages)
    });
    assert_eq!(told, [(true, 100), (true, 60), (false, 0)]);
}
