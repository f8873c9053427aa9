//! `kubevmm receive`: as `run`, of a machine that runs elsewhere and comes here.
//!
//! All that can be had before is had before: disks, taps and sockets are open before anybody is listened to, and the machine is
//! built before its memory comes. The guest stands still only for what depends on its last moment.

mod added;
mod coming;
mod terms;

use std::fs;
use std::path::Path;
use std::time::Duration;

use arch::cpuid::Offer;
use devices::chain;

pub(super) use added::Found;
pub(super) use coming::{Coming, NothingCame};
pub(super) use terms::Terms;

use super::args::Args;
use super::output::say;
use super::{Failure, run};
use crate::kvm::Hypervisor;
use crate::machine::BuildError;
use crate::migration::destination::{Incoming, Reception};
use crate::migration::facts::coming;
use crate::migration::transport::{Address, Gate, Protection};
use crate::plan::Plan;
use crate::state::RunError;
use crate::sys::signals::Signals;

/// Waits for a machine, and runs it to its end.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let address = args
        .parsed("listen")?
        .ok_or_else(|| Failure::Usage("say where to listen: --listen ADDRESS".into()))?;
    let gate = Gate::new(address, &protection(args)?).map_err(|error| Failure::Usage(chain(&error)))?;
    let id = args.text("migration-id")?.unwrap_or_default();
    run::start(args, Some(Wanted { gate, id, takes_copies: args.has("copy-storage") }))
}

/// What is to protect a connection, as the command line says.
pub(super) fn protection(args: &Args) -> Result<Protection, Failure> {
    Ok(Protection {
        folder: args.text("tls")?.map(Into::into),
        peer: args.text("tls-peer")?,
        insecure: args.has("insecure"),
    })
}

/// What is waited for.
pub(super) struct Wanted {
    gate: Gate,
    /// What the source has to know the migration by, too; empty if nothing.
    id: String,
    /// The source may write over disks here.
    pub(super) takes_copies: bool,
}

impl Wanted {
    /// The same; if nobody has said what the migration is called, it is called `id`.
    pub(super) fn or_called(self, id: &str) -> Self {
        if self.id.is_empty() { Self { id: id.to_owned(), ..self } } else { self }
    }
}

/// What this host can give to a guest.
fn processor() -> Result<Offer, Failure> {
    let offer = Hypervisor::open().and_then(|hypervisor| hypervisor.offer());
    offer.map_err(|error| Failure::Run(RunError::Build(BuildError::from(error))))
}

/// Somebody to come is waited for.
pub(super) struct Door {
    reception: Reception,
    gate: Gate,
}

impl Door {
    /// Listens for the machine of `plan`. What became of it here is kept in `folder`.
    pub(super) fn open(Wanted { gate, id, .. }: Wanted, plan: &Plan, folder: &Path) -> Result<Self, Failure> {
        let host = |what| move |source| Failure::Host { what, source };
        let listener = gate.listen().map_err(host("the address to listen at could not be had"))?;
        let facts = coming(plan, &id, &processor()?);
        let reception =
            Reception::open(listener, facts, folder).map_err(host("no thread could be started to listen"))?;
        say(&format!("kubevmm: waiting for {}/{} at {}\n", plan.namespace, plan.name, gate.address()));
        Ok(Self { reception, gate })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> String {
        self.gate.address().to_string()
    }

    /// Waits for a source whose machine can come, or until a signal ends it.
    pub(super) fn wait(&self, signals: &Signals) -> Result<Incoming, Failure> {
        const LOOK: Duration = Duration::from_millis(100);
        loop {
            if let Some(incoming) = self.reception.greet(LOOK) {
                say("kubevmm: the machine is on its way\n");
                return Ok(incoming);
            }
            if signals.wish_the_end() {
                return Err(Failure::NotSo("nothing came before the end was wished".into()));
            }
        }
    }

    /// Stays for a source that may not know that its machine will never run here.
    pub(super) fn linger(&self) {
        let signals = Signals::block().ok();
        self.reception.linger(|| signals.as_ref().is_some_and(Signals::wish_the_end));
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Address::Unix(path) = self.gate.address() {
            // One that was taken away is as good.
            let _ = fs::remove_file(path);
        }
    }
}
