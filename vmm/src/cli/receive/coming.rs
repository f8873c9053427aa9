//! A machine that is built and waits for what it was elsewhere.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use block::Disk;
use devices::{GuestRam, chain, say};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use crate::demand::{Demand, Presence};
use crate::machine::{Machine, PassedTime};
use crate::migration::destination::{Come, Incoming, NotCome};
use crate::migration::machine::Luggage;
use crate::migration::record::{Owner, Record, Records};
use crate::open::{MadeImage, tell_of_claim};
use crate::state::{ArrivalError, Arriving, Moment, load as load_state};
use crate::sys::poll::{Interest, wait};
use crate::sys::signals::Signals;

/// The machine did not come.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(in crate::cli) struct NothingCame(#[from] NotCome);

/// A machine whose source was welcomed.
pub(in crate::cli) struct Coming {
    pub(in crate::cli) incoming: Incoming,
    /// Its disks here, by their names.
    pub(in crate::cli) disks: Vec<(String, Arc<dyn Disk>)>,
    /// Where it is kept who owns it.
    pub(in crate::cli) records: Records,
    /// Where it is listened.
    pub(in crate::cli) peer: String,
    /// Images that were made for it.
    pub(in crate::cli) made: Vec<MadeImage>,
    /// Connects the console, which is left to whoever waits until the machine has come.
    pub(in crate::cli) connect: Box<dyn FnOnce() -> Result<(), String>>,
}

impl Arriving for Coming {
    fn load(mut self: Box<Self>, machine: &mut Machine, signals: &Signals) -> Result<Moment, ArrivalError> {
        let Come { state, demand } = self.receive(&machine.ram(), signals)?;
        let luggage: Luggage = match serde_json::from_slice(&state) {
            Ok(luggage) => luggage,
            Err(error) => {
                return Err(self
                    .incoming
                    .fail(&format!("the machine's state cannot be read: {error}"))
                    .into());
            }
        };
        if let Err(error) = self.settle(machine, &luggage, (demand.as_ref(), signals)) {
            // It never runs here, and nobody is to wait for its memory.
            demand.into_iter().for_each(Demand::release);
            return Err(error);
        }
        Ok(Moment { paused: luggage.paused, demand })
    }

    fn refuse(mut self: Box<Self>, why: &str) {
        self.incoming.fail(why);
    }
}

impl Coming {
    /// Has memory put in place until all has come, or until somebody wants the process to end.
    fn receive(&mut self, ram: &GuestRam, signals: &Signals) -> Result<Come, ArrivalError> {
        let done = EventFd::new(EFD_NONBLOCK)?;
        let cut = self.incoming.cutter();
        let incoming = &mut self.incoming;
        let came = thread::scope(|scope| {
            let receiver = thread::Builder::new().name("migrate".into()).stack_size(512 << 10);
            let receiver = receiver.spawn_scoped(scope, || {
                let came = incoming.receive(ram);
                // The counter cannot overflow from one.
                let _ = done.write(1);
                came
            })?;
            while !receiver.is_finished() && done.read().is_err() {
                let waited = wait([(&done, Interest::Read), (&signals.as_fd(), Interest::Read)], None);
                if waited.is_err() || signals.wish_the_end() {
                    // The receiver fails, and tells why.
                    cut.cut();
                }
            }
            receiver.join().map_err(|_| ArrivalError::from("the thread that receives died"))
        })?;
        Ok(came.map_err(NothingCame)?)
    }

    /// Gives the machine its state, and takes it over.
    fn settle(
        self,
        machine: &mut Machine,
        luggage: &Luggage,
        (demand, signals): (Option<&Demand>, &Signals),
    ) -> Result<(), ArrivalError> {
        let Self { mut incoming, disks, records, peer, made, connect } = self;
        let fits = longer(&luggage.disks, &disks).and_then(|longer| {
            let load = |machine: &mut Machine| {
                Ok(machine.load(&luggage.state, PassedTime::Hidden, &Presence::of(demand))?)
            };
            load_state(machine, demand, signals, load).map_err(|error| chain(&*error))?;
            longer.into_iter().for_each(|disk| machine.tell_size(disk));
            connect()
        });
        if let Err(why) = fits {
            return Err(incoming.fail(&why).into());
        }
        let written = || disks.iter().filter(|(_, disk)| !disk.info().read_only);
        let record = Record { session: incoming.session(), owner: Owner::Here, peer };
        let take = || {
            written().try_for_each(|(_, disk)| disk.hold().map_err(|error| chain(&error)))?;
            let fail = |error| format!("that the machine is here could not be written down: {error}");
            records.replace(&record).map_err(fail)
        };
        let undo = || {
            // A lock that is not held is given up without harm; one that cannot be is given up with the process.
            written().for_each(|(_, disk)| drop(disk.let_go()));
            records.put_back();
        };
        incoming.take_over(take, undo)?;
        made.into_iter().for_each(MadeImage::keep);
        let told = thread::Builder::new().name("migrate".into()).stack_size(128 << 10);
        let does = if luggage.paused { "is paused, as it was" } else { "runs" };
        // Without a thread to tell the source, the source asks.
        let tell = move || {
            say!("kubevmm: the machine has arrived, and {does} here");
            disks.iter().for_each(|(name, disk)| tell_of_claim(name, disk.as_ref()));
        };
        let _ = told.spawn(move || incoming.say_running(tell));
        Ok(())
    }
}

/// Those of the disks here that are longer than the guest knows: they may have grown since they were opened, or it was copied to a longer
/// device.
fn longer<'a>(theirs: &[(String, u64)], ours: &'a [(String, Arc<dyn Disk>)]) -> Result<Vec<&'a str>, String> {
    let mut longer = Vec::new();
    for (name, disk) in ours {
        let here = disk.refresh().map_err(|error| format!("disk {name}: {}", chain(&error)))?.size_bytes;
        match theirs.iter().find(|(other, _)| other == name) {
            Some((_, there)) if *there == here => {}
            Some((_, there)) if *there < here => longer.push(name.as_str()),
            Some((_, there)) => {
                return Err(format!("disk {name} has {here} bytes here and {there} at the source"));
            }
            None => return Err(format!("the source has no disk {name}")),
        }
    }
    Ok(longer)
}
