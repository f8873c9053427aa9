//! What a plan needs to know of an admitted machine, out of several fields at once.

use crate::api::{Quantity, StartStrategy, VirtualMachineInstance};
use crate::uuid::Uuid;

/// How many vCPUs there are and how they are arranged; every part is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// Sockets.
    pub sockets: u32,
    /// Cores in each socket.
    pub cores: u32,
    /// Threads in each core.
    pub threads: u32,
}

impl Topology {
    /// The number of vCPUs.
    pub fn vcpus(&self) -> u32 {
        self.sockets.saturating_mul(self.cores).saturating_mul(self.threads)
    }
}

/// The seconds between the press of the power button and a forced stop, where the VM does not say.
pub const DEFAULT_GRACE_PERIOD_SECONDS: u64 = 30;

/// KubeVirt's `FreePageReportingDisabledAnnotation`.
const NO_PAGE_REPORTING: &str = "kubevirt.io/free-page-reporting-disabled";

impl VirtualMachineInstance {
    /// The guest's memory in bytes; 0 only for a machine that was not admitted.
    pub fn memory_bytes(&self) -> u64 {
        let memory = self.spec.domain.memory.as_ref();
        memory.and_then(|memory| memory.guest.as_ref()).and_then(Quantity::bytes).unwrap_or(0)
    }

    /// The size in bytes of the huge pages that back the guest's memory, where it asks for them.
    pub fn hugepage_bytes(&self) -> Option<u64> {
        let page = self.spec.domain.memory.as_ref()?.hugepages.as_ref()?;
        page.page_size.parse::<Quantity>().ok()?.bytes()
    }

    /// How many vCPUs there are and how they are arranged.
    pub fn topology(&self) -> Topology {
        let of = |count: Option<u32>| count.filter(|count| *count > 0).unwrap_or(1);
        let cpu = self.spec.domain.cpu.as_ref();
        Topology {
            sockets: of(cpu.map(|cpu| cpu.sockets)),
            cores: of(cpu.map(|cpu| cpu.cores)),
            threads: of(cpu.map(|cpu| cpu.threads)),
        }
    }

    /// The machine's UUID.
    pub fn firmware_uuid(&self) -> Uuid {
        let given = self.spec.domain.firmware.as_ref().and_then(|firmware| firmware.uuid.as_deref());
        given.and_then(|text| text.parse().ok()).unwrap_or_else(|| Uuid::of_machine(&self.metadata.name))
    }

    /// The guest's host name: as given, or the VM's name up to the first dot, at most 63 characters.
    pub fn hostname(&self) -> &str {
        /// The longest DNS label (RFC 1035 §2.3.4).
        const LONGEST: usize = 63;
        let name = self.metadata.name.split('.').next().unwrap_or_default();
        let name = name.get(..LONGEST).unwrap_or(name).trim_end_matches('-');
        self.spec.hostname.as_deref().unwrap_or(name)
    }

    /// The name space: as given, or `default`.
    pub fn namespace(&self) -> &str {
        let namespace = self.metadata.namespace.as_str();
        if namespace.is_empty() { "default" } else { namespace }
    }

    /// The seconds between the press of the power button and a forced stop; a negative number counts as none.
    pub fn grace_period_seconds(&self) -> u64 {
        let given = self.spec.termination_grace_period_seconds;
        given.map_or(DEFAULT_GRACE_PERIOD_SECONDS, |seconds| u64::try_from(seconds).unwrap_or(0))
    }

    /// Whether the guest is not to report free pages through its balloon, by KubeVirt's annotation.
    pub fn without_page_reporting(&self) -> bool {
        self.metadata.annotations.get(NO_PAGE_REPORTING).is_some_and(|value| value == "true")
    }

    /// Whether the vCPUs start paused.
    pub fn starts_paused(&self) -> bool {
        self.spec.start_strategy == Some(StartStrategy::Paused)
    }
}
