//! What of a machine its move has to know.

use std::sync::Arc;

use serde_json::Value;

use super::Refusal;
use super::driver::Driver;
use crate::migration::facts::fact;
use crate::migration::storage::{Added, AddedDevice, DiskKind, LeavingDisk};
use crate::open::{Backend, base_of};
use crate::plan::{DevicePlan, Function};

impl Driver {
    /// The machine's disks, as their move needs them.
    pub(super) fn leaving_disks(&self) -> Vec<LeavingDisk> {
        let pairs = self.plan.functions.iter().zip(&self.resources.backends);
        let leaving = |(function, backend): (&Function, &Backend)| match (&function.device, backend) {
            (DevicePlan::Disk(plan), Backend::Disk(disk)) => Some(LeavingDisk {
                name: function.name.clone(),
                kind: DiskKind::of(&plan.source),
                content: base_of(&self.depot.images, disk.as_ref()),
                shareable: plan.shareable,
                disk: Arc::clone(disk),
            }),
            _ => None,
        };
        pairs.filter_map(leaving).collect()
    }

    /// The devices that came while the machine ran: its manifests do not know of them.
    pub(super) fn added_devices(&self) -> Result<Vec<Added>, Refusal> {
        let text = &self.keeper.board().current().text;
        let object: Value = serde_json::from_str(text).unwrap_or_default();
        let part = |list: &str, name: &str| {
            let parts = object.pointer(list).and_then(Value::as_array);
            parts.and_then(|parts| parts.iter().find(|part| part["name"] == name)).cloned()
        };
        let added = |function: &Function| {
            let name = function.name.as_str();
            let device = match &function.device {
                DevicePlan::Disk(_) => AddedDevice::Disk {
                    disk: part("/spec/domain/devices/disks", name)?,
                    volume: part("/spec/volumes", name)?,
                },
                _ => AddedDevice::Card {
                    interface: part("/spec/domain/devices/interfaces", name)?,
                    network: part("/spec/networks", name)?,
                },
            };
            Some(Added { name: name.to_owned(), address: function.address, fact: fact(function), device })
        };
        let later = self.plan.functions.iter().filter(|function| function.address.bus() != 0);
        let all = later.map(|function| {
            let leaving =
                || format!("the device {:?} is on its way out: try again when it is gone", function.name);
            added(function).ok_or_else(|| Refusal::conflict(leaving()))
        });
        all.collect()
    }
}
