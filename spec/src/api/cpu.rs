//! `spec.domain.cpu` and `spec.domain.memory`.

use super::{Presence, Quantity};

object! {
    /// The virtual CPU. The number of vCPUs is cores × sockets × threads; of those given, an absent one is 1.
    pub struct Cpu {
        /// Cores in each socket.
        cores: u32 = "1", HONOURED;
        /// Sockets.
        sockets: u32 = "1, or the CPU limit or request rounded up when no topology is given", HONOURED;
        /// Threads in each core.
        threads: u32 = "1", HONOURED;
        /// The most sockets that hot-plug may reach.
        max_sockets: u32, warn("CPUs cannot be added while the VM runs");
        /// The CPU model: `host-passthrough`, `host-model`, or a named one.
        model: Option<String> = "host-model", HONOURED;
        /// CPU features to add or take away.
        features: Vec<CpuFeature>, HONOURED;
        /// Give each vCPU a host CPU of its own.
        dedicated_cpu_placement: bool = "false", warn("vCPUs are not pinned to host CPUs");
        /// NUMA topology of the guest.
        numa: Option<Numa>, warn("the guest sees one NUMA node");
        /// Give the VMM's other threads a host CPU of their own; needs dedicatedCpuPlacement.
        isolate_emulator_thread: bool = "false", warn("the VMM's threads are not pinned to host CPUs");
        /// Run vCPUs with a real-time scheduler.
        realtime: Option<Realtime>, warn("vCPUs run with the ordinary scheduler: deadlines are not kept");
    }

    /// A CPU feature to add or take away.
    pub struct CpuFeature {
        /// The feature's name, as libvirt spells it (`vmx`, `avx2`, `invtsc`).
        name: String [required], HONOURED;
        /// What to do with it.
        policy: Option<CpuFeaturePolicy> = "require", HONOURED;
    }

    /// NUMA topology of the guest.
    pub struct Numa {
        /// Give the guest the host's topology; needs hugepages and dedicatedCpuPlacement.
        guest_mapping_passthrough: Option<Presence>, warn("the guest sees one NUMA node");
    }

    /// Real-time scheduling of vCPUs.
    pub struct Realtime {
        /// The vCPUs concerned, e.g. `0-3,^1`; all when empty.
        mask: String, HONOURED;
    }

    /// The guest's memory.
    pub struct Memory {
        /// How much memory the guest sees.
        guest: Option<Quantity> = "the memory request, else the memory limit, else one huge page", HONOURED;
        /// The most memory that hot-plug may reach.
        max_guest: Option<Quantity>, warn("memory cannot be added while the VM runs");
        /// Back the guest's memory with huge pages.
        hugepages: Option<Hugepages>, HONOURED;
        /// Memory set aside beside the guest's.
        reserved_overhead: Option<ReservedOverhead>, warn("no memory is set aside beside the guest's");
    }

    /// Huge pages that back the guest's memory.
    pub struct Hugepages {
        /// The page size: `2Mi` or `1Gi`.
        page_size: String, HONOURED;
    }

    /// Memory set aside beside the guest's.
    pub struct ReservedOverhead {
        /// How much is added to the pod's limit.
        added_overhead: Option<Quantity>, CLUSTER;
        /// Whether the guest's memory must be locked.
        mem_lock: Option<MemLock> = "NotRequired",
            warn_when(When::OneOf(&["Required"]), "the guest's memory is not locked");
    }
}

choice! {
    /// What to do with a CPU feature.
    pub enum CpuFeaturePolicy {
        /// The guest sees it whether the host has it or not.
        Force = "force",
        /// The VM does not start where the host lacks it.
        Require = "require",
        /// The guest sees it where the host has it.
        Optional = "optional",
        /// The guest does not see it.
        Disable = "disable",
        /// The VM does not start where the host has it.
        Forbid = "forbid",
    }

    /// Whether the guest's memory must be locked.
    pub enum MemLock [pointer] {
        /// It must.
        Required = "Required",
        /// It need not.
        NotRequired = "NotRequired",
    }
}
