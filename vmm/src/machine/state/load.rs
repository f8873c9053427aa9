//! Giving a new machine the state of another one.

use std::sync::Arc;
use std::time::Duration;

use devices::bus::Action;
use devices::platform::StateError;

use super::save::{Results, VCPU};
use super::{MachineState, VERSION, VcpuStateError};
use crate::demand::Presence;
use crate::kvm::{KvmError, StoppedClocks};
use crate::machine::Machine;
use crate::machine::processor::Seen;
use crate::machine::queues::QueueStop;
use crate::vcpu::Errand;

/// The same of vCPUs that wait for memory which KVM looks at and which is still coming. Whoever loads the state gives that up before this is
/// over.
const VCPUS_AND_MEMORY: Duration = Duration::from_secs(60);

/// What the guest sees of the time between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PassedTime {
    /// Nothing: its clocks go on where they stopped. Its time of day is late until it asks somebody.
    #[default]
    Hidden,
    /// All of it: its clocks jump.
    Shown,
}

/// A machine did not take a state over. It is of no further use.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The state was written by a newer program.
    #[error("the machine's state has layout {0}; this program reads up to {VERSION}")]
    Version(u32),
    /// The state is not of a machine with this plan.
    #[error("the state is of another machine: {0}")]
    Other(String),
    /// A device of the chipset did not take its state.
    #[error(transparent)]
    Device(#[from] StateError),
    /// A device did not take its state.
    #[error("the state of {0} does not fit its device")]
    Misfit(String),
    /// A vCPU could not be set.
    #[error(transparent)]
    Vcpu(#[from] VcpuStateError),
    /// The vCPUs did not come to take their states.
    #[error("the vCPUs do not take their states")]
    NoVcpus,
    /// KVM failed.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

impl Machine {
    /// Takes over `state`. The machine was built for that ([`super::super::Start::State`]), its memory is filled, and none
    /// of its vCPUs has run. It is paused afterwards, and goes on by [`Machine::resume`]. `presence` says whether all of its memory is here.
    ///
    /// # Errors
    /// The state does not fit, or the host cannot do what it asks for. The machine is of no further use.
    pub fn load(
        &mut self,
        state: &MachineState,
        passed: PassedTime,
        presence: &Presence,
    ) -> Result<(), LoadError> {
        self.check(state)?;
        let here = StoppedClocks::arrived(&self.vm, state.clock.kvm)?;
        let passed = match passed {
            PassedTime::Hidden => 0,
            PassedTime::Shown => here.wall.saturating_sub(state.clock.wall),
        };
        self.load_vcpus(state, here.tsc, passed, patience(presence))?;
        state.chips.restore(&self.vm)?;
        state.chipset.restore(&self.chipset)?;
        self.load_devices(state)?;
        self.queue_stop = Some(QueueStop::stopped(self.functions.functions()));
        self.disrupt_clock();
        self.clocks = Some(StoppedClocks { kvm: state.clock.kvm.saturating_add(passed), ..here });
        Ok(())
    }

    /// Whether `state` is of a machine like this one, before anything is changed.
    fn check(&self, state: &MachineState) -> Result<(), LoadError> {
        if !(1..=VERSION).contains(&state.version) {
            return Err(LoadError::Version(state.version));
        }
        let other = |what: String| Err(LoadError::Other(what));
        let (there, here) = (state.vcpus.len(), self.vcpus.len());
        if there != here {
            return other(format!("it has {there} vCPUs, this one {here}"));
        }
        if state.watchdog.is_some() != self.watchdog.is_some() {
            return other("only one of them has a watchdog".into());
        }
        let ports = state.ports.iter().map(|(card, _)| *card);
        if !ports.eq(self.ports.iter().map(|port| port.card)) {
            return other("it has other slots".into());
        }
        let saved: Vec<_> = state.functions.iter().map(|one| (one.name.as_str(), one.address)).collect();
        let made: Vec<_> = self.functions.all.iter().map(|made| (made.name.as_str(), made.address)).collect();
        if saved != made {
            let names = |all: &[(&str, _)]| all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
            return other(format!("its devices are {}, here are {}", names(&saved), names(&made)));
        }
        Ok(())
    }

    fn load_vcpus(
        &mut self,
        state: &MachineState,
        host_tsc: u64,
        passed: u64,
        limit: Duration,
    ) -> Result<(), LoadError> {
        let indices = self.hypervisor.msr_indices()?;
        let taken = Results::new(self.vcpus.len());
        let (of_errand, states) = (taken.clone(), state.vcpus.clone());
        let errand: Errand = Arc::new(move |index, vcpu| {
            let state = usize::try_from(index).ok().and_then(|at| states.get(at));
            let Some(state) = state else { return };
            // The counter is ahead by what passed.
            let ticks = u128::from(passed) * u128::from(state.tsc_khz) / 1_000_000;
            let host_tsc = host_tsc.wrapping_sub(u64::try_from(ticks).unwrap_or(0));
            of_errand.put(index, state.restore(vcpu, host_tsc, &indices));
        });
        if !self.gate.send(self.vcpus.len(), errand, limit) {
            return Err(LoadError::NoVcpus);
        }
        taken.take()?;
        if let Some(first) = state.vcpus.first() {
            self.seen = Seen::brought(first);
        }
        Ok(())
    }

    /// Ports first: what is behind them is found by the numbers that they have given to their buses.
    fn load_devices(&self, state: &MachineState) -> Result<(), LoadError> {
        for (port, (card, saved)) in self.ports.iter().zip(&state.ports) {
            if !port.port.restore(saved) {
                return Err(LoadError::Misfit(format!("the root port of {card}")));
            }
        }
        for (made, saved) in self.functions.all.iter().zip(&state.functions) {
            let misfit = || LoadError::Misfit(format!("device {}", saved.name));
            self.carry_out(made.function.restore(&saved.state).ok_or_else(misfit)?);
        }
        if let (Some(watchdog), Some(saved)) = (&self.watchdog, &state.watchdog) {
            let misfit = || LoadError::Misfit("the watchdog".into());
            self.carry_out(watchdog.restore(saved).ok_or_else(misfit)?);
        }
        Ok(())
    }

    /// Moves windows to where their devices want them; a state asks for nothing else.
    fn carry_out(&self, action: Action) {
        if let Action::Remap(remaps) = action {
            self.space.remap(remaps);
        }
    }
}

/// How long vCPUs may take to be set.
fn patience(presence: &Presence) -> Duration {
    match presence {
        Presence::Here => VCPU,
        Presence::Coming(_) => VCPUS_AND_MEMORY,
    }
}

#[cfg(test)]
mod tests {
    use devices::GuestRam;
    use ram::Ram;
    use vm_memory::GuestAddress;

    use super::*;
    use crate::demand::PATIENCE;
    use crate::demand::testing::Stalled;
    use crate::sys::userfault::is_allowed;

    #[test]
    fn vcpus_have_time_to_wait_for_memory_only_if_some_is_coming() {
        // Longer, and the source has given up before it hears that they could not be set.
        assert!(patience(&Presence::Here) < PATIENCE);
        if !is_allowed() {
            return;
        }
        let ram: GuestRam = Arc::new(Ram::from_ranges(&[(GuestAddress(0), 64 << 12)]).unwrap());
        let stalled = Stalled::begin(&ram);
        assert!(patience(&Presence::of(Some(&stalled.demand))) > PATIENCE);
        stalled.demand.release();
    }
}
