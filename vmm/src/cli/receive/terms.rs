//! What is agreed on with a source before anything is copied.

use std::sync::Arc;

use devices::chain;
use spec::api::VirtualMachineInstance;

use super::added::{self, Found};
use crate::hotplug::Depot;
use crate::migration::destination::Incoming;
use crate::migration::storage::{Agreed, DiskKind, OurDisk, accept};
use crate::open::{Backend, MadeImage, Places, Resources, base_of, incoming_files};
use crate::plan::{DevicePlan, Plan};

/// What this side is ready to do.
pub(in crate::cli) struct Terms {
    /// The source may write over disks here.
    pub(in crate::cli) takes_copies: bool,
    /// Images that were made for that.
    pub(in crate::cli) made: Vec<MadeImage>,
}

impl Terms {
    /// Hears what devices the source has, finds those here that the manifests do not know of, and agrees on what is to become of each disk.
    ///
    /// # Errors
    /// They do not agree; the source was told why.
    pub(in crate::cli) fn agree(
        &self,
        incoming: &mut Incoming,
        (plan, resources): (&mut Plan, &mut Resources),
        depot: &Depot,
        vmi: &VirtualMachineInstance,
    ) -> Result<Vec<Found>, String> {
        let devices = incoming.devices().map_err(|error| error.to_string())?;
        let found = added::find(&devices.added, plan, resources, depot, vmi);
        let found = found.map_err(|why| incoming.fail(&why).to_string())?;
        let ours = self.disks(plan, resources, &depot.images);
        let replace = |name: &str, bytes| incoming_files(name, bytes).map_err(|error| chain(&error));
        let agreed = accept(&devices, &ours, self.takes_copies, &replace);
        let Agreed { answers, sinks, replaced } = agreed.map_err(|why| incoming.fail(&why).to_string())?;
        resources.replace_disks(plan, replaced);
        incoming.agree(answers, sinks).map_err(|error| error.to_string())?;
        Ok(found)
    }

    fn disks(&self, plan: &Plan, resources: &Resources, places: &Places) -> Vec<OurDisk> {
        let pairs = plan.functions.iter().zip(&resources.backends);
        let disk = |(function, backend): (&_, &Backend)| {
            let function: &crate::plan::Function = function;
            let (DevicePlan::Disk(plan), Backend::Disk(disk)) = (&function.device, backend) else {
                return None;
            };
            let made = self.made.iter().find(|made| made.disk == function.name);
            Some(OurDisk {
                name: function.name.clone(),
                kind: DiskKind::of(&plan.source),
                disk: Arc::clone(disk),
                content: base_of(places, disk.as_ref()),
                made: made.map(|made| made.path.clone()),
            })
        };
        pairs.filter_map(disk).collect()
    }
}
