//! Cards on an interface or a bridge of the host: what networks of multus are.

use net::MacAddress;
use net::host::Wanted;
use net::netlink::{Interface, Kind, MacvtapMode};
use spec::api::NetworkSource;
use spec::cni::CniPlugin;

use super::bindings::Choice;
use super::{BindingPlan, Card, PlanError};

/// What of the host a further network is.
enum Parent {
    Bridge { name: String, create: bool },
    Interface { name: String, mode: MacvtapMode },
}

impl Card<'_> {
    /// A port of a bridge, or a macvtap, on an interface of the host.
    pub(super) fn attached(&self, mac: Option<MacAddress>) -> Result<Choice, PlanError> {
        let (wanted, names) = (self.parent()?, self.own_names());
        if !self.may_make()
            && !matches!(wanted, Parent::Interface { .. } if self.given.survey.rights.configure)
        {
            return Err(self.host_fault(format!(
                "making its interface takes the right to configure the network (CAP_NET_ADMIN) and /dev/net/tun: run as \
                 root, or in a network namespace of your own{}",
                self.or_tap()
            )));
        }
        let config = self.given.resolved.networks.get(&self.network.name);
        let mtu = config.and_then(|config| config.mtu);
        let wanted = match wanted {
            Parent::Bridge { name, create } => Wanted::BridgePort {
                bridge: name,
                create,
                tap: names.tap,
                queues: self.given.queue_pairs,
                mtu,
            },
            Parent::Interface { name, mode } => Wanted::Macvtap {
                parent: name,
                name: names.tap,
                mac: mac.unwrap_or_else(|| self.made_up_address()),
                mode,
                queues: self.given.queue_pairs,
                mtu,
            },
        };
        Ok(Choice::of(BindingPlan::Made(wanted)))
    }

    /// What of the host the network is.
    fn parent(&self) -> Result<Parent, PlanError> {
        let options = &self.given.options.multus;
        if let Some((_, parent)) = options.iter().find(|(name, _)| *name == self.interface.name) {
            return self.on(parent);
        }
        let NetworkSource::Multus(multus) = &self.network.source else { return self.on(&self.usual()?) };
        let named = &multus.network_name;
        match self.given.resolved.networks.get(&self.network.name) {
            Some(config) => self.of_plugin(named, &config.plugin),
            None => Err(self.network_fault(format!(
                "the NetworkAttachmentDefinition {named:?} is not among the given objects: add its manifest, or name the \
                 interface or bridge that the network is on with --multus {}=INTERFACE{}",
                self.interface.name,
                self.or_tap()
            ))),
        }
    }

    /// What the plugin of the NetworkAttachmentDefinition `named` would attach a pod to.
    fn of_plugin(&self, named: &str, plugin: &CniPlugin) -> Result<Parent, PlanError> {
        match plugin {
            CniPlugin::Bridge { vlan: Some(vlan), .. } => Err(self.network_fault(format!(
                "{named:?} puts its port into VLAN {vlan}, which kubevmm does not do{}",
                self.or_tap()
            ))),
            CniPlugin::Bridge { bridge, vlan: None } => match self.given.survey.interface(bridge) {
                Some(Interface { kind: Kind::Bridge, .. }) | None => {
                    Ok(Parent::Bridge { name: bridge.clone(), create: true })
                }
                Some(_) => Err(self.host_fault(format!("the bridge {bridge:?} of {named:?} is no bridge here"))),
            },
            CniPlugin::Macvlan { master: Some(master) } | CniPlugin::Macvtap { master: Some(master) } => {
                self.on(master)
            }
            CniPlugin::Macvlan { master: None } | CniPlugin::Macvtap { master: None } => self.on(&self.usual()?),
            CniPlugin::HostDevice { device } => match self.on(device)? {
                Parent::Interface { name, .. } => Ok(Parent::Interface { name, mode: MacvtapMode::Passthru }),
                bridge @ Parent::Bridge { .. } => Ok(bridge),
            },
            CniPlugin::Sriov => Err(self.network_fault(format!(
                "{named:?} hands out cards that are passed through, which kubevmm does not do{}",
                self.or_tap()
            ))),
            CniPlugin::Other(plugin) => Err(self.network_fault(format!(
                "kubevmm does not know what the CNI plugin {plugin:?} of {named:?} makes: name the interface or bridge that \
                 the network is on with --multus {}=INTERFACE{}",
                self.interface.name,
                self.or_tap()
            ))),
        }
    }

    /// A port of the bridge, or a macvtap on the interface, of this name.
    fn on(&self, name: &str) -> Result<Parent, PlanError> {
        match self.given.survey.interface(name) {
            Some(Interface { kind: Kind::Bridge, .. }) => {
                Ok(Parent::Bridge { name: name.to_owned(), create: false })
            }
            Some(_) => Ok(Parent::Interface { name: name.to_owned(), mode: MacvtapMode::Bridge }),
            None => Err(self.host_fault(format!(
                "the network interface {name:?}, which its network is on, is not there: name another with --multus {}=INTERFACE",
                self.interface.name
            ))),
        }
    }

    /// The interface of networks that name none.
    fn usual(&self) -> Result<String, PlanError> {
        let primary = self.given.survey.primary().map(|primary| primary.name.clone());
        primary.ok_or_else(|| {
            self.host_fault(format!(
                "no interface has a default route: say which one the network is on with --multus {}=INTERFACE",
                self.interface.name
            ))
        })
    }
}
