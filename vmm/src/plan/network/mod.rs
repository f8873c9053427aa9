//! Network cards of a plan.
//!
//! All that is known of the host is a [`Survey`] gathered before, so that planning stays pure: where KubeVirt's handler has
//! made tap, bridge and rules already, they are found in it; where not, the plan says what is to be made.

mod answers;
mod attached;
mod behind;
mod bindings;
mod found;
mod options;
mod passt;
mod speed;
#[cfg(test)]
mod tests;
mod vif_cache;

use std::collections::BTreeMap;
use std::net::IpAddr;

use net::MacAddress;
use net::dhcp::Answers;
use net::host::{Survey, Wanted};
use net::passt::PasstPlan;
use serde::{Deserialize, Serialize};
use spec::Resolved;
use spec::api::{Interface, InterfaceState, InterfaceStatus, Network, VirtualMachineInstance};

pub use options::{BadTap, TapSource};
pub use vif_cache::VifCache;

use super::{NicLimit, Options, PlanError};
use answers::Context;
use bindings::Choice;

/// A network card and what it is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NicPlan {
    /// Network of the manifest that the card is on.
    pub network: String,
    /// How it is tied to the host's network.
    pub binding: BindingPlan,
    /// Address of the card.
    pub mac: MacAddress,
    /// Pairs of queues.
    pub queue_pairs: u16,
    /// How fast it may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<NicLimit>,
    /// The host's kernel moves its frames by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vhost: bool,
    /// Whether a cable is in it from the start.
    pub link_up: bool,
    /// What is answered in place of the network, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// Addresses by which others reach the guest, as far as they are known before it says its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// What a pod calls the interface of this network.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pod_interface: String,
}

impl NicPlan {
    /// The card as `status.interfaces` of the machine has it, before the guest says anything.
    pub fn status(&self) -> InterfaceStatus {
        let addresses: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        InterfaceStatus {
            info_source: "domain".into(),
            ip_address: addresses.first().cloned().unwrap_or_default(),
            ip_addresses: addresses,
            link_state: if self.link_up { "up" } else { "down" }.into(),
            mac: self.mac.to_string(),
            name: self.network.clone(),
            pod_interface_name: self.pod_interface.clone(),
            queue_count: self.queue_pairs.into(),
            ..InterfaceStatus::default()
        }
    }
}

/// How a card is tied to the host's network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BindingPlan {
    /// By a tap or macvtap that is there: named on the command line, or made by KubeVirt's handler.
    Interface {
        /// Its name.
        name: String,
    },
    /// By open files of a tap that were handed over, one a queue pair.
    Files {
        /// Their numbers.
        descriptors: Vec<i32>,
    },
    /// By what is made for it, and removed at the end.
    Made(Wanted),
    /// By the program passt, without any rights over the host's network.
    Passt(PasstPlan),
}

/// What is around the machine on its host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// What the network namespace looks like.
    pub survey: Survey,
    /// What KubeVirt's handler remembers of a pod's interfaces, by their names.
    pub vif_cache: BTreeMap<String, VifCache>,
}

/// The cards of a machine by name, and what the user should know about them.
#[derive(Default)]
pub(super) struct Cards {
    pub(super) cards: Vec<(String, NicPlan)>,
    pub(super) warnings: Vec<PlanError>,
    pub(super) errors: Vec<PlanError>,
}

/// What cards are planned from.
pub(super) struct Given<'a> {
    pub(super) vmi: &'a VirtualMachineInstance,
    pub(super) options: &'a Options,
    pub(super) resolved: &'a Resolved,
    pub(super) survey: &'a Survey,
    pub(super) vif_cache: &'a BTreeMap<String, VifCache>,
    pub(super) queue_pairs: u16,
}

/// One card of the manifest with its network.
struct Card<'a> {
    given: &'a Given<'a>,
    index: usize,
    interface: &'a Interface,
    network: &'a Network,
}

impl Card<'_> {
    /// The path of the card, or of something in it.
    fn field(&self, key: &str) -> String {
        let dot = if key.is_empty() { "" } else { "." };
        format!("spec.domain.devices.interfaces[{}]{dot}{key}", self.index)
    }
}

/// Plans the cards of a machine. If more of them may come later, options for those are no mistake.
pub(super) fn plan(given: &Given<'_>, more_may_come: bool) -> Cards {
    let mut planned = Cards::default();
    let interfaces = &given.vmi.spec.domain.devices.interfaces;
    for (index, interface) in interfaces.iter().enumerate() {
        let network = given.vmi.spec.networks.iter().find(|network| network.name == interface.name);
        let (Some(network), false) = (network, interface.state == Some(InterfaceState::Absent)) else {
            continue;
        };
        let card = Card { given, index, interface, network };
        match card.plan(&mut planned.warnings) {
            Ok(nic) => planned.cards.push((interface.name.clone(), nic)),
            Err(mut error) if given.options.cards_are_defaults => {
                error.message = format!("the guest gets no network card: {}", error.message);
                planned.warnings.push(error);
            }
            Err(error) => planned.errors.push(error),
        }
    }
    let options = [
        ("--tap", given.options.taps.iter().map(|(name, _)| name).collect::<Vec<_>>()),
        ("--multus", given.options.multus.iter().map(|(name, _)| name).collect()),
        ("--nic-limit", given.options.nic_limits.iter().map(|(name, _)| name).collect()),
    ];
    for (option, names) in options {
        let is_unknown = |name: &&&String| !interfaces.iter().any(|interface| interface.name == ***name);
        if let Some(name) = names.iter().find(is_unknown).filter(|_| !more_may_come) {
            let message =
                format!("{option} names a network {name:?} that no interface of the manifest is on");
            planned.errors.push(PlanError::at("spec.domain.devices.interfaces", message));
        }
    }
    planned
}

/// Plans the last card of a machine only. Gives back what the user should know about it, too.
pub(super) fn last(given: &Given<'_>) -> Result<(NicPlan, Vec<PlanError>), PlanError> {
    let interfaces = &given.vmi.spec.domain.devices.interfaces;
    let missing = || PlanError::at("spec.domain.devices.interfaces", "there is no card with a network");
    let (index, interface) = interfaces.iter().enumerate().next_back().ok_or_else(missing)?;
    let networks = &given.vmi.spec.networks;
    let network = networks.iter().find(|network| network.name == interface.name).ok_or_else(missing)?;
    let mut warnings = Vec::new();
    let nic = Card { given, index, interface, network }.plan(&mut warnings)?;
    Ok((nic, warnings))
}

impl Card<'_> {
    fn plan(&self, warnings: &mut Vec<PlanError>) -> Result<NicPlan, PlanError> {
        let given = self.interface.mac_address.as_deref().filter(|mac| !mac.is_empty());
        let given: Option<MacAddress> =
            given.map(str::parse).transpose().map_err(|error: net::BadMacAddress| {
                PlanError::at(self.field("macAddress"), error.to_string())
            })?;
        let Choice { binding, own_mac, pod_interface } = self.choose(given, warnings)?;
        let mac = given.or(own_mac).unwrap_or_else(|| self.made_up_address());
        if let (Some(own), BindingPlan::Interface { name }) = (own_mac, &binding)
            && self.is_macvtap(name)
            && own != mac
        {
            let message =
                format!("the macvtap {name} passes on frames for {own} only: give that address, or none");
            return Err(PlanError::at(self.field("macAddress"), message));
        }
        let queue_pairs = match &binding {
            BindingPlan::Files { descriptors } => u16::try_from(descriptors.len()).unwrap_or(u16::MAX),
            // A socket carries one frame after the other.
            BindingPlan::Passt(_) => 1,
            _ => self.given.queue_pairs,
        };
        let context = Context { card: self, binding: &binding, pod_interface: &pod_interface, mac };
        let (answers, addresses) = context.answers(warnings);
        let on_tap = !matches!(binding, BindingPlan::Passt(_)) && answers.is_none();
        let vhost = self.vhost(on_tap, warnings)?;
        Ok(NicPlan {
            network: self.interface.name.clone(),
            binding,
            mac,
            queue_pairs,
            limit: self.limit(),
            vhost,
            link_up: self.interface.state != Some(InterfaceState::Down),
            answers,
            addresses,
            pod_interface,
        })
    }

    /// A locally administered address that is the same at each start of the same VM.
    fn made_up_address(&self) -> MacAddress {
        let vmi = self.given.vmi;
        let name = format!("{}/{}/{}", vmi.namespace(), vmi.metadata.name, self.interface.name);
        let [a, b, c, d, ..] = spec::Uuid::of_machine(&name).bytes();
        MacAddress([0x02, 0x00, a, b, c, d])
    }
}
