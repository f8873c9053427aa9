//! A machine of this process that moves away, as its migration needs it.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use block::{Disk, MarkedDisk};
use devices::{GuestRam, chain};
use serde::{Deserialize, Serialize};

use super::record::{Owner, Record, Records};
use super::rounds::Limits;
use super::source::{Cancel, Departing, Moved, Progress, Stayed, depart, tell_stayed};
use super::storage::{Added, Leaving, LeavingDisk, LeftDisks, Trust, take};
use super::transport::Route;
use super::wire::{Fate, Session};
use super::write_back::{WritingBack, write_back};
use super::{Facts, MigrationOptions};
use crate::demand::{NotFetched, Presence};
use crate::dirty::{DirtyLog, DirtyReader, PageSet};
use crate::machine::{Brake, MachineState};
use crate::plan::{DevicePlan, Plan};
use crate::state::{Event, ExitReason, Hold, Mailbox, Release, Requests, SaveOrder};

/// How long a destination that cannot be reached is tried that is to hear that the machine has stayed.
const TELLING: Duration = Duration::from_secs(60);

/// What a migration tells the machine's owner.
#[derive(Clone, Debug)]
pub enum MigrationReport {
    /// It is so far.
    Progress(Progress),
    /// The machine has moved, and ends here.
    Moved(Moved),
    /// The machine has stayed.
    Stayed(Stayed),
}

/// All of a machine besides its memory, as it is sent.
#[derive(Debug, Serialize, Deserialize)]
pub struct Luggage {
    /// vCPUs and devices.
    pub state: MachineState,
    /// Sizes of its disks in bytes, by their names.
    pub disks: Vec<(String, u64)>,
    /// It is paused, and stays so.
    pub paused: bool,
}

/// A migration that is to be begun.
#[derive(Debug)]
pub struct Order {
    /// Where to.
    pub route: Route,
    /// How.
    pub options: MigrationOptions,
    /// What the other side has to have as well.
    pub facts: Facts,
    /// Its disks.
    pub disks: Vec<LeavingDisk>,
    /// Devices that came while it ran.
    pub added: Vec<Added>,
    /// The machine's memory.
    pub ram: GuestRam,
    /// Whether all of it is here.
    pub presence: Presence,
    /// Which of it is written.
    pub dirty: DirtyLog,
    /// Slows its guest down.
    pub brake: Brake,
    /// Where it is kept who owns the machine.
    pub records: Records,
}

/// Moves the machine whose owner is reached by `mailbox`, on a thread of its own.
///
/// # Errors
/// The host has no thread left, or no random numbers.
pub fn begin(order: Order, mailbox: Mailbox) -> io::Result<Cancel> {
    let session = Session::new(random()?);
    let secret = random()?.as_chunks::<8>().0.first().map_or(0, |half| u64::from_le_bytes(*half));
    let cancel = Cancel::default();
    let of_thread = cancel.clone();
    let run = move || {
        let Order { route, options, facts, disks, added, ram, presence, dirty, brake, records } = order;
        let bytes = PageSet::all(&ram).len().saturating_mul(ram::PAGE as u64);
        let limits = Limits::new(&options, bytes);
        let written = match log_writes(presence, limits, &dirty, &of_thread) {
            Ok(written) => written,
            Err(stayed) => return mailbox.post(Event::Migration(MigrationReport::Stayed(stayed))),
        };
        let images: Vec<_> = disks.iter().map(|leaving| Arc::clone(&leaving.disk)).collect();
        write_back(&images);
        let writing_back = Some(WritingBack::begin(images.clone()));
        let disks = Leaving::new(disks, added, secret);
        let record =
            Record { session: session.clone(), owner: Owner::There, peer: route.address().to_string() };
        let mut machine = LocalMachine {
            ram,
            disks,
            images,
            writing_back,
            brake,
            written,
            hold: None,
            left: LeftDisks::default(),
            books: Books { mailbox: mailbox.clone(), records, record },
        };
        let dial = || route.dial();
        let departed = depart(&mut machine, &dial, session.clone(), facts, &options, &of_thread);
        // What is written is watched no longer than that.
        drop(machine);
        if let Err(stayed) = departed {
            let is_untold = stayed.is_untold;
            mailbox.post(Event::Migration(MigrationReport::Stayed(stayed)));
            if is_untold && tell_stayed(&dial, &session, TELLING) == Some(Fate::Runs) {
                mailbox.post(Event::RunsElsewhere(route.address().to_string()));
            }
        }
    };
    thread::Builder::new().name("migrate".into()).stack_size(512 << 10).spawn(run)?;
    Ok(cancel)
}

/// Has the pages noted that are written from now on, once all of the memory is here: to begin with that, the kernel waits for every vCPU that
/// waits for a page, and nobody could break that off. The wait has an end, as copying has: somebody may wait for what is done if it fails.
///
/// # Errors
/// The machine stays: it was cancelled, or its memory does not come.
fn log_writes(
    presence: Presence,
    limits: Limits,
    dirty: &DirtyLog,
    cancel: &Cancel,
) -> Result<DirtyReader, Stayed> {
    await_memory(&presence, limits, cancel)?;
    dirty.reader().map_err(|error| Stayed { message: chain(&error), cancelled: false, is_untold: false })
}

/// Waits until all of the memory is here.
///
/// # Errors
/// As [`log_writes`].
fn await_memory(presence: &Presence, mut limits: Limits, cancel: &Cancel) -> Result<(), Stayed> {
    let (began, mut given_up) = (Instant::now(), None);
    let awaited = presence.await_all(&mut |missing| {
        given_up = limits.judge(missing, began.elapsed()).err();
        given_up.is_some() || cancel.is_asked()
    });
    awaited
        .map_err(|error| match (error, given_up) {
            (NotFetched::BrokenOff, Some(reason)) => {
                (format!("its own memory has not come: {reason}"), false)
            }
            (NotFetched::BrokenOff, None) => ("it was cancelled".into(), true),
            (error, _) => (error.to_string(), false),
        })
        .map_err(|(message, cancelled)| Stayed { message, cancelled, is_untold: false })
}

/// Whether others write to the disk called `name`, too.
fn is_shareable(plan: &Plan, name: &str) -> bool {
    let function = plan.functions.iter().find(|function| function.name == name);
    matches!(function.map(|function| &function.device), Some(DevicePlan::Disk(disk)) if disk.shareable)
}

/// Random bytes.
///
/// # Errors
/// The host has none.
pub fn random() -> io::Result<[u8; 16]> {
    let mut random = [0; 16];
    crate::sys::random::fill(&mut random)?;
    Ok(random)
}

struct LocalMachine {
    ram: GuestRam,
    /// Until they are asked for.
    disks: Leaving,
    /// The disks that it had at the beginning.
    images: Vec<Arc<MarkedDisk>>,
    /// Until it stands.
    writing_back: Option<WritingBack>,
    brake: Brake,
    written: DirtyReader,
    /// While it stands still.
    hold: Option<Hold>,
    /// Its disks that were given up.
    left: LeftDisks,
    books: Books,
}

/// Where it is said who owns the machine.
struct Books {
    /// Of the machine's owner.
    mailbox: Mailbox,
    records: Records,
    /// That it was handed over.
    record: Record,
}

impl Books {
    /// The machine has moved: its owner is told first, for which `end` gives it back.
    fn moved(&self, moved: &Moved, end: impl FnOnce(Release)) {
        self.mailbox.post(Event::Migration(MigrationReport::Moved(*moved)));
        // Until the process has told how it ended, nothing else says so. If it cannot be written, what is there says nearly the same.
        let _ = self.records.write(&Record { owner: Owner::Gone, ..self.record.clone() });
        end(Release::End(ExitReason::Migrated { to: self.record.peer.clone() }));
    }
}

impl LocalMachine {
    /// The disks that somebody writes to, by their names.
    fn written_disks(&self) -> impl Iterator<Item = &(String, Arc<MarkedDisk>)> {
        let disks = self.hold.iter().flat_map(|hold| &hold.saved().disks);
        disks.filter(|(_, disk)| !disk.info().read_only)
    }
}

impl Departing for LocalMachine {
    fn ram(&self) -> GuestRam {
        self.ram.clone()
    }

    fn touched(&self) -> PageSet {
        PageSet::touched(&self.ram)
    }

    fn disks(&mut self) -> Leaving {
        std::mem::take(&mut self.disks)
    }

    fn written(&mut self) -> Result<PageSet, String> {
        self.written.take().map_err(|error| chain(&error))
    }

    fn throttle(&mut self, percent: u8) {
        self.brake.set(percent);
    }

    fn stop(&mut self) -> Result<Vec<u8>, String> {
        self.brake.set(0);
        self.writing_back = None;
        write_back(&self.images);
        let (sender, answer) = mpsc::sync_channel(1);
        // Nobody waits for the answer any more only if this thread is gone.
        let order = SaveOrder::new(move |answer| drop(sender.send(answer)));
        Requests::new(self.books.mailbox.clone()).save(order);
        let hold = answer.recv().map_err(|_| "the machine has ended".to_owned())?;
        let hold = hold.map_err(|refusal| refusal.message)?;
        if !Arc::ptr_eq(&hold.saved().ram, &self.ram) {
            return Err("the guest was reset".into());
        }
        let hold = self.hold.insert(hold);
        let mut disks = Vec::new();
        for (name, disk) in &hold.saved().disks {
            if !disk.info().read_only {
                disk.sync().map_err(|error| format!("disk {name}: {}", chain(&error)))?;
            }
            disks.push((name.clone(), disk.info().size_bytes));
        }
        let luggage = Luggage { state: hold.saved().state.clone(), disks, paused: hold.saved().paused };
        serde_json::to_vec(&luggage).map_err(|error| error.to_string())
    }

    fn record(&mut self) -> Result<(), String> {
        let fail = |error| format!("that the machine is handed over could not be written down: {error}");
        self.books.records.write(&self.books.record).map_err(fail)
    }

    fn let_disks_go(&mut self) -> Result<(), String> {
        if let Some(hold) = &mut self.hold {
            hold.freeze();
        }
        let plan = self.hold.as_ref().map(|hold| &hold.saved().plan);
        let is_shared = |name: &str| plan.is_some_and(|plan| is_shareable(plan, name));
        let disks = self.written_disks().map(|(name, disk)| (name.as_str(), disk, is_shared(name)));
        self.left = LeftDisks::leave(disks)?;
        Ok(())
    }

    fn take_disks_back(&mut self, trust: Trust) -> Result<(), String> {
        // Given up in part, the rest was never left.
        self.left.take_back(trust)?;
        self.written_disks().try_for_each(|(name, disk)| take(name, disk.as_ref()))
    }

    fn go_on(&mut self) {
        self.books.records.clear();
        if let Some(mut hold) = self.hold.take() {
            hold.thaw();
        }
    }

    fn end(&mut self, moved: &Moved) {
        let hold = self.hold.take();
        self.books.moved(moved, |end| hold.into_iter().for_each(|hold| hold.release(end.clone())));
    }

    fn note(&mut self, progress: &Progress) {
        self.books.mailbox.post(Event::Migration(MigrationReport::Progress(*progress)));
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::super::record::elsewhere;
    use super::super::source::Downtime;
    use super::*;
    use crate::demand::testing::Stalled;
    use crate::sys::userfault::is_allowed;

    #[test]
    fn that_it_has_moved_is_told_and_written_down_before_the_machine_is_given_back() {
        for is_lost in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let directory = if is_lost { folder.path().join("missing") } else { folder.path().to_owned() };
            let record =
                Record { session: Session::new([1; 16]), owner: Owner::There, peer: "unix:/there".into() };
            let books = Books { mailbox: Mailbox::new().unwrap(), records: Records::new(&directory), record };
            // Without a folder it cannot be written, and it ends all the same.
            assert_eq!(books.records.write(&books.record).is_err(), is_lost);
            let moved =
                Moved { progress: Progress::default(), downtime: Downtime::default(), took: Duration::ZERO };
            let ended = Cell::new(false);
            books.moved(&moved, |release| {
                let reported = books.mailbox.take();
                assert!(
                    matches!(reported, Some(Event::Migration(MigrationReport::Moved(_)))),
                    "{reported:?}"
                );
                let text = std::fs::read_to_string(directory.join(super::super::record::RECORD_FILE));
                assert_eq!(text.is_ok_and(|text| text.contains("\"gone\"")), !is_lost);
                assert_eq!(release, Release::End(ExitReason::Migrated { to: "unix:/there".into() }));
                ended.set(true);
            });
            assert!(ended.get() && books.mailbox.take().is_none());
            assert_eq!(elsewhere(&directory).is_some(), !is_lost);
        }
    }

    /// What comes of a wait for memory that does not come, with these options, when this is done.
    fn waits(options: &MigrationOptions, what: impl Fn(&Stalled, &Cancel)) -> Stayed {
        let ram: GuestRam =
            Arc::new(ram::Ram::from_ranges(&[(vm_memory::GuestAddress(0), 64 << 12)]).unwrap());
        let (stalled, cancel) = (Stalled::begin(&ram), Cancel::default());
        let (presence, of_thread) = (Presence::Coming(stalled.demand.fetcher()), cancel.clone());
        let (sender, came) = mpsc::channel();
        let limits = Limits::new(options, 64 << 12);
        thread::spawn(move || sender.send(await_memory(&presence, limits, &of_thread)));
        assert!(came.recv_timeout(Duration::from_millis(300)).is_err(), "it does not wait");
        what(&stalled, &cancel);
        let stayed = came.recv_timeout(Duration::from_secs(60)).unwrap().unwrap_err();
        assert_eq!(stalled.demand.faults(), 0, "it asks");
        // Else it would be waited for to say goodbye.
        stalled.lose();
        stalled.demand.release();
        stayed
    }

    #[test]
    fn a_machine_whose_memory_is_coming_does_not_wait_for_ever_to_move_on() {
        if !is_allowed() {
            return;
        }
        let patient = MigrationOptions::default();
        let lost = waits(&patient, |stalled, _| stalled.lose());
        assert!(lost.message.ends_with("has not come yet, and cannot be had: it is gone"), "{lost}");
        assert!(!lost.cancelled);
        let cancelled = waits(&patient, |_, cancel| cancel.cancel().unwrap());
        assert_eq!((cancelled.message.as_str(), cancelled.cancelled), ("it was cancelled", true));
        // Longer than a host stands still for.
        let soon = Some(Duration::from_secs(4));
        let still = waits(&MigrationOptions { progress_timeout: soon, ..patient.clone() }, |_, _| ());
        assert!(still.message.contains("no less was left to copy for 4 s"), "{still}");
        let late = waits(&MigrationOptions { completion_timeout_per_gib: Some(4), ..patient }, |_, _| ());
        assert!(late.message.contains("within 4 s (completionTimeoutPerGiB)") && !late.cancelled, "{late}");
    }
}
