//! Memory that follows its machine.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use devices::{GuestRam, chain};

use super::cutter::{Cutter, WeakCutter};
use super::{Incoming, NotCome};
use crate::demand::{Before, Connection, Demand, Link, News};

/// How long the source may take to call.
const CALL: Duration = Duration::from_secs(10);

/// Connections that the source makes.
struct Calls {
    come: Receiver<Connection>,
    /// Only while the machine is on its way.
    cutter: WeakCutter,
}

impl Link for Calls {
    fn connect(&mut self) -> Result<Connection, String> {
        let come = self.come.recv_timeout(CALL);
        let connection = come.map_err(|_| "the source, which has it, does not call".to_owned())?;
        if let Some(cutter) = self.cutter.upgrade() {
            cutter.pages_come_by(connection.stream().map_err(|error| error.to_string())?);
        }
        Ok(connection)
    }
}

impl Incoming {
    /// Has the pages that the source still has come when they are touched. Should that fail before the machine was handed over, it never
    /// runs here, and whoever waits for a page goes on with a memory that nobody needs.
    pub(super) fn follow(&mut self, ram: &GuestRam) -> Result<Demand, NotCome> {
        // There is one machine, and its memory follows it once.
        let (_, none) = std::sync::mpsc::sync_channel(0);
        let come = std::mem::replace(&mut self.pages, none);
        let cutter = self.cutter.downgrade();
        let calls = Calls { come, cutter: cutter.clone() };
        let demand = Demand::begin(ram, Before::Outdated, Box::new(calls));
        let demand = demand.map_err(|error| self.fail(&chain(&error)))?;
        let (ledger, release) = (Arc::clone(&self.ledger), demand.releaser());
        demand.report_to(move |news| {
            if let News::Lost(why) = news
                && ledger.on_lost(&format!("the memory that was to follow it cannot be had: {why}"))
            {
                release.release();
                cutter.upgrade().iter().for_each(Cutter::cut);
            }
        });
        Ok(demand)
    }
}
