//! Saving.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{ChipsetState, ClockState, FunctionState, MachineState, VERSION, VcpuStateError};
use crate::kvm::{IrqChips, KvmError, StoppedClocks};
use crate::machine::Machine;
use crate::vcpu::{Errand, VcpuState};

/// How long vCPUs may take to be read or set. It takes microseconds.
pub(super) const VCPU: Duration = Duration::from_secs(5);

/// A machine could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// It is not paused.
    #[error("a machine that runs cannot be saved")]
    Running,
    /// A vCPU could not be read.
    #[error(transparent)]
    Vcpu(#[from] VcpuStateError),
    /// KVM failed.
    #[error(transparent)]
    Kvm(#[from] KvmError),
}

impl Machine {
    /// The state of this machine, which is paused and stays so.
    ///
    /// # Errors
    /// The machine is not paused, or KVM does not tell.
    pub fn save(&self) -> Result<MachineState, SaveError> {
        if !self.is_stopped() {
            return Err(SaveError::Running);
        }
        // A machine whose clocks run while it is paused is saved with what they say now.
        let clocks = match self.clocks {
            Some(clocks) => clocks,
            None => StoppedClocks::read(&self.vm)?,
        };
        let functions = self.functions.all.iter().map(|made| FunctionState {
            name: made.name.clone(),
            address: made.address,
            state: made.function.save(),
        });
        Ok(MachineState {
            version: VERSION,
            clock: ClockState { kvm: clocks.kvm, wall: clocks.wall },
            vcpus: self.save_vcpus(clocks.tsc)?,
            // After the vCPUs: what they read may still send something.
            chips: IrqChips::save(&self.vm)?,
            chipset: ChipsetState::of(&self.chipset),
            watchdog: self.watchdog.as_ref().map(|watchdog| watchdog.save()),
            ports: self.ports.iter().map(|port| (port.card, port.port.save())).collect(),
            functions: functions.collect(),
        })
    }

    fn save_vcpus(&self, host_tsc: u64) -> Result<Vec<VcpuState>, SaveError> {
        let indices = self.hypervisor.msr_indices()?;
        let saved = Results::new(self.vcpus.len());
        let of_errand = saved.clone();
        let errand: Errand = Arc::new(move |index, vcpu| {
            of_errand.put(index, VcpuState::save(vcpu, host_tsc, &indices));
        });
        if !self.gate.send(self.vcpus.len(), errand, VCPU) {
            return Err(SaveError::Running);
        }
        Ok(saved.take()?)
    }
}

/// What came of an errand, by the numbers of the vCPUs.
pub(super) struct Results<T>(Arc<Mutex<Places<T>>>);

type Places<T> = Vec<Option<Result<T, KvmError>>>;

impl<T> Clone for Results<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Results<T> {
    pub(super) fn new(vcpus: usize) -> Self {
        Self(Arc::new(Mutex::new((0..vcpus).map(|_| None).collect())))
    }

    pub(super) fn put(&self, vcpu: u32, result: Result<T, KvmError>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = usize::try_from(vcpu).ok().and_then(|at| all.get_mut(at)) {
            *place = Some(result);
        }
    }

    /// All results in order, or the first failure.
    pub(super) fn take(&self) -> Result<Vec<T>, VcpuStateError> {
        let all = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let missing = || KvmError::Capability("an answer of its vCPU");
        let one = |(vcpu, result): (u32, Option<_>)| {
            result.unwrap_or_else(|| Err(missing())).map_err(|source| VcpuStateError { vcpu, source })
        };
        (0..).zip(all).map(one).collect()
    }
}
