//! Machines that do not begin at power-on.

use std::error::Error;
use std::fmt;

use devices::GuestRam;

use crate::machine::{Machine, Start};

/// Why a machine did not arrive.
pub type ArrivalError = Box<dyn Error + Send + Sync>;

type Load = Box<dyn FnOnce(&mut Machine) -> Result<(), ArrivalError>>;

/// A machine that comes from elsewhere: out of a snapshot, or from another process.
pub struct Arrival {
    ram: GuestRam,
    /// It stays paused until somebody has it go on.
    pub(super) paused: bool,
    /// The snapshot that it comes from, if what the guest writes from then on is to be known.
    pub(super) tracked: Option<String>,
    load: Load,
}

impl Arrival {
    /// A machine whose memory is `ram`. `load` is called when it is built, and gives it its state
    /// ([`Machine::load`]); the memory has to be full when it returns.
    pub fn new(
        ram: GuestRam,
        paused: bool,
        load: impl FnOnce(&mut Machine) -> Result<(), ArrivalError> + 'static,
    ) -> Self {
        Self { ram, paused, tracked: None, load: Box::new(load) }
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
    pub(super) fn load(self, machine: &mut Machine) -> Result<(), ArrivalError> {
        (self.load)(machine)
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("paused", &self.paused).finish_non_exhaustive()
    }
}
