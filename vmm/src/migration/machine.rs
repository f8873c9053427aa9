//! A machine of this process that moves away, as its migration needs it.

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use block::Disk;
use devices::{GuestRam, chain};
use serde::{Deserialize, Serialize};

use super::record::{Owner, Record, Records};
use super::source::{Cancel, Departing, Moved, Progress, Stayed, depart};
use super::transport::Address;
use super::wire::Session;
use super::{Facts, MigrationOptions};
use crate::dirty::{DirtyReader, PageSet};
use crate::machine::{Brake, MachineState};
use crate::state::{Event, ExitReason, Hold, Mailbox, Release, Requests, SaveOrder};

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
    pub address: Address,
    /// How.
    pub options: MigrationOptions,
    /// What the other side has to have as well.
    pub facts: Facts,
    /// The machine's memory.
    pub ram: GuestRam,
    /// Which of it is written from now on.
    pub written: DirtyReader,
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
    let session = session()?;
    let cancel = Cancel::default();
    let of_thread = cancel.clone();
    let run = move || {
        let Order { address, options, facts, ram, written, brake, records } = order;
        let record = Record { session: session.clone(), owner: Owner::There, peer: address.to_string() };
        let mut machine =
            LocalMachine { ram, brake, written, mailbox: mailbox.clone(), hold: None, records, record };
        let dial = || address.dial();
        if let Err(stayed) = depart(&mut machine, &dial, session, facts, &options, &of_thread) {
            mailbox.post(Event::Migration(MigrationReport::Stayed(stayed)));
        }
    };
    thread::Builder::new().name("migrate".into()).stack_size(512 << 10).spawn(run)?;
    Ok(cancel)
}

fn session() -> io::Result<Session> {
    use std::io::Read;
    let mut random = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut random)?;
    Ok(Session::new(random))
}

struct LocalMachine {
    ram: GuestRam,
    brake: Brake,
    written: DirtyReader,
    mailbox: Mailbox,
    /// While it stands still.
    hold: Option<Hold>,
    records: Records,
    record: Record,
}

impl LocalMachine {
    /// The disks that somebody writes to.
    fn disks(&self) -> impl Iterator<Item = &Arc<dyn Disk>> {
        let disks = self.hold.iter().flat_map(|hold| &hold.saved().disks).map(|(_, disk)| disk);
        disks.filter(|disk| !disk.info().read_only)
    }
}

impl Departing for LocalMachine {
    fn ram(&self) -> GuestRam {
        self.ram.clone()
    }

    fn written(&mut self) -> Result<PageSet, String> {
        self.written.take().map_err(|error| chain(&error))
    }

    fn throttle(&mut self, percent: u8) {
        self.brake.set(percent);
    }

    fn stop(&mut self) -> Result<Vec<u8>, String> {
        self.brake.set(0);
        let (sender, answer) = mpsc::sync_channel(1);
        // Nobody waits for the answer any more only if this thread is gone.
        let order = SaveOrder::new(move |answer| drop(sender.send(answer)));
        Requests::new(self.mailbox.clone()).save(order);
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
        self.records.write(&self.record).map_err(fail)
    }

    fn let_disks_go(&mut self) -> Result<(), String> {
        if let Some(hold) = &mut self.hold {
            hold.freeze();
        }
        self.disks().try_for_each(|disk| disk.let_go().map_err(|error| chain(&error)))
    }

    fn take_disks_back(&mut self) -> Result<(), String> {
        self.disks().try_for_each(|disk| disk.hold().map_err(|error| chain(&error)))
    }

    fn go_on(&mut self) {
        self.records.clear();
        if let Some(mut hold) = self.hold.take() {
            hold.thaw();
        }
    }

    fn end(&mut self, moved: &Moved) {
        self.mailbox.post(Event::Migration(MigrationReport::Moved(*moved)));
        if let Some(hold) = self.hold.take() {
            hold.release(Release::End(ExitReason::Migrated { to: self.record.peer.clone() }));
        }
    }

    fn note(&mut self, progress: &Progress) {
        self.mailbox.post(Event::Migration(MigrationReport::Progress(*progress)));
    }
}
