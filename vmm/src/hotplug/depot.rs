//! Where disks and network cards are found that are added later.

use std::io;
use std::sync::Arc;

use devices::say;
use spec::api::{Disk, Interface, Network, VirtualMachineInstance, Volume, VolumeSource};
use spec::{Manifests, Places, resolve};

use super::NewDisk;
use crate::open::{self, Backend, HostNetwork, OpenError};
use crate::plan::{self, DiskPlan, NicPlan, Options, PlanError};

/// What command line and manifests name, kept for as long as the machine runs.
#[derive(Clone, Debug)]
pub struct Depot {
    /// Where claims are.
    pub claims: Places,
    /// Where images and their caches are.
    pub images: open::Places,
    /// What the command line says of networks and limits.
    pub options: Options,
    /// The NetworkAttachmentDefinitions among the manifests.
    pub definitions: Arc<Manifests>,
}

/// Why a device cannot be had.
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
    /// The host cannot be asked what its network is like.
    #[error("the host's network could not be looked at")]
    Network(#[source] io::Error),
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
        let alone = with_disk(vmi, wanted);
        let resolved = resolve(&alone, &Manifests::default(), &self.claims);
        let plan = plan::single_disk(&alone, &resolved)?;
        let backend = open::disk(&self.images, &wanted.name, &plan)?;
        Ok((plan, backend))
    }

    /// Plans a network card for the machine of `vmi`, and opens or makes what it is on, of which `host` keeps account.
    pub(crate) fn card(
        &self,
        vmi: &VirtualMachineInstance,
        interface: &Interface,
        network: &Network,
        host: &mut HostNetwork,
    ) -> Result<(NicPlan, Backend), DepotError> {
        let mut wanted = bare(vmi);
        wanted.spec.networks.push(network.clone());
        wanted.spec.domain.devices.interfaces.push(interface.clone());
        let resolved = resolve(&wanted, &self.definitions, &Places::default());
        let surroundings = open::look_around(self.claims.pod.as_deref()).map_err(DepotError::Network)?;
        let (plan, warnings) = plan::single_card(&wanted, &self.options, &resolved, &surroundings)?;
        for warning in warnings {
            say!("kubevmm: interface {}: {}", interface.name, warning.message);
        }
        let backend = open::card(&interface.name, &plan, host)?;
        Ok((plan, backend))
    }
}

/// The machine without what would have to be found for it.
fn bare(vmi: &VirtualMachineInstance) -> VirtualMachineInstance {
    let mut vmi = vmi.clone();
    vmi.spec.volumes.clear();
    vmi.spec.domain.devices.disks.clear();
    vmi.spec.access_credentials.clear();
    vmi.spec.domain.firmware = None;
    vmi
}

/// The machine as if it had this disk only.
fn with_disk(vmi: &VirtualMachineInstance, wanted: &NewDisk) -> VirtualMachineInstance {
    let mut vmi = bare(vmi);
    let (name, serial) = (wanted.name.clone(), wanted.disk.serial.clone());
    // KubeVirt gives volumes that are added later their name for a serial number, by which guests find them.
    let serial = if serial.is_empty() { name.clone() } else { serial };
    vmi.spec.volumes = vec![Volume { name: name.clone(), source: wanted.source.clone() }];
    vmi.spec.domain.devices.disks = vec![Disk { name, serial, ..wanted.disk.clone() }];
    vmi
}
