//! Where disks are found that are added later.

use spec::api::{Disk, VirtualMachineInstance, Volume, VolumeSource};
use spec::{Manifests, resolve};

use super::NewDisk;
use crate::open::{self, Backend, OpenError};
use crate::plan::{self, DiskPlan, PlanError};

/// The places that the command line names, kept for as long as the machine runs.
#[derive(Clone, Debug)]
pub struct Depot {
    /// Where claims are.
    pub claims: spec::Places,
    /// Where images and their caches are.
    pub images: open::Places,
}

/// Why a disk cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DepotError {
    /// Only storage can be added: claims and DataVolumes, as in KubeVirt.
    #[error("the volume {0:?} is neither a persistentVolumeClaim nor a dataVolume")]
    Kind(String),
    /// It cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// It cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl Depot {
    /// Finds and opens a disk for the machine of `vmi`.
    pub(crate) fn disk(
        &self,
        vmi: &VirtualMachineInstance,
        wanted: &NewDisk,
    ) -> Result<(DiskPlan, Backend), DepotError> {
        let is_claim =
            matches!(wanted.source, VolumeSource::PersistentVolumeClaim(_) | VolumeSource::DataVolume(_));
        if !is_claim {
            return Err(DepotError::Kind(wanted.name.clone()));
        }
        let alone = alone(vmi, wanted);
        let resolved = resolve(&alone, &Manifests::default(), &self.claims);
        let plan = plan::single_disk(&alone, &resolved)?;
        let backend = open::disk(&self.images, &wanted.name, &plan)?;
        Ok((plan, backend))
    }
}

/// The machine as if it had this disk only.
fn alone(vmi: &VirtualMachineInstance, wanted: &NewDisk) -> VirtualMachineInstance {
    let mut vmi = vmi.clone();
    let (name, serial) = (wanted.name.clone(), wanted.disk.serial.clone());
    // KubeVirt gives volumes that are added later their name for a serial number, by which guests find them.
    let serial = if serial.is_empty() { name.clone() } else { serial };
    vmi.spec.volumes = vec![Volume { name: name.clone(), source: wanted.source.clone() }];
    vmi.spec.domain.devices.disks = vec![Disk { name, serial, ..wanted.disk.clone() }];
    vmi.spec.access_credentials.clear();
    vmi.spec.domain.firmware = None;
    vmi
}
