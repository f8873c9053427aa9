//! Machines that do not begin at power-on.

use std::error::Error;
use std::fmt;

use devices::GuestRam;

use super::loading;
use crate::demand::Demand;
use crate::machine::{Machine, Start};
use crate::sys::signals::Signals;

/// Why a machine did not arrive.
pub type ArrivalError = Box<dyn Error + Send + Sync>;

/// How a machine goes on that has arrived.
#[derive(Debug, Default)]
pub struct Moment {
    /// It stays paused until somebody has it go on.
    pub paused: bool,
    /// The rest of its memory, if that comes when it is touched.
    pub demand: Option<Demand>,
}

/// Where a machine comes from.
pub trait Arriving {
    /// Gives the machine, which is built, its state ([`Machine::load`]); its memory has to be full when this returns, or come on demand. Who waits
    /// long for that looks at the process's signals meanwhile.
    ///
    /// # Errors
    /// It does not come.
    fn load(self: Box<Self>, machine: &mut Machine, signals: &Signals) -> Result<Moment, ArrivalError>;

    /// The machine could not be built.
    fn refuse(self: Box<Self>, why: &str) {
        let _ = why;
    }
}

/// A machine that comes from elsewhere: out of a snapshot, or from another process.
pub struct Arrival {
    ram: GuestRam,
    /// The snapshot that it comes from, if what the guest writes from then on is to be known.
    pub(super) tracked: Option<String>,
    from: Box<dyn Arriving>,
}

/// One whose state is at hand.
struct AtHand<L> {
    moment: Moment,
    load: L,
}

impl<L: FnOnce(&mut Machine) -> Result<(), ArrivalError>> Arriving for AtHand<L> {
    fn load(self: Box<Self>, machine: &mut Machine, signals: &Signals) -> Result<Moment, ArrivalError> {
        let Self { moment: Moment { paused, demand }, load } = *self;
        if let Err(error) = loading::load(machine, demand.as_ref(), signals, load) {
            // It never runs, and nobody is to wait for its memory.
            demand.into_iter().for_each(Demand::release);
            return Err(error);
        }
        Ok(Moment { paused, demand })
    }
}

impl Arrival {
    /// A machine whose memory is `ram`, and goes on as `moment` says. `load` is called when it is built, and gives it its state
    /// ([`Machine::load`]).
    pub fn new(
        ram: GuestRam,
        moment: Moment,
        load: impl FnOnce(&mut Machine) -> Result<(), ArrivalError> + 'static,
    ) -> Self {
        Self::from(ram, AtHand { moment, load })
    }

    /// A machine whose memory is `ram`, which `from` fills.
    pub fn from(ram: GuestRam, from: impl Arriving + 'static) -> Self {
        Self { ram, tracked: None, from: Box::new(from) }
    }

    /// The same, and what the guest writes from then on is to be known for the next snapshot, which adds to the one that is
    /// called `snapshot`.
    pub fn tracked(mut self, snapshot: String) -> Self {
        self.tracked = Some(snapshot);
        self
    }

    /// What the machine is to be built with.
    pub(super) fn start(&self) -> Start {
        Start::State(self.ram.clone())
    }

    /// Gives the machine its state.
    pub(super) fn load(self, machine: &mut Machine, signals: &Signals) -> Result<Moment, ArrivalError> {
        self.from.load(machine, signals)
    }

    /// The machine could not be built.
    pub(super) fn refuse(self, why: &str) {
        self.from.refuse(why);
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("tracked", &self.tracked).finish_non_exhaustive()
    }
}
