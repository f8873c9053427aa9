//! Both sides together, with machines that are nothing but memory, and connections that break.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use devices::GuestRam;
use ram::{PAGE, Ram, RegionMarks};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

use super::destination::{NotCome, Reception};
use super::facts::Facts;
use super::source::{Cancel, Departing, Moved, Progress, Stayed, depart};
use super::transport::{Address, Stream};
use super::wire::Session;
use super::*;
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

fn memory() -> GuestRam {
    let ram: GuestRam = Arc::new(Ram::from_ranges(&[(GuestAddress(0), PAGES * PAGE)]).unwrap());
    ram::log_writes(&ram, true);
    ram
}

fn contents(ram: &GuestRam) -> Vec<u8> {
    let mut bytes = vec![0; PAGES * PAGE];
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
}

impl Departing for Guest {
    fn ram(&self) -> GuestRam {
        self.ram.clone()
    }

    fn written(&mut self) -> Result<PageSet, String> {
        let mut set = PageSet::none(&self.ram);
        let region = self.ram.iter().next().unwrap();
        set.add_words(0, &region.bitmap_of().take());
        if let Some(left) = self.busy.checked_sub(1) {
            self.busy = left;
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
        // The last thing that it does.
        self.ram.write_obj(0xabu8, GuestAddress(17)).unwrap();
        Ok(b"state".to_vec())
    }

    fn record(&mut self) -> Result<(), String> {
        if self.fails_to_record { Err("no space is left".into()) } else { Ok(()) }
    }

    fn let_disks_go(&mut self) -> Result<(), String> {
        self.world.unlock(SOURCE);
        Ok(())
    }

    fn take_disks_back(&mut self) -> Result<(), String> {
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

/// Receives a machine at a socket, as a process would.
fn destination(
    path: &Path,
    world: Arc<World>,
    ram: GuestRam,
    faults: Faults,
) -> thread::JoinHandle<Result<bool, NotCome>> {
    let listener = Address::Unix(path.to_owned()).listen().unwrap();
    thread::spawn(move || {
        let reception = Reception::open(listener, Facts::new()).unwrap();
        let Some(mut incoming) = reception.greet(Duration::from_secs(2)) else { return Ok(false) };
        let came = (|| {
            let state = incoming.receive(&ram)?;
            assert_eq!(state, b"state");
            if faults.cannot_load {
                return Err(incoming.fail("it does not fit"));
            }
            let take = || {
                world.lock(DESTINATION)?;
                if faults.cannot_take { Err("the record cannot be written".into()) } else { Ok(()) }
            };
            incoming.take_over(take, || world.unlock(DESTINATION))
        })();
        match came {
            Ok(()) => {
                world.run(DESTINATION);
                incoming.say_running();
                Ok(true)
            }
            Err(error) => {
                drop(incoming);
                reception.linger(|| false);
                Err(error)
            }
        }
    })
}

/// Passes bytes on until so many have gone in a direction, once; later connections are whole.
fn breaking_proxy(from: PathBuf, to: PathBuf, forward: Option<usize>, backward: Option<usize>) {
    let listener = UnixListener::bind(from).unwrap();
    thread::spawn(move || {
        let mut limits = (forward, backward);
        for stream in listener.incoming() {
            let (Ok(near), Ok(far)) = (stream, UnixStream::connect(&to)) else { continue };
            let (forward, backward) = std::mem::take(&mut limits);
            pass(near.try_clone().unwrap(), far.try_clone().unwrap(), forward);
            pass(far, near, backward);
        }
    });
}

fn pass(mut from: UnixStream, mut to: UnixStream, limit: Option<usize>) {
    thread::spawn(move || {
        let mut left = limit.unwrap_or(usize::MAX);
        let mut bytes = [0; 4096];
        while left > 0 {
            let room = left.min(bytes.len());
            match from.read(&mut bytes[..room]) {
                Ok(0) | Err(_) => break,
                Ok(count) if to.write_all(&bytes[..count]).is_err() => break,
                Ok(count) => left -= count,
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
}

/// Moves a machine, with something going wrong.
fn trial(forward: Option<usize>, backward: Option<usize>, faults: Faults, fails_to_record: bool) -> Trial {
    let directory = tempfile::tempdir().unwrap();
    let (near, far) = (directory.path().join("near"), directory.path().join("far"));
    let world = World::new();
    let (ours, theirs) = (memory(), memory());
    for page in (0..PAGES).step_by(3) {
        let bytes = vec![u8::try_from(page).unwrap() + 1; PAGE];
        ours.write_slice(&bytes, GuestAddress((page * PAGE) as u64)).unwrap();
    }
    let there = destination(&far, Arc::clone(&world), theirs.clone(), faults);
    breaking_proxy(near.clone(), far, forward, backward);
    let seen = Arc::default();
    let mut guest = Guest {
        ram: ours.clone(),
        world: Arc::clone(&world),
        busy: 3,
        fails_to_record,
        seen: Arc::clone(&seen),
    };
    let options = MigrationOptions { downtime: Duration::from_micros(1), ..MigrationOptions::default() };
    let dial = || UnixStream::connect(&near).map(Stream::Unix);
    let session = Session::new([5; 16]);
    let result = depart(&mut guest, &dial, session, Facts::new(), &options, &Cancel::default());
    let came = there.join().unwrap();
    let seen = seen.lock().unwrap().clone();
    Trial { world, result, came, seen, same: contents(&ours) == contents(&theirs) }
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
    // What the destination says takes less than 400 bytes; `Running` is the end of it.
    for backward in (0..400).step_by(6) {
        let trial = trial(None, Some(backward), Faults::default(), false);
        check(&trial, &format!("{backward} bytes came back"));
        moved += u32::from(trial.result.is_ok());
    }
    assert!(moved > 0, "a connection that breaks late does not keep it");
    // What the source says: greeting, memory, state, `Go` at the end.
    for forward in (0..4000).step_by(400).chain((200_000..420_000).step_by(11_003)) {
        let trial = trial(Some(forward), None, Faults::default(), false);
        check(&trial, &format!("{forward} bytes went"));
    }
}
