//! The PCI functions of a plan, with their devices and backends.

use std::io;
use std::sync::Arc;

use devices::GuestRam;
use devices::io_thread::{IoHandle, IoThread};
use devices::pci::{PciBus, PciFunction};
use devices::virtio::VirtioDevice;
use devices::virtio::blk::{BlkConfig, BlkDevice};
use devices::virtio::console::{ConsoleDevice, PortBackend, PortConfig};
use devices::virtio::net::{NetConfig, NetDevice};
use devices::virtio::rng::RngDevice;
use devices::virtio::transport::{PciParts, VirtioPci};

use super::BuildError;
use crate::kvm::{KvmDoorbells, KvmRoutes};
use crate::open::{Backend, Resources};
use crate::plan::{DevicePlan, Function, Plan};

/// What functions get of the machine.
pub(super) struct Parts<'a> {
    pub(super) ram: &'a GuestRam,
    pub(super) routes: Arc<KvmRoutes>,
    pub(super) doorbells: Arc<KvmDoorbells>,
    pub(super) io_threads: &'a [IoThread],
}

/// Makes all functions of `plan` and plugs them in.
pub(super) fn build(
    plan: &Plan,
    resources: &Resources,
    parts: &Parts<'_>,
    bus: &PciBus,
) -> Result<Vec<Arc<VirtioPci>>, BuildError> {
    let mut functions = Vec::with_capacity(plan.functions.len());
    for (index, (planned, backend)) in plan.functions.iter().zip(&resources.backends).enumerate() {
        let thread = parts.io_threads.get(usize::from(planned.io_thread)).or(parts.io_threads.first());
        let thread = thread.ok_or_else(|| BuildError::NoBackend(planned.name.clone()))?.handle();
        let device = device(planned, backend, thread)?;
        let shares_slot = plan.functions.iter().skip(index + 1).any(|other| {
            other.address.device() == planned.address.device() && planned.address.function() == 0
        });
        let function = plug(planned, device, parts, shares_slot)
            .map_err(|source| BuildError::Device { what: format!("device {}", planned.name), source })?;
        bus.insert(planned.address, Arc::clone(&function) as Arc<dyn PciFunction>);
        functions.push(function);
    }
    Ok(functions)
}

fn device(
    planned: &Function,
    backend: &Backend,
    thread: IoHandle,
) -> Result<Box<dyn VirtioDevice>, BuildError> {
    match (&planned.device, backend) {
        (DevicePlan::Disk(plan), Backend::Disk(disk)) => {
            let config = BlkConfig {
                serial: plan.serial.clone(),
                read_only: plan.read_only,
                queues: plan.queues,
                logical_block_size: plan.block_size.map(|[logical, _]| logical),
                physical_block_size: plan.block_size.map(|[_, physical]| physical),
                ..BlkConfig::default()
            };
            Ok(Box::new(BlkDevice::new(Arc::clone(disk), config, thread)))
        }
        (DevicePlan::Nic(plan), Backend::Tap(tap)) => {
            let config = NetConfig { queue_pairs: plan.queue_pairs, ..NetConfig::new(plan.mac.0) };
            Ok(Box::new(NetDevice::new(Arc::clone(tap) as _, config, thread)))
        }
        (DevicePlan::Console { port }, Backend::Socket(listener)) => {
            let fail = |source| BuildError::Device { what: format!("device {}", planned.name), source };
            let backend = PortBackend::Listener(listener.try_clone().map_err(fail)?);
            let port = PortConfig { name: Some(port.clone()), console: false, backend };
            let console =
                ConsoleDevice::new(vec![port], thread).map_err(|error| fail(io::Error::other(error)))?;
            Ok(Box::new(console))
        }
        (DevicePlan::Rng, _) => Ok(Box::new(RngDevice::new(thread))),
        _ => Err(BuildError::NoBackend(planned.name.clone())),
    }
}

fn plug(
    planned: &Function,
    device: Box<dyn VirtioDevice>,
    parts: &Parts<'_>,
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
