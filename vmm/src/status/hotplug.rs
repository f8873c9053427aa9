//! What the status says of disks and network cards that come and go.

use spec::api::{Disk, Interface, InterfaceState, InterfaceStatus, Network, Volume, VolumeStatus};

use super::StatusKeeper;
use super::agent::DOMAIN;
use crate::hotplug::NewDisk;

/// Phases of a volume that was added later (KubeVirt `VolumePhase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumePhase {
    /// The disk is in its slot, and the guest has not taken notice.
    Attached,
    /// The guest has taken it into use.
    Ready,
    /// The guest is to let it go.
    Detaching,
}

impl VolumePhase {
    /// As the status has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "AttachedToNode",
            Self::Ready => "Ready",
            Self::Detaching => "Detaching",
        }
    }
}

impl StatusKeeper {
    /// A volume was added to the machine, which has this status.
    pub fn add_volume(&mut self, added: &NewDisk, status: VolumeStatus) {
        let name = &added.name;
        let spec = self.change_spec();
        spec.volumes.push(Volume { name: name.clone(), source: added.source.clone() });
        spec.domain.devices.disks.push(Disk { name: name.clone(), ..added.disk.clone() });
        self.update(|all| {
            all.volume_status.retain(|volume| volume.name != *name);
            all.volume_status.push(status);
        });
    }

    /// A volume is gone from the machine.
    pub fn remove_volume(&mut self, name: &str) {
        let spec = self.change_spec();
        spec.volumes.retain(|volume| volume.name != name);
        spec.domain.devices.disks.retain(|disk| disk.name != name);
        self.update(|status| status.volume_status.retain(|volume| volume.name != name));
    }

    /// A volume that was added later is in this phase.
    pub fn set_volume_phase(&mut self, name: &str, phase: VolumePhase, message: &str) {
        self.update(|status| {
            if let Some(volume) = status.volume_status.iter_mut().find(|volume| volume.name == name) {
                volume.phase = phase.as_str().into();
                volume.message = message.into();
            }
        });
    }

    /// A network card was added to the machine, which has this status.
    pub fn add_card(&mut self, interface: Interface, network: Network, status: InterfaceStatus) {
        let name = interface.name.clone();
        let spec = self.change_spec();
        // What the object said of a card of that name that was to be absent is over.
        spec.networks.retain(|network| network.name != name);
        spec.networks.push(network);
        spec.domain.devices.interfaces.retain(|card| card.name != name);
        spec.domain.devices.interfaces.push(interface);
        self.update(|all| {
            all.interfaces.retain(|card| card.name != name);
            all.interfaces.push(status);
        });
    }

    /// A network card is gone from the machine.
    pub fn remove_card(&mut self, name: &str) {
        let spec = self.change_spec();
        spec.networks.retain(|network| network.name != name);
        spec.domain.devices.interfaces.retain(|card| card.name != name);
        self.update(|status| status.interfaces.retain(|card| card.name != name));
    }

    /// A network card is to be in another state.
    pub fn set_card_state(&mut self, name: &str, state: InterfaceState) {
        let cards = &mut self.change_spec().domain.devices.interfaces;
        if let Some(card) = cards.iter_mut().find(|card| card.name == name) {
            card.state = Some(state.clone());
        }
        let link = match state {
            InterfaceState::Up => "up",
            InterfaceState::Down => "down",
            _ => return,
        };
        self.update(|status| {
            if let Some(card) = status.interfaces.iter_mut().find(|card| card.name == name) {
                card.link_state = link.into();
            }
        });
    }

    /// The guest has a network card that was put into a slot.
    pub fn set_card_present(&mut self, name: &str) {
        self.update(|status| {
            let is_it = |card: &&mut InterfaceStatus| card.name == name && !card.info_source.contains(DOMAIN);
            if let Some(card) = status.interfaces.iter_mut().find(is_it) {
                card.info_source = DOMAIN.into();
            }
        });
    }
}
