//! What a paused machine is made of besides its plan and its memory: what snapshots keep and migrations send.

mod chipset;
mod load;
mod save;

use devices::pci::{PciAddress, PortState};
use devices::platform::watchdog::WatchdogState;
use devices::virtio::transport::TransportState;
use serde::{Deserialize, Serialize};

pub use chipset::ChipsetState;
pub use load::{LoadError, PassedTime};
pub use save::SaveError;

use crate::kvm::{IrqChips, KvmError};
use crate::vcpu::VcpuState;

/// Layout of [`MachineState`] that is written. Older ones are read, too.
pub(crate) const VERSION: u32 = 1;

/// A paused machine without its memory.
///
/// A field that comes later has a default, so that states are read that do not have it; one that means something else than
/// before raises [`VERSION`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineState {
    /// Layout of this struct.
    pub version: u32,
    /// The guest's clocks.
    pub clock: ClockState,
    /// 8259s and IOAPIC.
    pub chips: IrqChips,
    /// vCPUs in order.
    pub vcpus: Vec<VcpuState>,
    /// Fixed devices.
    pub chipset: ChipsetState,
    /// The watchdog, if there is one.
    pub watchdog: Option<WatchdogState>,
    /// Root ports, by the address of the device in their slot.
    pub ports: Vec<(PciAddress, PortState)>,
    /// Virtio functions in the order of the plan.
    pub functions: Vec<FunctionState>,
}

/// The guest's clocks when it stopped. Time stamp counters are the vCPUs' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockState {
    /// Nanoseconds of KVM's clock.
    pub kvm: u64,
    /// Nanoseconds since 1970 by the host's clock.
    pub wall: u64,
}

/// A virtio function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionState {
    /// Its name in the plan.
    pub name: String,
    /// Where it is.
    pub address: PciAddress,
    /// Its registers, queues and device.
    pub state: TransportState,
}

/// Something went wrong with a vCPU.
#[derive(Debug, thiserror::Error)]
#[error("vCPU {vcpu}")]
pub struct VcpuStateError {
    /// Which.
    vcpu: u32,
    /// What KVM said.
    #[source]
    source: KvmError,
}
