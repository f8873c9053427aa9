//! `kubevmm receive`: as `run`, of a machine that runs elsewhere and comes here.

use std::os::fd::AsFd;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use block::Disk;
use devices::{GuestRam, chain};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::args::Args;
use super::output::say;
use super::{Failure, run};
use crate::machine::{Machine, PassedTime, map_memory};
use crate::migration::destination::{Incoming, NotCome, Reception};
use crate::migration::facts::facts;
use crate::migration::machine::Luggage;
use crate::migration::record::{Owner, Record, Records};
use crate::migration::transport::Address;
use crate::open::RuntimeDir;
use crate::plan::Plan;
use crate::state::{Arrival, ArrivalError};
use crate::sys::poll::{Interest, wait};
use crate::sys::signals::{Signals, Wish};

/// Waits for a machine, and runs it to its end.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let address: Address = args
        .parsed("listen")?
        .ok_or_else(|| Failure::Usage("say where to listen: --listen ADDRESS".into()))?;
    if address.is_network() && !args.has("insecure") {
        return Err(Failure::Usage(
            "what comes over a network is not encrypted, and anybody could send it: say --insecure if that does not matter"
                .into(),
        ));
    }
    run::start(args, Some(address))
}

/// Somebody to come is waited for.
pub(super) struct Door {
    reception: Reception,
    address: Address,
}

/// A machine whose state has come. It has not run here.
pub(super) struct Arrived {
    incoming: Incoming,
    luggage: Luggage,
    ram: GuestRam,
    records: Records,
    peer: String,
}

impl Door {
    /// Listens at `address` for the machine of `plan`.
    pub(super) fn open(address: Address, plan: &Plan) -> Result<Self, Failure> {
        let host = |what| move |source| Failure::Host { what, source };
        let listener = address.listen().map_err(host("the address to listen at could not be had"))?;
        let reception =
            Reception::open(listener, facts(plan)).map_err(host("no thread could be started to listen"))?;
        say(&format!("kubevmm: waiting for {}/{} at {address}\n", plan.namespace, plan.name));
        Ok(Self { reception, address })
    }

    /// Waits until all of a machine has come, or until a signal ends it.
    pub(super) fn wait(
        &self,
        plan: &Plan,
        runtime: &RuntimeDir,
        signals: &Signals,
    ) -> Result<Arrived, Failure> {
        let ram = map_memory(&plan.memory).map_err(|error| Failure::NotSo(chain(&error)))?;
        let host =
            |source: std::io::Error| Failure::Host { what: "the machine cannot be waited for", source };
        let done = EventFd::new(EFD_NONBLOCK).map_err(host)?;
        let cut = OnceLock::new();
        let came = thread::scope(|scope| {
            let receiver = thread::Builder::new().name("migrate".into()).stack_size(512 << 10);
            let receiver = receiver.spawn_scoped(scope, || {
                let came = self.receive(&ram, &cut);
                // The counter cannot overflow from one.
                let _ = done.write(1);
                came
            });
            let receiver = receiver.map_err(host)?;
            while !receiver.is_finished() {
                wait([(&done, Interest::Read), (&signals.as_fd(), Interest::Read)], None).map_err(host)?;
                if std::iter::from_fn(|| signals.next()).any(|wish| wish == Wish::End) {
                    cut.get_or_init(|| None).iter().for_each(crate::migration::transport::Stream::cut);
                    // Without a machine on its way, nobody is to be told.
                    if cut.get().is_some_and(Option::is_none) {
                        return Err(Failure::NotSo("nothing came before the end was wished".into()));
                    }
                }
                if done.read().is_ok() {
                    break;
                }
            }
            receiver.join().map_err(|_| Failure::NotSo("the thread that receives died".into()))
        })?;
        let (mut incoming, state) = came.map_err(|error| Failure::NotSo(error.to_string()))?;
        let luggage = match serde_json::from_slice(&state) {
            Ok(luggage) => luggage,
            Err(error) => {
                let error = incoming.fail(&format!("the machine's state cannot be read: {error}"));
                return Err(Failure::NotSo(error.to_string()));
            }
        };
        let records = Records::new(runtime.path());
        Ok(Arrived { incoming, luggage, ram, records, peer: self.address.to_string() })
    }

    fn receive(
        &self,
        ram: &GuestRam,
        cut: &OnceLock<Option<crate::migration::transport::Stream>>,
    ) -> Result<(Incoming, Vec<u8>), NotCome> {
        const LOOK: Duration = Duration::from_millis(200);
        let mut incoming = loop {
            if let Some(incoming) = self.reception.greet(LOOK) {
                break incoming;
            }
            if cut.get().is_some() {
                return Err(NotCome::nobody());
            }
        };
        if cut.get_or_init(|| incoming.stream().ok()).is_none() {
            return Err(NotCome::nobody());
        }
        say("kubevmm: the machine is on its way\n");
        let state = incoming.receive(ram)?;
        Ok((incoming, state))
    }

    /// Stays for a source that may not know that its machine will never run here.
    pub(super) fn linger(&self) {
        let signals = Signals::block().ok();
        self.reception.linger(|| signals.iter().filter_map(Signals::next).any(|wish| wish == Wish::End));
    }
}

impl Arrived {
    /// Gives up because of something here.
    pub(super) fn fail(&mut self, why: &str) {
        self.incoming.fail(why);
    }

    /// The machine as it arrives, once it is built. `disks` are its disks by then.
    pub(super) fn arrival(self, disks: Vec<(String, Arc<dyn Disk>)>) -> Arrival {
        let (ram, paused) = (self.ram.clone(), self.luggage.paused);
        Arrival::new(ram, paused, move |machine| self.settle(machine, &disks))
    }

    /// Gives the machine its state, and takes it over.
    fn settle(
        mut self,
        machine: &mut Machine,
        disks: &[(String, Arc<dyn Disk>)],
    ) -> Result<(), ArrivalError> {
        let fits = check_sizes(&self.luggage.disks, disks).and_then(|()| {
            machine.load(&self.luggage.state, PassedTime::Hidden).map_err(|error| chain(&error))
        });
        if let Err(why) = fits {
            return Err(self.incoming.fail(&why).into());
        }
        let written = || disks.iter().map(|(_, disk)| disk).filter(|disk| !disk.info().read_only);
        let record = Record { session: self.incoming.session(), owner: Owner::Here, peer: self.peer.clone() };
        let take = || {
            written().try_for_each(|disk| disk.hold().map_err(|error| chain(&error)))?;
            let fail = |error| format!("that the machine is here could not be written down: {error}");
            self.records.write(&record).map_err(fail)
        };
        let undo = || {
            // A lock that is not held is given up without harm; one that cannot be is given up with the process.
            written().for_each(|disk| drop(disk.let_go()));
            self.records.clear();
        };
        self.incoming.take_over(take, undo)?;
        let incoming = self.incoming;
        let told = thread::Builder::new().name("migrate".into()).stack_size(128 << 10);
        // Without a thread to tell the source, the source asks.
        let _ = told.spawn(move || incoming.say_running());
        Ok(())
    }
}

/// Whether the disks here are as long as those that the guest knows.
fn check_sizes(theirs: &[(String, u64)], ours: &[(String, Arc<dyn Disk>)]) -> Result<(), String> {
    for (name, disk) in ours {
        let here = disk.info().size_bytes;
        match theirs.iter().find(|(other, _)| other == name) {
            Some((_, there)) if *there == here => {}
            Some((_, there)) => {
                return Err(format!("disk {name} has {here} bytes here and {there} at the source"));
            }
            None => return Err(format!("the source has no disk {name}")),
        }
    }
    Ok(())
}
