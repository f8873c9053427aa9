//! Devices that came to a machine while it ran elsewhere: the manifests do not know of them, its source does.

use devices::chain;
use spec::api::{
    HotplugVolumeStatus, Interface, InterfaceStatus, Network, VirtualMachineInstance, VolumeStatus,
};

use crate::hotplug::{Depot, NewDisk, read};
use crate::migration::facts::fact;
use crate::migration::storage::{Added, AddedDevice};
use crate::open::{Backend, Resources};
use crate::plan::{DevicePlan, Function, Plan};
use crate::status::{StatusKeeper, VolumePhase};

/// Such a device, found on this host.
pub(in crate::cli) enum Found {
    /// A disk.
    Disk(Box<NewDisk>),
    /// A network card.
    Card(Box<(Interface, Network, InterfaceStatus)>),
}

impl Found {
    /// Has the machine's object know of it.
    pub(in crate::cli) fn tell(self, keeper: &mut StatusKeeper) {
        match self {
            Self::Disk(disk) => {
                let status = VolumeStatus {
                    name: disk.name.clone(),
                    phase: VolumePhase::Ready.as_str().into(),
                    hotplug_volume: Some(HotplugVolumeStatus::default()),
                    ..VolumeStatus::default()
                };
                keeper.add_volume(&disk, status);
            }
            Self::Card(card) => {
                let (interface, network, status) = *card;
                keeper.add_card(interface, network, status);
            }
        }
    }
}

/// Finds and opens each of the devices, and puts it into the slot that it was in. They are looked for as if somebody had added them here:
/// where things are is this side's to say.
pub(super) fn find(
    added: &[Added],
    plan: &mut Plan,
    resources: &mut Resources,
    depot: &Depot,
    vmi: &VirtualMachineInstance,
) -> Result<Vec<Found>, String> {
    let mut depot = depot.clone();
    // Its source has them still.
    depot.images.lock_later = true;
    let mut found = Vec::new();
    for device in added {
        let name = &device.name;
        if plan.functions.iter().any(|function| function.name == *name) {
            return Err(format!(
                "the source has added a device {name:?}, which the machine here has already"
            ));
        }
        let is_free = !plan.functions.iter().any(|function| function.address == device.address);
        let port = plan.ports.iter().find(|port| port.card() == device.address && is_free);
        let port = port.cloned().ok_or_else(|| format!("there is no free slot for the device {name:?}"))?;
        let (planned, backend, one) = open(device, resources, &depot, vmi)?;
        let function = Function {
            name: name.clone(),
            address: device.address,
            window: port.prefetchable.start,
            first_gsi: port.first_gsi,
            io_threads: vec![0],
            device: planned,
        };
        if !port.has_room_for(function.device.vectors()) || fact(&function) != device.fact {
            let (ours, theirs) = (fact(&function), &device.fact);
            return Err(format!("device {name} is {ours} here and {theirs} at the source"));
        }
        plan.functions.push(function);
        resources.backends.push(backend);
        found.push(one);
    }
    Ok(found)
}

fn open(
    device: &Added,
    resources: &mut Resources,
    depot: &Depot,
    vmi: &VirtualMachineInstance,
) -> Result<(DevicePlan, Backend, Found), String> {
    let name = &device.name;
    let fail = |error: &dyn std::error::Error| format!("device {name}: {}", chain(&error));
    match &device.device {
        AddedDevice::Disk { disk, volume } => {
            let wanted = read::disk(name, disk, volume).map_err(|error| format!("disk {name}: {error}"))?;
            let (plan, backend) = depot.disk(vmi, &wanted).map_err(|error| fail(&error))?;
            Ok((DevicePlan::Disk(plan), backend, Found::Disk(Box::new(wanted))))
        }
        AddedDevice::Card { interface, network } => {
            let list = |one: &serde_json::Value| serde_json::Value::Array(vec![one.clone()]);
            let cards = read::cards(&list(interface), &list(network));
            let cards = cards.map_err(|error| format!("interface {name}: {error}"))?;
            let mut pairs = cards.interfaces.into_iter().zip(cards.networks);
            let (interface, network) = pairs
                .next()
                .filter(|(interface, network)| interface.name == *name && network.name == *name)
                .ok_or_else(|| format!("interface {name}: it is another one"))?;
            let opened = depot.card(vmi, &interface, &network, &mut resources.network);
            let (plan, backend) = opened.map_err(|error| fail(&error))?;
            let status = plan.status();
            Ok((
                DevicePlan::Nic(Box::new(plan)),
                backend,
                Found::Card(Box::new((interface, network, status))),
            ))
        }
    }
}
