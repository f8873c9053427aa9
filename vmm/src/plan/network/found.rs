//! What KubeVirt's handler, or a CNI plugin, has made in a pod already.

use net::host::{Names, POD_PRIMARY, Survey, ordinal_pod_interface, pod_interface};
use net::netlink::{Interface, Kind};
use spec::api::{Network, NetworkSource};

use super::Card;

/// Something that a card can be on as it is.
pub(super) struct Found<'a> {
    /// The tap or macvtap.
    pub(super) interface: &'a Interface,
    /// What the pod calls the interface behind it.
    pub(super) pod_interface: String,
}

/// Whether the network is the pod's own, or stands in for it.
pub(super) fn is_default(network: &Network) -> bool {
    match &network.source {
        NetworkSource::Pod(_) => true,
        NetworkSource::Multus(multus) => multus.default,
        _ => false,
    }
}

impl Card<'_> {
    /// The names that the pod's interface of this network may have: today's first, then the one by number of older releases
    /// (`pkg/network/namescheme`).
    pub(super) fn pod_interfaces(&self) -> Vec<String> {
        if is_default(self.network) {
            return vec![POD_PRIMARY.to_owned()];
        }
        let others = self.given.vmi.spec.networks.iter().filter(|network| !is_default(network));
        let ordinal = others.take_while(|network| network.name != self.network.name).count() + 1;
        vec![pod_interface(&self.network.name), ordinal_pod_interface(ordinal)]
    }

    /// The tap that was made for this card, or else the pod's interface if it is a macvtap
    /// (`pkg/network/domainspec/generators.go`).
    pub(super) fn found(&self) -> Option<Found<'_>> {
        let survey = self.given.survey;
        self.pod_interfaces().into_iter().find_map(|pod_interface| {
            let interface = tap_of(survey, &pod_interface).or_else(|| {
                let own = survey.interface(&pod_interface)?;
                matches!(own.kind, Kind::Macvtap(_)).then_some(own)
            })?;
            Some(Found { interface, pod_interface })
        })
    }

    /// Whether the interface is a macvtap.
    pub(super) fn is_macvtap(&self, name: &str) -> bool {
        let interface = self.given.survey.interface(name);
        interface.is_some_and(|interface| matches!(interface.kind, Kind::Macvtap(_)))
    }
}

/// The tap of KubeVirt's name. Outside of a pod `tap0` may be anyone's: there it has to be on KubeVirt's bridge.
fn tap_of<'a>(survey: &'a Survey, pod_interface: &str) -> Option<&'a Interface> {
    let names = Names::in_pod(pod_interface);
    let tap = survey.interface(&names.tap).filter(|tap| matches!(tap.kind, Kind::Tap { .. }))?;
    let master = tap.master.and_then(|index| survey.by_index(index));
    let is_kubevirts = survey.in_pod || master.is_some_and(|master| master.name == names.bridge);
    is_kubevirts.then_some(tap)
}
