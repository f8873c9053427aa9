//! Devices that come and go while the machine runs: what can be asked for, and how it is found on the host.

mod cards;
mod depot;
pub mod read;
mod removals;

pub use cards::{CardChange, CardsError, NewCards};
pub use depot::{Depot, DepotError};
pub(crate) use removals::Removals;

use spec::api::{Disk, VolumeSource};

/// A change of the machine's devices.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceChange {
    /// A disk is put into a free slot.
    AddDisk(Box<NewDisk>),
    /// The guest is asked to let a disk go that was put into a slot.
    RemoveDisk {
        /// Its name.
        name: String,
    },
    /// The guest is told of a disk that has another size on the host now.
    LookAtDisk {
        /// Its name.
        name: String,
    },
    /// The machine is to have these network cards.
    Cards(Box<NewCards>),
}

/// A disk to add, as KubeVirt's AddVolumeOptions have it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewDisk {
    /// Name of volume and disk; also the disk's serial number where it has no other.
    pub name: String,
    /// What the guest sees. Its name is of no interest.
    pub disk: Disk,
    /// The claim or DataVolume that is shown.
    pub source: VolumeSource,
}
