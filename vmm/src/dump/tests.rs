use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, mpsc};
use std::thread;

use kvm_bindings::kvm_regs;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use super::registers::Segment;
use super::*;
use crate::demand::testing::Stalled;
use crate::demand::{NotFetched, Presence};
use crate::dirty::testing::log;
use crate::snapshot::Tracking;
use crate::state::{Event, Glance, Mailbox};
use crate::sys::userfault::is_allowed;

const MIB: u64 = 1 << 20;

fn ram() -> GuestRam {
    let ram = GuestMemoryMmap::from_ranges(&[(GuestAddress(0), 3 << 20), (GuestAddress(1 << 32), 2 << 20)]);
    Arc::new(ram.unwrap())
}

fn registers(rip: u64) -> Registers {
    let segment = Segment { selector: 8, limit: u32::MAX, flags: 0xa09b00, base: 0 };
    let fs = Segment { base: 0x1234, ..segment };
    let table = Segment { base: 0xfff0_0000, ..Segment::default() };
    Registers {
        general: kvm_regs { rip, rax: 0xaa, rsp: 0x8000, ..kvm_regs::default() },
        cs: segment,
        ds: segment,
        es: segment,
        fs,
        gs: segment,
        ss: segment,
        ldt: table,
        tr: table,
        gdt: table,
        idt: table,
        control: [1, 0, 0, 0x1000, 0x20],
        kernel_gs_base: 0x77,
    }
}

fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// Kind, offset, address and size of the program headers.
fn segments(core: &[u8]) -> Vec<(u32, usize, u64, usize)> {
    let count = u16::from_le_bytes(core[56..58].try_into().unwrap());
    let header = |index: usize| {
        let at = 64 + 56 * index;
        let kind = u32::from_le_bytes(core[at..at + 4].try_into().unwrap());
        let size = |at| usize::try_from(word(core, at)).unwrap();
        (kind, size(at + 8), word(core, at + 24), size(at + 32))
    };
    (0..usize::from(count)).map(header).collect()
}

/// Names, kinds and contents of the notes.
fn notes(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    let mut notes = Vec::new();
    while !bytes.is_empty() {
        let half = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (name, contents, kind) = (half(0) as usize, half(4) as usize, half(8));
        let start = 12 + name.next_multiple_of(4);
        let text = String::from_utf8(bytes[12..12 + name - 1].to_vec()).unwrap();
        notes.push((text, kind, bytes[start..start + contents].to_vec()));
        bytes = &bytes[start + contents.next_multiple_of(4)..];
    }
    notes
}

#[test]
fn a_core_has_memory_processors_and_what_the_kernel_says() {
    let (folder, ram) = (tempfile::tempdir().unwrap(), ram());
    for (address, text) in [(0x5000, "low"), (2 * MIB + 4090, "over two pages"), ((1 << 32) + MIB, "high")] {
        ram.write_slice(text.as_bytes(), GuestAddress(address)).unwrap();
    }
    let path = folder.path().join("core");
    let partial = file::Partial::create(&path).unwrap();
    let said = notes::note("VMCOREINFO", 0, b"OSRELEASE=6.1\n");
    let stored = write_to(partial.file(), &[registers(0x100), registers(0x200)], Some(&said), &ram).unwrap();
    assert!(!path.exists(), "it is not whole yet");
    partial.finish().unwrap();
    assert_eq!(stored, 4 * 4096);
    let core = fs::read(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().blocks() * 512 < MIB, "pages of zeroes take room");
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(core[..20], *b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0\x3e\0");

    let [note, low, high] = segments(&core)[..] else { panic!("{:?}", segments(&core)) };
    assert_eq!((note.0, low.0, high.0), (4, 1, 1));
    assert_eq!((low.2, low.3, high.2, high.3), (0, 3 << 20, 1 << 32, 2 << 20));
    assert!(low.1.is_multiple_of(4096) && high.1.is_multiple_of(4096));
    assert_eq!(core.len(), high.1 + high.3);
    for (at, memory) in [(low, 0u64), (high, 1 << 32)] {
        let mut expected = vec![0; at.3];
        ram.read_slice(&mut expected, GuestAddress(memory)).unwrap();
        assert!(core[at.1..at.1 + at.3] == expected, "memory at {memory:#x}");
    }

    let notes = notes(&core[note.1..note.1 + note.3]);
    let names: Vec<_> =
        notes.iter().map(|(name, kind, contents)| (name.as_str(), *kind, contents.len())).collect();
    let expected =
        [("CORE", 1, 336), ("CORE", 1, 336), ("QEMU", 0, 440), ("QEMU", 0, 440), ("VMCOREINFO", 0, 14)];
    assert_eq!(names, expected);
    let second = &notes[1].2;
    assert_eq!(second[32..36], 2u32.to_le_bytes(), "the second processor");
    let register = |index: usize| word(second, 112 + 8 * index);
    assert_eq!((register(10), register(16), register(17), register(19)), (0xaa, 0x200, 8, 0x8000));
    assert_eq!(register(21), 0x1234, "the base of FS");
    let first = &notes[2].2;
    assert_eq!(word(first, 8 + 16 * 8), 0x100, "RIP");
    assert_eq!(word(first, 152 + 9 * 24 + 16), 0xfff0_0000, "where the interrupt table is");
    assert_eq!((word(first, 392), word(first, 416), word(first, 432)), (1, 0x1000, 0x77));
}

#[test]
fn what_does_not_become_whole_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("core"), "before").unwrap();
    drop(file::Partial::create(&folder.path().join("core")).unwrap());
    assert_eq!(fs::read(folder.path().join("core")).unwrap(), b"before");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(file::Partial::create(folder.path()).is_err());
    assert!(file::Partial::create(&folder.path().join("no/where")).is_err());
    // A disk that is full.
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let error = write_to(&full, &[registers(0)], None, &ram()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn a_guest_may_point_anywhere() {
    let ram = ram();
    let place = |format: u16, size: u32, address: u64| {
        let mut bytes = 1u16.to_le_bytes().to_vec();
        bytes.extend(format.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(address.to_le_bytes());
        bytes
    };
    let good = notes::note("VMCOREINFO", 0, b"OSRELEASE=6.1\n");
    ram.write_slice(&good, GuestAddress(0x1000)).unwrap();
    assert_eq!(vmcoreinfo::note(&place(1, 4096, 0x1000), &ram), Some(good.clone()));
    let bad = [
        place(0, 4096, 0x1000),
        place(1, 30, 0x1000),
        place(1, u32::MAX, 0x1000),
        place(1, 4096, 3 << 20),
        place(1, 4096, u64::MAX - 100),
        place(1, 4096, 0x2000),
        Vec::new(),
        vec![0; 15],
    ];
    for bad in bad {
        assert_eq!(vmcoreinfo::note(&bad, &ram), None, "{bad:?}");
    }
    // A length that leads out of what was read.
    ram.write_slice(&u32::MAX.to_le_bytes(), GuestAddress(0x1004)).unwrap();
    assert_eq!(vmcoreinfo::note(&place(1, 4096, 0x1000), &ram), None);
}

#[test]
fn a_guest_does_not_stand_still_for_memory_that_is_still_coming() {
    if !is_allowed() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (path, mailbox) = (folder.path().join("core"), Mailbox::new().unwrap());
    let ram: GuestRam = Arc::new(ram::Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap());
    let stalled = Stalled::begin(&ram);
    let (sender, came) = mpsc::channel();
    let requests = Requests::new(mailbox.clone());
    thread::spawn(move || sender.send(write(&path, &requests)));
    let asked = loop {
        match mailbox.take() {
            Some(asked) => break asked,
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    let Event::Look(order) = asked else { panic!("{asked:?}") };
    let presence = Presence::Coming(stalled.demand.fetcher());
    let dirty = log(&ram, || ());
    order.fill(Ok(Glance { ram, presence, dirty, tracking: Tracking::default() }));
    assert!(came.recv_timeout(Duration::from_millis(300)).is_err(), "it does not wait");
    stalled.lose();
    let missing = came.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err();
    assert!(matches!(missing, DumpError::Missing(NotFetched::Lost(_))), "{missing}");
    assert!(mailbox.take().is_none(), "the machine is to stand still");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    stalled.demand.release();
}
