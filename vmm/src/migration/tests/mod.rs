//! Both sides together, with machines that are nothing but memory, and connections that break.

mod doubt;
mod following;
mod lanes;
mod strange;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use block::{Blocking, Disk, MarkedDisk, RawDisk, RawOptions};
use devices::GuestRam;
use net::socket;
use ram::{PAGE, Ram, RegionMarks};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::destination::{Incoming, NotCome, Reception};
use super::facts::Facts;
use super::options::PostCopy;
use super::source::{Cancel, Departing, Moved, Progress, Stayed, depart, tell_stayed};
use super::storage::{DiskKind, Leaving, LeavingDisk, LeftDisks, OurDisk, Trust, Verdict, accept};
use super::transport::{Address, Gate, Protection, Stream};
use super::wire::Session;
use super::*;
use crate::demand::Demand;
use crate::dirty::PageSet;

const PAGES: usize = 40;
const NOBODY: u32 = 0;
const SOURCE: u32 = 1;
const DESTINATION: u32 = 2;

/// What both processes can see of each other.
#[derive(Debug, Default)]
struct World {
    /// Who has the lock of the disk.
    disk: AtomicU32,
    source_runs: AtomicBool,
    destination_runs: AtomicBool,
    /// Ends the machine of the source while it writes down that it is handed over.
    ends: Mutex<Option<Cancel>>,
    /// Both ran at once, or one without the disk.
    broken: AtomicBool,
}

impl World {
    fn new() -> Arc<Self> {
        let world = Self::default();
        world.disk.store(SOURCE, Ordering::SeqCst);
        world.source_runs.store(true, Ordering::SeqCst);
        Arc::new(world)
    }

    fn lock(&self, who: u32) -> Result<(), String> {
        match self.disk.compare_exchange(NOBODY, who, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(()),
            Err(holder) if holder == who => Ok(()),
            Err(_) => Err("the disk is in use".into()),
        }
    }

    fn unlock(&self, who: u32) {
        let _ = self.disk.compare_exchange(who, NOBODY, Ordering::SeqCst, Ordering::SeqCst);
    }

    fn run(&self, who: u32) {
        let (own, other) = match who {
            SOURCE => (&self.source_runs, &self.destination_runs),
            _ => (&self.destination_runs, &self.source_runs),
        };
        own.store(true, Ordering::SeqCst);
        if other.load(Ordering::SeqCst) || self.disk.load(Ordering::SeqCst) != who {
            self.broken.store(true, Ordering::SeqCst);
        }
    }

    fn runs(&self) -> (bool, bool) {
        assert!(!self.broken.load(Ordering::SeqCst), "both ran, or one without its disk");
        (self.source_runs.load(Ordering::SeqCst), self.destination_runs.load(Ordering::SeqCst))
    }
}

fn memory(pages: usize) -> GuestRam {
    let ram: GuestRam = Arc::new(Ram::from_ranges(&[(GuestAddress(0), pages * PAGE)]).unwrap());
    ram::log_writes(&ram, true);
    ram
}

fn contents(ram: &GuestRam) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(ram.last_addr().0).unwrap() + 1];
    ram.read_slice(&mut bytes, GuestAddress(0)).unwrap();
    bytes
}

/// A guest that writes to some pages between rounds, for some rounds.
struct Guest {
    ram: GuestRam,
    world: Arc<World>,
    busy: u8,
    fails_to_record: bool,
    seen: Arc<Mutex<Vec<Progress>>>,
    /// A disk that is copied, and one that both sides have.
    disks: [Arc<MarkedDisk>; 2],
    left: LeftDisks,
}

impl Guest {
    fn write(&self, number: usize, byte: u8) {
        let mut io = Blocking::open(self.disks[number].as_ref()).unwrap();
        io.write(u64::from(byte) * 8192, &[byte | 1; 4096]).unwrap();
    }
}

/// Disks called `copied` and `shared`, and where they are.
const DISKS: [&str; 2] = ["copied", "shared"];
const DISK: u64 = 300 << 10;

fn disks(paths: [&Path; 2], lock_later: bool) -> [Arc<MarkedDisk>; 2] {
    let options = RawOptions { lock_later, ..RawOptions::default() };
    paths.map(|path| Arc::new(MarkedDisk::new(Arc::new(RawDisk::open(path, options).unwrap()))))
}

impl Departing for Guest {
    fn ram(&self) -> GuestRam {
        self.ram.clone()
    }

    fn touched(&self) -> PageSet {
        PageSet::touched(&self.ram)
    }

    fn disks(&mut self) -> Leaving {
        let disks = DISKS.iter().zip(&self.disks).map(|(name, disk)| LeavingDisk {
            name: (*name).to_owned(),
            kind: DiskKind::Storage,
            content: None,
            shareable: false,
            disk: Arc::clone(disk),
        });
        Leaving::new(disks.collect(), Vec::new(), 9)
    }

    fn written(&mut self) -> Result<PageSet, String> {
        let mut set = PageSet::none(&self.ram);
        let region = self.ram.iter().next().unwrap();
        set.add_words(0, &region.bitmap_of().take());
        if let Some(left) = self.busy.checked_sub(1) {
            self.busy = left;
            [0, 1].iter().for_each(|number| self.write(*number, left));
            for page in 0..20u64 {
                self.ram.write_obj(left, GuestAddress(page * PAGE as u64 + u64::from(left))).unwrap();
            }
            set.add_words(0, &region.bitmap_of().take());
        }
        Ok(set)
    }

    fn throttle(&mut self, _: u8) {}

    fn stop(&mut self) -> Result<Vec<u8>, String> {
        self.world.source_runs.store(false, Ordering::SeqCst);
        // The last things that it does.
        [0, 1].iter().for_each(|number| self.write(*number, 30));
        self.disks.iter().for_each(|disk| disk.sync().unwrap());
        self.ram.write_obj(0xabu8, GuestAddress(17)).unwrap();
        Ok(b"state".to_vec())
    }

    fn record(&mut self) -> Result<(), String> {
        if let Some(cancel) = self.world.ends.lock().unwrap().take() {
            assert!(cancel.is_handed_over(), "whoever ends it has to know");
            cancel.end();
        }
        if self.fails_to_record { Err("no space is left".into()) } else { Ok(()) }
    }

    fn let_disks_go(&mut self) -> Result<(), String> {
        let disks = DISKS.iter().zip(&self.disks).map(|(name, disk)| (*name, disk, false));
        self.left = LeftDisks::leave(disks)?;
        self.world.unlock(SOURCE);
        Ok(())
    }

    fn take_disks_back(&mut self, trust: Trust) -> Result<(), String> {
        self.left.take_back(trust)?;
        self.disks.iter().try_for_each(|disk| disk.hold().map_err(|error| error.to_string()))?;
        self.world.lock(SOURCE)
    }

    fn go_on(&mut self) {
        self.world.run(SOURCE);
    }

    fn end(&mut self, _: &Moved) {
        assert!(!self.world.source_runs.load(Ordering::SeqCst));
    }

    fn note(&mut self, progress: &Progress) {
        self.seen.lock().unwrap().push(*progress);
    }
}

/// How the destination misbehaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Faults {
    cannot_load: bool,
    cannot_take: bool,
}

/// A machine's memory and disks on both sides.
struct Stage {
    world: Arc<World>,
    ours: GuestRam,
    theirs: GuestRam,
    here: [Arc<MarkedDisk>; 2],
    away: [Arc<MarkedDisk>; 2],
    /// The disk that is copied, and its copy.
    files: [PathBuf; 2],
}

impl Stage {
    fn set(directory: &Path, pages: usize) -> Self {
        let (ours, theirs) = (memory(pages), memory(pages));
        for page in (0..pages).step_by(3) {
            let bytes = vec![u8::try_from(page % 255).unwrap() + 1; PAGE];
            ours.write_slice(&bytes, GuestAddress((page * PAGE) as u64)).unwrap();
        }
        let [source, copy, shared] = ["source", "copy", "shared"].map(|name| directory.join(name));
        for (path, byte) in [(&source, 0), (&copy, 0x55), (&shared, 0)] {
            std::fs::write(path, vec![byte; usize::try_from(DISK).unwrap()]).unwrap();
        }
        let (here, away) = (disks([&source, &shared], false), disks([&copy, &shared], true));
        Self { world: World::new(), ours, theirs, here, away, files: [source, copy] }
    }
}

/// Listens at a socket.
fn reception(path: &Path) -> Reception {
    let gate = Gate::new(Address::Unix(path.to_owned()), &Protection::default()).unwrap();
    Reception::open(gate.listen().unwrap(), Facts::new(), path.parent().unwrap()).unwrap()
}

/// Has these disks come, one of them copied.
fn agree(incoming: &mut Incoming, disks: &[Arc<MarkedDisk>; 2]) -> Result<(), NotCome> {
    let devices = incoming.devices()?;
    let ours: Vec<_> = DISKS
        .iter()
        .zip(disks)
        .map(|(name, disk)| OurDisk {
            name: (*name).to_owned(),
            kind: DiskKind::Storage,
            disk: Arc::clone(disk),
            content: None,
            made: None,
        })
        .collect();
    let agreed = accept(&devices, &ours, true, &|_, _| Err("no files".into()));
    let agreed = agreed.map_err(|why| incoming.fail(&why))?;
    let verdicts: Vec<_> = agreed.answers.iter().map(|answer| answer.verdict).collect();
    assert_eq!(verdicts, [Verdict::Copy, Verdict::Shared]);
    incoming.agree(agreed.answers, agreed.sinks)
}

/// Receives a machine at a socket, as a process would. Nobody comes any more once the source is over.
fn destination(
    path: &Path,
    world: Arc<World>,
    ram: GuestRam,
    disks: [Arc<MarkedDisk>; 2],
    faults: Faults,
    is_over: Arc<AtomicBool>,
) -> thread::JoinHandle<Result<bool, NotCome>> {
    let reception = reception(path);
    thread::spawn(move || {
        let mut incoming = loop {
            // Whoever has come before that was said is found below.
            let is_last = is_over.load(Ordering::SeqCst);
            match reception.greet(Duration::from_millis(20)) {
                Some(incoming) => break incoming,
                None if is_last => return Ok(false),
                None => {}
            }
        };
        let mut follows = Vec::new();
        let came = (|| {
            agree(&mut incoming, &disks)?;
            let destination::Come { state, demand } = incoming.receive(&ram)?;
            assert_eq!(state, b"state");
            follows.extend(demand);
            if faults.cannot_load {
                return Err(incoming.fail("it does not fit"));
            }
            let take = || {
                disks.iter().try_for_each(|disk| disk.hold().map_err(|error| error.to_string()))?;
                world.lock(DESTINATION)?;
                if faults.cannot_take { Err("the record cannot be written".into()) } else { Ok(()) }
            };
            let undo = || {
                disks.iter().for_each(|disk| disk.let_go().unwrap());
                world.unlock(DESTINATION);
            };
            incoming.take_over(take, undo)
        })();
        match came {
            Ok(()) => {
                world.run(DESTINATION);
                // What it has is its own alone from here on.
                disks.iter().for_each(|disk| assert!(disk.hold().is_ok()));
                incoming.say_running(|| ());
                for demand in &follows {
                    while demand.lacking_bytes() > 0 {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
                Ok(true)
            }
            Err(error) => {
                // Nobody runs it here: it is looked at.
                follows.into_iter().for_each(Demand::release);
                drop(incoming);
                reception.linger(|| false);
                Err(error)
            }
        }
    })
}

/// Passes bytes on; on the connection with number `which` until so many have gone in a direction. Counts what comes back there.
fn breaking_proxy(
    from: PathBuf,
    to: PathBuf,
    which: usize,
    forward: Option<usize>,
    backward: Option<usize>,
) -> Arc<AtomicUsize> {
    let listener = socket::listen(&from).unwrap();
    let said = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&said);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (Ok(near), Ok(far)) = (stream, socket::connect(&to)) else { continue };
            let (forward, backward, count) = if number == which {
                (forward, backward, Arc::clone(&count))
            } else {
                (None, None, Arc::default())
            };
            pass(near.try_clone().unwrap(), far.try_clone().unwrap(), forward, Arc::default());
            pass(far, near, backward, count);
        }
    });
    said
}

fn pass(mut from: UnixStream, mut to: UnixStream, limit: Option<usize>, passed: Arc<AtomicUsize>) {
    thread::spawn(move || {
        let mut left = limit.unwrap_or(usize::MAX);
        let mut bytes = [0; 4096];
        while left > 0 {
            let room = left.min(bytes.len());
            match from.read(&mut bytes[..room]) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    passed.fetch_add(count, Ordering::SeqCst);
                    if to.write_all(&bytes[..count]).is_err() {
                        break;
                    }
                    left -= count;
                }
            }
        }
        let _ = from.shutdown(std::net::Shutdown::Both);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

struct Trial {
    world: Arc<World>,
    result: Result<Moved, Stayed>,
    came: Result<bool, NotCome>,
    seen: Vec<Progress>,
    same: bool,
    /// Bytes that the destination said on the connection that is watched.
    said: usize,
}

/// Moves a machine over one connection, with something going wrong.
fn trial(forward: Option<usize>, backward: Option<usize>, faults: Faults, fails_to_record: bool) -> Trial {
    trial_over((PAGES, 1), (0, forward, backward), faults, fails_to_record)
}

/// Moves a machine of so many pages over so many connections, one of which breaks.
fn trial_over(
    (pages, connections): (usize, u8),
    breaks: (usize, Option<usize>, Option<usize>),
    faults: Faults,
    fails_to_record: bool,
) -> Trial {
    trial_with((pages, connections, PostCopy::Never), breaks, faults, fails_to_record)
}

fn trial_with(
    (pages, connections, post_copy): (usize, u8, PostCopy),
    (which, forward, backward): (usize, Option<usize>, Option<usize>),
    faults: Faults,
    fails_to_record: bool,
) -> Trial {
    let directory = tempfile::tempdir().unwrap();
    let (near, far) = (directory.path().join("near"), directory.path().join("far"));
    let Stage { world, ours, theirs, here, away, files: [source, copy] } =
        Stage::set(directory.path(), pages);
    let is_over = Arc::new(AtomicBool::new(false));
    let there =
        destination(&far, Arc::clone(&world), theirs.clone(), away.clone(), faults, Arc::clone(&is_over));
    let said = breaking_proxy(near.clone(), far, which, forward, backward);
    let seen = Arc::default();
    let mut guest = Guest {
        ram: ours.clone(),
        world: Arc::clone(&world),
        busy: 4,
        fails_to_record,
        seen: Arc::clone(&seen),
        disks: here.clone(),
        left: LeftDisks::default(),
    };
    let options = MigrationOptions {
        downtime: Duration::from_micros(1),
        connections: connections.try_into().unwrap(),
        copy_storage: true,
        post_copy,
        ..MigrationOptions::default()
    };
    let dial = || socket::connect(&near).map(Stream::Unix);
    let session = Session::new([5; 16]);
    let result = depart(&mut guest, &dial, session.clone(), Facts::new(), &options, &Cancel::default());
    is_over.store(true, Ordering::SeqCst);
    let is_untold = matches!(&result, Err(stayed) if stayed.is_untold);
    while is_untold && !there.is_finished() {
        tell_stayed(&dial, &session, Duration::ZERO);
        thread::sleep(Duration::from_millis(1));
    }
    let came = there.join().unwrap();
    let seen = seen.lock().unwrap().clone();
    // Who has the machine has its disk, and keeps the other one from it.
    let (owner, other) = if result.is_ok() { (&away, &here) } else { (&here, &away) };
    owner.iter().for_each(|disk| disk.hold().unwrap());
    assert!(other[1].hold().is_err(), "both have the disk");
    let same = contents(&ours) == contents(&theirs)
        && std::fs::read(&source).unwrap() == std::fs::read(&copy).unwrap();
    let said = said.load(Ordering::SeqCst);
    Trial { world, result, came, seen, same, said }
}

fn check(trial: &Trial, what: &str) {
    let moved = trial.result.is_ok();
    assert_eq!(trial.world.runs(), (!moved, moved), "{what}: {:?} {:?}", trial.result, trial.came);
    assert_eq!(trial.came == Ok(true), moved, "{what}: {:?}", trial.came);
    assert!(!moved || trial.same, "{what}: its memory is another");
}

#[test]
fn a_machine_moves_with_all_that_it_has_written() {
    let trial = trial(None, None, Faults::default(), false);
    check(&trial, "nothing goes wrong");
    let moved = trial.result.unwrap();
    assert_eq!(moved.progress.rounds, 4, "{:?}", trial.seen);
    let phases: Vec<_> = trial.seen.iter().map(|progress| progress.phase).collect();
    assert_eq!(phases.first(), Some(&source::Phase::Connecting));
    assert_eq!(phases.last(), Some(&source::Phase::HandingOver));
}

#[test]
fn what_fails_on_either_side_leaves_the_machine_where_it_was() {
    for (faults, fails_to_record, word) in [
        (Faults { cannot_load: true, ..Faults::default() }, false, "does not fit"),
        (Faults { cannot_take: true, ..Faults::default() }, false, "record cannot be written"),
        (Faults::default(), true, "no space"),
    ] {
        let trial = trial(None, None, faults, fails_to_record);
        check(&trial, word);
        let stayed = trial.result.unwrap_err();
        assert!(stayed.message.contains(word) && !stayed.cancelled, "{stayed:?}");
    }
}

#[test]
fn wherever_the_connection_breaks_one_side_has_the_machine() {
    let mut moved = 0;
    // `Running` is the end of what the destination says.
    let said = trial(None, None, Faults::default(), false).said;
    for backward in (0..=said).step_by(10).chain(said - 4..=said) {
        let trial = trial(None, Some(backward), Faults::default(), false);
        check(&trial, &format!("{backward} bytes came back"));
        moved += u32::from(trial.result.is_ok());
    }
    assert!(moved > 0, "a connection that breaks late does not keep it");
    // What the source says: greeting, disks, memory and disks, state, `Go` at the end.
    for forward in (0..4000).step_by(400).chain((4000..420_000).step_by(11_003)) {
        let trial = trial(Some(forward), None, Faults::default(), false);
        check(&trial, &format!("{forward} bytes went"));
    }
}
