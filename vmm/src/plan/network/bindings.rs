//! How each binding of the API is carried out.

use net::MacAddress;
use net::host::{Forwards, Names, POD_PRIMARY, Wanted};
use net::netlink::Interface;
use spec::api::{InterfaceBinding, NetworkSource};

use super::answers::BRIDGE_MAC;
use super::{BindingPlan, Card, PlanError, TapSource};

/// What was decided for a card.
pub(super) struct Choice {
    pub(super) binding: BindingPlan,
    /// The address that the card has if the manifest gives none.
    pub(super) own_mac: Option<MacAddress>,
    /// What a pod calls the interface behind the card; empty where there is none.
    pub(super) pod_interface: String,
}

impl Choice {
    pub(super) fn of(binding: BindingPlan) -> Self {
        Self { binding, own_mac: None, pod_interface: String::new() }
    }
}

/// The bindings, with old and new names of the same thing put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way<'a> {
    Bridge,
    Masquerade,
    Macvtap,
    Passt,
    Sriov,
    Plugin(&'a str),
}

impl<'a> Card<'a> {
    fn way(&self) -> Way<'a> {
        match &self.interface.binding {
            InterfaceBinding::Masquerade(_) => Way::Masquerade,
            InterfaceBinding::Macvtap(_) => Way::Macvtap,
            InterfaceBinding::PasstBinding(_) | InterfaceBinding::Passt(_) | InterfaceBinding::Slirp(_) => {
                Way::Passt
            }
            InterfaceBinding::Sriov(_) => Way::Sriov,
            InterfaceBinding::Plugin(plugin) => match plugin.name.as_str() {
                "macvtap" => Way::Macvtap,
                "passt" | "slirp" => Way::Passt,
                other => Way::Plugin(other),
            },
            // Admission lets no other through.
            InterfaceBinding::Bridge(_) | InterfaceBinding::Missing | InterfaceBinding::Several(_) => {
                Way::Bridge
            }
        }
    }

    /// Decides how the card is tied to its network; `mac` is the manifest's address.
    pub(super) fn choose(
        &self,
        mac: Option<MacAddress>,
        warnings: &mut Vec<PlanError>,
    ) -> Result<Choice, PlanError> {
        if let Some((_, tap)) = self.given.options.taps.iter().find(|(name, _)| *name == self.interface.name)
        {
            return Ok(self.given_tap(tap));
        }
        let way = self.way();
        if way == Way::Sriov {
            let message = "network cards cannot be passed through: use bridge or macvtap, or give a tap to stand in \
                           for it with --tap";
            return Err(PlanError::at(
                self.field("sriov"),
                format!("{message} {}=INTERFACE", self.interface.name),
            ));
        }
        if way != Way::Passt
            && let Some(found) = self.found()
        {
            let name = found.interface.name.clone();
            let own_mac = found.interface.mac.filter(|_| self.is_macvtap(&name));
            let own_mac = own_mac.or_else(|| self.pods_mac(&found.pod_interface));
            let binding = BindingPlan::Interface { name };
            return Ok(Choice { binding, own_mac, pod_interface: found.pod_interface });
        }
        match (&self.network.source, way) {
            (_, Way::Passt) => self.passt(),
            (NetworkSource::Pod(_), Way::Masquerade) if self.may_make() => self.masquerade(warnings),
            (NetworkSource::Pod(_), Way::Bridge) if self.may_make() && self.pod_network().is_some() => {
                self.pod_bridge()
            }
            (NetworkSource::Pod(_), Way::Masquerade | Way::Bridge) => self.passt_instead(warnings),
            (NetworkSource::Pod(_), Way::Macvtap) => self.attached(mac),
            (NetworkSource::Multus(_), Way::Bridge | Way::Macvtap | Way::Masquerade) => self.attached(mac),
            (_, Way::Plugin(name)) => {
                Err(self
                    .host_fault(format!("the binding plugin {name:?} has made no tap here{}", self.or_tap())))
            }
            _ => Err(self.host_fault(format!("nothing is claimed for the network here{}", self.or_tap()))),
        }
    }

    /// A tap of the command line.
    fn given_tap(&self, tap: &TapSource) -> Choice {
        match tap {
            TapSource::Files(descriptors) => {
                Choice::of(BindingPlan::Files { descriptors: descriptors.clone() })
            }
            TapSource::Interface(name) => {
                let interface = self.given.survey.interface(name);
                let own_mac = interface.and_then(|interface| interface.mac).filter(|_| self.is_macvtap(name));
                Choice { own_mac, ..Choice::of(BindingPlan::Interface { name: name.clone() }) }
            }
        }
    }

    /// Whether taps, bridges and rules can be made.
    pub(super) fn may_make(&self) -> bool {
        let rights = self.given.survey.rights;
        rights.configure && rights.tun
    }

    /// The interface that may be treated as a pod's: the one that the command line names, or `eth0` in a pod.
    pub(super) fn pod_network(&self) -> Option<&Interface> {
        let survey = self.given.survey;
        match &self.given.options.pod_network {
            Some(name) => survey.interface(name),
            None => survey.interface(POD_PRIMARY).filter(|_| survey.in_pod),
        }
    }

    /// The address that a pod had before its handler gave it to the guest.
    fn pods_mac(&self, pod_interface: &str) -> Option<MacAddress> {
        let cached = self.given.vif_cache.get(pod_interface).and_then(|cache| cache.mac);
        cached.or_else(|| self.given.survey.interface(pod_interface)?.mac)
    }

    fn masquerade(&self, warnings: &mut Vec<PlanError>) -> Result<Choice, PlanError> {
        let pod = self.pod_network();
        let uplink = pod.or_else(|| self.given.survey.primary());
        let names = pod.map_or_else(|| self.own_names(), |pod| Names::in_pod(&pod.name));
        let forwards = match self.ports() {
            ports if !ports.is_empty() => Forwards::Only(ports),
            _ if pod.is_some() => Forwards::All,
            _ => {
                let message = "no port of this machine leads to the guest, since none is named: name those that should \
                               (ports), or give the interface whose ports all lead to it with --pod-network";
                warnings.push(PlanError::at(self.field("masquerade"), message));
                Forwards::Only(Vec::new())
            }
        };
        let networks = self.networks_to_make(uplink)?;
        let wanted = Wanted::Masquerade {
            outside: uplink.map(|uplink| uplink.name.clone()),
            tap: names.tap,
            bridge: names.bridge,
            bridge_mac: BRIDGE_MAC,
            queues: self.given.queue_pairs,
            mtu: uplink.map_or(USUAL_MTU, |uplink| uplink.mtu),
            networks,
            forwards,
        };
        Ok(Choice {
            binding: BindingPlan::Made(wanted),
            own_mac: pod.and_then(|pod| pod.mac),
            pod_interface: uplink.map(|uplink| uplink.name.clone()).unwrap_or_default(),
        })
    }

    fn pod_bridge(&self) -> Result<Choice, PlanError> {
        let Some(pod) = self.pod_network() else {
            return Err(self.host_fault("there is no interface to treat as the pod's here".into()));
        };
        let names = Names::in_pod(&pod.name);
        let has_address = self.given.survey.global_address(pod, true).is_some();
        let wanted = Wanted::PodBridge {
            pod: pod.name.clone(),
            tap: names.tap,
            bridge: names.bridge,
            queues: self.given.queue_pairs,
            mtu: pod.mtu,
            address: has_address.then(|| self.server_address()).map(net::IpNet::host),
        };
        Ok(Choice { binding: BindingPlan::Made(wanted), own_mac: pod.mac, pod_interface: pod.name.clone() })
    }

    /// Names that no other machine of this host uses.
    pub(super) fn own_names(&self) -> Names {
        let vmi = self.given.vmi;
        Names::on_host(vmi.namespace(), &vmi.metadata.name, &self.network.name)
    }

    pub(super) fn or_tap(&self) -> String {
        format!("; or give a tap that is there with --tap {}=INTERFACE", self.interface.name)
    }

    pub(super) fn host_fault(&self, message: String) -> PlanError {
        PlanError::missing(self.field(""), message)
    }

    pub(super) fn network_fault(&self, message: String) -> PlanError {
        let networks = &self.given.vmi.spec.networks;
        let index = networks.iter().position(|network| network.name == self.network.name).unwrap_or(0);
        PlanError::missing(format!("spec.networks[{index}].multus.networkName"), message)
    }
}

/// What Ethernet has everywhere.
pub(super) const USUAL_MTU: u32 = 1500;
