//! Which I/O thread serves which device.

use spec::api::{DomainSpec, IoThreadsPolicy};

use super::{DevicePlan, PlanError};

/// Most threads of a pool: more than any host gains from.
const MOST_THREADS: u32 = 64;

/// Gives out I/O threads. Thread 0 is there anyway and serves all that no policy speaks of.
pub(super) struct IoThreads {
    policy: Policy,
    /// Number of threads given out so far.
    pub(super) count: u16,
    /// Disks without a thread of their own so far.
    disks: u16,
}

enum Policy {
    /// All disks on thread 0.
    Shared,
    /// Disks take turns over this many threads.
    Auto(u16),
    /// Each disk's queues take turns over this many threads.
    Pool(u16),
}

impl IoThreads {
    /// The threads of a machine with so many vCPUs and these devices.
    pub(super) fn new<'a>(
        domain: &DomainSpec,
        vcpus: u32,
        devices: impl Iterator<Item = &'a DevicePlan>,
    ) -> Result<Self, PlanError> {
        let (mut dedicated, mut others) = (0u32, 0u32);
        for device in devices {
            match device {
                DevicePlan::Disk(disk) if disk.dedicated_io_thread => dedicated += 1,
                DevicePlan::Disk(_) => others += 1,
                _ => {}
            }
        }
        let policy = match &domain.io_threads_policy {
            Some(IoThreadsPolicy::Auto) => {
                // As KubeVirt: a thread for each disk, as long as there are no more than two for each vCPU.
                let most = vcpus.saturating_mul(2).saturating_sub(dedicated).clamp(1, MOST_THREADS);
                Policy::Auto(narrow(others.min(most).max(1)))
            }
            Some(IoThreadsPolicy::SupplementalPool) => {
                let threads = domain.io_threads.as_ref();
                let count = threads.and_then(|threads| threads.supplemental_pool_thread_count).unwrap_or(1);
                if !(1..=MOST_THREADS).contains(&count) {
                    let field = "spec.domain.ioThreads.supplementalPoolThreadCount";
                    return Err(PlanError::at(field, format!("use 1 to {MOST_THREADS} threads")));
                }
                Policy::Pool(narrow(count))
            }
            _ => Policy::Shared,
        };
        let pool = match policy {
            Policy::Shared => 0,
            Policy::Auto(threads) | Policy::Pool(threads) => threads,
        };
        Ok(Self { policy, count: 1 + pool, disks: 0 })
    }

    /// The threads over which the queues of the next device take turns; at least one.
    pub(super) fn of(&mut self, device: &DevicePlan) -> Vec<u16> {
        let DevicePlan::Disk(disk) = device else { return vec![0] };
        match self.policy {
            Policy::Pool(threads) => (1..=threads).collect(),
            _ if disk.dedicated_io_thread => {
                self.count += 1;
                vec![self.count - 1]
            }
            Policy::Shared => vec![0],
            Policy::Auto(threads) => {
                let turn = self.disks.checked_rem(threads).unwrap_or(0);
                self.disks += 1;
                vec![1 + turn]
            }
        }
    }
}

fn narrow(count: u32) -> u16 {
    u16::try_from(count).unwrap_or(1)
}
