//! The plan: everything about a machine that can be decided before anything is opened.
//!
//! A plan is plain data. It says which address, interrupt and slot everything has, and names the files and
//! interfaces that the next stage opens; it is printable, and it is part of every snapshot.

mod cpu;
mod credentials;
mod devices;
mod disk_source;
mod disks;
mod error;
mod firmware;
mod host;
mod hyperv;
mod io_threads;
mod kernel;
mod limits;
mod make;
mod memory;
mod network;
mod pci;
mod ports;
mod probes;
mod text;
mod watchdog;

pub use cpu::CpuPlan;
pub use credentials::{CredentialKind, CredentialPlan};
pub use devices::{DevicePlan, Function};
pub use disk_source::{DiskSource, IsoFile, Storage};
pub use disks::{Blocks, Cache, DiskPlan, Io, OnError};
pub use error::{Fault, PlanError};
pub use firmware::SmbiosPlan;
pub use hyperv::HyperVPlan;
pub use kernel::{FileSource, KernelPlan};
pub use limits::{BadLimit, DiskLimit, NicLimit};
pub use make::{Options, make};
pub(crate) use make::{single_card, single_disk};
pub use memory::{Backing, MemoryPlan};
pub use net::MacAddress;
pub use network::{BadTap, BindingPlan, NicPlan, Surroundings, TapSource, VifCache};
pub use pci::PciPlan;
pub use ports::PortPlan;
pub use probes::{ProbeAction, ProbePlan};
pub use text::render;
pub use watchdog::{WatchdogAction, WatchdogPlan};

use std::time::Duration;

use ::devices::pci::PciAddress;
use serde::{Deserialize, Serialize};

/// A machine, decided down to the last address.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Namespace of the VM.
    pub namespace: String,
    /// Name of the VM.
    pub name: String,
    /// Processors.
    pub cpu: CpuPlan,
    /// Guest RAM.
    pub memory: MemoryPlan,
    /// Where PCI windows lie.
    pub pci: PciPlan,
    /// What is booted.
    pub kernel: KernelPlan,
    /// What the machine says it is.
    pub smbios: SmbiosPlan,
    /// PCI functions besides the chipset, in order of address.
    pub functions: Vec<Function>,
    /// Root ports with slots for devices that come while the machine runs.
    pub ports: Vec<PortPlan>,
    /// The watchdog, if there is one.
    pub watchdog: Option<WatchdogPlan>,
    /// Number of I/O threads; functions name theirs by index.
    pub io_threads: u16,
    /// How long the guest may take to power off when it is asked to.
    #[serde(with = "seconds")]
    pub grace_period: Duration,
    /// The guest may reset the machine; if not, a reset ends it.
    pub reboots: bool,
    /// What the guest says on its serial console is kept in the runtime directory.
    #[serde(default)]
    pub logs_console: bool,
    /// Keys and passwords that the guest's agent puts in.
    pub credentials: Vec<CredentialPlan>,
    /// When the guest counts as ready.
    pub readiness: Option<ProbePlan>,
    /// When the guest counts as hung.
    pub liveness: Option<ProbePlan>,
    /// The machine is paused when it starts.
    #[serde(default)]
    pub starts_paused: bool,
    /// The guest's clocks go on while the machine is paused, so that it sees how long that was.
    #[serde(default)]
    pub clocks_run_while_paused: bool,
}

impl Plan {
    /// Whether other functions share the slot of `address`, which is the first of them.
    pub fn shares_slot(&self, address: PciAddress) -> bool {
        let functions = self.functions.iter().map(|function| function.address);
        let others = functions.chain(self.ports.iter().map(|port| port.address));
        let mut others = others.chain(self.watchdog.iter().map(|watchdog| watchdog.address));
        let place = |address: PciAddress| (address.bus(), address.device());
        address.function() == 0 && others.any(|other| place(other) == place(address) && other.function() != 0)
    }

    /// The same without the contents of disks of files, which may be secret: for showing, and for keeping once the
    /// disks are open.
    pub fn without_contents(mut self) -> Self {
        self.credentials.iter_mut().for_each(|credential| credential.values.clear());
        for function in &mut self.functions {
            if let DevicePlan::Disk(DiskPlan { source: DiskSource::Iso { files, .. }, .. }) =
                &mut function.device
            {
                files.iter_mut().for_each(|file| file.data = Vec::new());
            }
        }
        self
    }
}

/// Durations as whole seconds, as manifests have them.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(duration.as_secs())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_secs)
    }
}
