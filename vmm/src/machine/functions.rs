//! The PCI functions of a plan, with their devices and backends.

use std::io;
use std::sync::Arc;

use block::Disk;
use devices::GuestRam;
use devices::io_thread::IoThread;
use devices::pci::{PciAddress, PciBus, PciFunction};
use devices::virtio::balloon::{BalloonConfig, BalloonDevice, BalloonHandle};
use devices::virtio::blk::{BlkConfig, BlkDevice};
use devices::virtio::console::{ConsoleDevice, PortBackend, PortConfig};
use devices::virtio::net::{NetConfig, NetDevice, NetHandle};
use devices::virtio::rng::RngDevice;
use devices::virtio::transport::{PciParts, VirtioPci};
use devices::virtio::{RateLimit, Threads, VirtioDevice};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::BuildError;
use super::disks::{self, DiskHandle};
use crate::agent::PortEnd;
use crate::dirty::{DirtyError, DirtyLog};
use crate::kvm::{KvmDoorbells, KvmRoutes};
use crate::metrics::{Device, Measured, Metrics};
use crate::open::{Backend, NicLink, Resources};
use crate::plan::{Blocks, DevicePlan, DiskPlan, DiskSource, Function, Plan, Storage};
use crate::state::{Event, Mailbox};

/// Largest logical block that Linux takes: a page.
const PAGE: u32 = 4096;

/// What functions get of the machine.
pub(super) struct Parts {
    pub(super) mailbox: Mailbox,
    pub(super) ram: GuestRam,
    pub(super) routes: Arc<KvmRoutes>,
    pub(super) doorbells: Arc<KvmDoorbells>,
    pub(super) io_threads: Vec<IoThread>,
    pub(super) metrics: Metrics,
}

/// The functions of a machine.
#[derive(Default)]
pub(super) struct Functions {
    pub(super) all: Vec<Made>,
    /// Those that are disks.
    pub(super) disks: Vec<DiskHandle>,
    /// Those that are network cards.
    pub(super) cards: Vec<NicHandle>,
    /// What is counted of those at these addresses, for as long as they are there.
    measured: Vec<(PciAddress, Measured)>,
    /// The memory balloon, if there is one.
    pub(super) balloon: Option<BalloonHandle>,
}

/// The machine's hold on a network card while it runs.
pub(super) struct NicHandle {
    address: PciAddress,
    pub(super) name: String,
    pub(super) device: NetHandle,
}

impl NicHandle {
    /// Has `log` know what the kernel writes for the card, if it serves it.
    pub(super) fn note_writes(&self, log: &DirtyLog) -> Result<(), DirtyError> {
        self.device.noted_writes().map_or(Ok(()), |noted| log.add(&self.name, noted))
    }
}

/// A function, where it is.
pub(super) struct Made {
    /// Its name in the plan.
    pub(super) name: String,
    pub(super) address: PciAddress,
    pub(super) function: Arc<VirtioPci>,
}

/// Makes all functions of `plan`, and plugs those of bus 0 in; the others are cards for slots.
pub(super) fn build(
    plan: &Plan,
    resources: &Resources,
    parts: &Parts,
    bus: &PciBus,
) -> Result<Functions, BuildError> {
    let mut functions = Functions::default();
    for (planned, backend) in plan.functions.iter().zip(&resources.backends) {
        let function = functions.make(planned, backend, parts, plan.shares_slot(planned.address))?;
        if planned.address.bus() == 0 {
            bus.insert(planned.address, function as Arc<dyn PciFunction>);
        }
    }
    Ok(functions)
}

impl Functions {
    /// Makes a function that is not plugged in yet.
    pub(super) fn make(
        &mut self,
        planned: &Function,
        backend: &Backend,
        parts: &Parts,
        shares_slot: bool,
    ) -> Result<Arc<VirtioPci>, BuildError> {
        let threads =
            threads(planned, &parts.io_threads).ok_or_else(|| BuildError::NoBackend(planned.name.clone()))?;
        let device = device(planned, backend, threads, parts, self)?;
        let function = plug(planned, device, parts, shares_slot)
            .map_err(|source| BuildError::Device { what: format!("device {}", planned.name), source })?;
        self.all.push(Made {
            name: planned.name.clone(),
            address: planned.address,
            function: Arc::clone(&function),
        });
        Ok(function)
    }

    /// Has counted what the device of a function does, until the function is forgotten.
    fn measure(&mut self, planned: &Function, parts: &Parts, device: Device) {
        self.measured.push((planned.address, parts.metrics.measure(&planned.name, device)));
    }

    /// Forgets the function at this address, which is not used any more.
    /// Gives back its handle if it was a disk.
    pub(super) fn forget(&mut self, address: PciAddress) -> Option<DiskHandle> {
        self.all.retain(|made| made.address != address);
        self.measured.retain(|(at, _)| *at != address);
        self.cards.retain(|card| card.address != address);
        let at = self.disks.iter().position(|disk| disk.address() == address)?;
        Some(self.disks.remove(at))
    }

    /// The disk at this address.
    pub(super) fn disk_at(&self, address: PciAddress) -> Option<&DiskHandle> {
        self.disks.iter().find(|disk| disk.address() == address)
    }

    /// The network card at this address.
    pub(super) fn card_at(&self, address: PciAddress) -> Option<&NicHandle> {
        self.cards.iter().find(|card| card.address == address)
    }

    /// Where the queues lie in the guest's memory that the kernel serves, and how many bytes they have.
    pub(super) fn kernel_rings(&self) -> Vec<(GuestAddress, u64)> {
        let served = self.cards.iter().filter(|card| card.device.noted_writes().is_some());
        let functions = served.filter_map(|card| self.at(card.address));
        functions.flat_map(|function| function.save().queues).flat_map(|queue| queue.rings()).collect()
    }

    /// All functions.
    pub(super) fn functions(&self) -> Vec<Arc<VirtioPci>> {
        self.all.iter().map(|made| Arc::clone(&made.function)).collect()
    }

    /// The function at this address.
    pub(super) fn at(&self, address: PciAddress) -> Option<&Arc<VirtioPci>> {
        self.all.iter().find(|made| made.address == address).map(|made| &made.function)
    }
}

/// The I/O threads of a function.
fn threads(planned: &Function, all: &[IoThread]) -> Option<Threads> {
    let mut own = planned.io_threads.iter().filter_map(|index| all.get(usize::from(*index)));
    let first = own.next().or(all.first())?.handle();
    Some(Threads::new(first, own.map(IoThread::handle).collect()))
}

fn device(
    planned: &Function,
    backend: &Backend,
    threads: Threads,
    parts: &Parts,
    functions: &mut Functions,
) -> Result<Box<dyn VirtioDevice>, BuildError> {
    match (&planned.device, backend) {
        (DevicePlan::Disk(plan), Backend::Disk(disk)) => {
            let config = blk_config(plan, disk.as_ref());
            let on_fault = disks::on_fault(&planned.name, &parts.mailbox);
            let device =
                BlkDevice::with_faults(Arc::clone(disk) as Arc<dyn Disk>, config, threads, Some(on_fault));
            functions.measure(planned, parts, Device::Disk(device.handle()));
            functions.disks.push(DiskHandle::new(planned, device.handle()));
            Ok(Box::new(device))
        }
        (DevicePlan::Nic(plan), Backend::Nic(nic)) => {
            let limit = plan.limit.unwrap_or_default();
            let config = NetConfig {
                queue_pairs: plan.queue_pairs,
                link_up: plan.link_up,
                limit: RateLimit { operations: limit.packets, bytes: limit.bytes },
                ..NetConfig::new(plan.mac.0)
            };
            let link = Arc::clone(&nic.link);
            let device = if nic.workers.is_empty() {
                NetDevice::new(link, config, threads)
            } else {
                NetDevice::with_vhost(link, config, threads, nic.workers.clone())
            };
            let (address, name) = (planned.address, planned.name.clone());
            functions.cards.push(NicHandle { address, name, device: device.handle() });
            functions.measure(planned, parts, Device::Nic(device.handle()));
            watch_leases(&planned.name, nic, parts);
            Ok(Box::new(device))
        }
        (DevicePlan::Console { port }, Backend::Socket(listener)) => {
            let fail = |source| BuildError::Device { what: format!("device {}", planned.name), source };
            let backend = PortBackend::Listener(listener.try_clone().map_err(fail)?);
            let port = PortConfig { name: Some(port.clone()), console: false, backend, watcher: None };
            console(port, threads).map_err(fail)
        }
        (DevicePlan::Console { port }, Backend::Agent(agent)) => {
            let fail = |source| BuildError::Device { what: format!("device {}", planned.name), source };
            let PortEnd { stream, watcher } = agent.plug().map_err(fail)?;
            let input = stream.try_clone().map_err(fail)?;
            let backend = PortBackend::Files { input: Some(input.into()), output: Some(stream.into()) };
            let port =
                PortConfig { name: Some(port.clone()), console: false, backend, watcher: Some(watcher) };
            console(port, threads).map_err(fail)
        }
        (DevicePlan::Rng, _) => Ok(Box::new(RngDevice::new(threads.first()))),
        (&DevicePlan::Balloon { reporting }, _) => {
            let ram_bytes = parts.ram.iter().map(GuestMemoryRegion::len).sum();
            let device = BalloonDevice::new(BalloonConfig { ram_bytes, reporting }, threads.first())
                .map_err(|source| BuildError::Device { what: "the memory balloon".into(), source })?;
            functions.measure(planned, parts, Device::Balloon(device.handle()));
            functions.balloon = Some(device.handle());
            Ok(Box::new(device))
        }
        _ => Err(BuildError::NoBackend(planned.name.clone())),
    }
}

fn console(port: PortConfig, threads: Threads) -> io::Result<Box<dyn VirtioDevice>> {
    let console = ConsoleDevice::new(vec![port], threads).map_err(io::Error::other)?;
    Ok(Box::new(console))
}

/// Has the state driver told when the guest takes its address, once for each guest that is booted.
fn watch_leases(card: &str, nic: &NicLink, parts: &Parts) {
    let Some(answers) = &nic.answers else { return };
    parts.metrics.tell_answers(card, answers.clone());
    let (card, mailbox) = (card.to_owned(), parts.mailbox.clone());
    answers.on_lease(move |address| mailbox.post(Event::Leased { card: card.clone(), address }));
}

fn blk_config(plan: &DiskPlan, disk: &dyn Disk) -> BlkConfig {
    let (logical, physical, discard_granularity) = match (plan.blocks, &plan.source) {
        (Blocks::Smallest, _) => (None, None, None),
        (Blocks::Custom { logical, physical, discard_granularity }, _) => {
            (Some(logical), Some(physical), discard_granularity)
        }
        // A device has sizes of its own. A file is best used in its file system's blocks.
        (Blocks::Volume, DiskSource::Storage(Storage::Device(_))) => (None, None, None),
        (Blocks::Volume, _) => {
            let block = disk.info().physical_block_size.min(PAGE);
            (Some(block), Some(block), None)
        }
    };
    BlkConfig {
        serial: plan.serial.clone(),
        read_only: plan.read_only,
        queues: plan.queues,
        logical_block_size: logical,
        physical_block_size: physical,
        discard_granularity,
        error_policy: disks::policy(plan.on_error),
        rate_limit: disks::rate_limit(plan.limit),
        ..BlkConfig::default()
    }
}

fn plug(
    planned: &Function,
    device: Box<dyn VirtioDevice>,
    parts: &Parts,
    shares_slot: bool,
) -> io::Result<Arc<VirtioPci>> {
    let gsis = planned.first_gsi..planned.first_gsi + u32::from(planned.device.vectors());
    VirtioPci::new(
        device,
        PciParts {
            name: planned.name.clone(),
            mem: parts.ram.clone(),
            doorbells: Arc::clone(&parts.doorbells) as _,
            routes: Arc::clone(&parts.routes) as _,
            msi_slots: gsis.map(|gsi| parts.routes.slot(gsi)).collect::<io::Result<_>>()?,
            window: planned.window,
            multifunction: shares_slot,
        },
    )
}
