//! Making what each binding needs.

use std::thread;
use std::time::Duration;

use super::maker::{Maker, random_mac};
use super::record::Step;
use super::setting::{self, FORWARD_V4, FORWARD_V6};
use super::{Behind, Made, SetupError, Wanted};
use crate::netlink::{Interface, NetlinkError, NewKind, PortSettings};
use crate::nft::{Masquerade, Nft};
use crate::{IpNet, MacAddress, Tap};

/// The mark of bridges that several machines are on, besides what it has of the owner on others.
pub(super) const SHARED: &str = "kubevmm:shared";

/// How often a bridge is looked at that was made and is not marked yet: for a second at least, of which a host that stands still for a
/// moment takes no more than one look.
const LOOKS: u32 = 500;
/// The time between two looks.
const PAUSE: Duration = Duration::from_millis(2);

impl Maker<'_> {
    pub(super) fn make(&mut self, wanted: &Wanted) -> Result<Made, SetupError> {
        let tap = match wanted {
            Wanted::PodBridge { pod, tap, bridge, queues, mtu, address } => {
                let bridge = self.pod_bridge(pod, bridge, *mtu, *address)?;
                self.tap(tap, *queues, *mtu, bridge)?
            }
            Wanted::Masquerade { outside, tap, bridge, bridge_mac, queues, mtu, networks, forwards } => {
                let rules = Masquerade {
                    outside: outside.clone(),
                    bridge: bridge.clone(),
                    families: networks.clone(),
                    forwards: forwards.clone(),
                    spare_migration: false,
                    istio: None,
                };
                let bridge = self.masquerade(&rules, *bridge_mac, *mtu)?;
                self.tap(tap, *queues, *mtu, bridge)?
            }
            Wanted::BridgePort { bridge, create, tap, queues, mtu } => {
                self.bridge_port(bridge, *create, tap, *queues, *mtu)?
            }
            Wanted::Macvtap { parent, name, mac, mode, queues, mtu } => {
                let parent = self.netlink.interface(parent)?;
                let kind = NewKind::Macvtap { parent: parent.index, mode: *mode };
                let index = self.interface(name, kind, *mac, *mtu)?;
                self.no_ipv6(name)?;
                self.netlink.set_up(index, true)?;
                Tap::open(name, *queues)?
            }
        };
        Ok(Made { interface: wanted.interface().to_owned(), tap })
    }

    /// The pod's interface becomes a port of a bridge, and a dummy takes its name and its addresses.
    fn pod_bridge(
        &mut self,
        pod: &str,
        bridge: &str,
        mtu: u32,
        address: Option<IpNet>,
    ) -> Result<u32, SetupError> {
        let pod = self.netlink.interface(pod)?;
        let mac = random_mac();
        let index = self.interface(bridge, NewKind::Bridge, mac, Some(mtu))?;
        self.no_ipv6(bridge)?;
        if let Some(address) = address {
            // The guest has the pod's addresses: nobody here may answer for them.
            setting::write(&setting::of_interface("ipv4", bridge, "arp_ignore"), "1")?;
            self.netlink.add_address(index, address)?;
        }
        let addresses = self.take_addresses(&pod)?;
        self.rename_and_change_mac(&pod, mac)?;
        self.will(Step::Port { interface: pod.index, bridge: index })?;
        self.netlink.set_master(pod.index, Some(index))?;
        self.netlink.set_port(pod.index, PortSettings { learning: Some(false), hairpin: None })?;
        self.netlink.set_up(pod.index, true)?;
        self.netlink.set_up(index, true)?;
        self.stand_in(&pod, &addresses)?;
        Ok(index)
    }

    /// The guest will have the interface's address, so the interface cannot keep it; the dummy will have its name.
    fn rename_and_change_mac(&mut self, pod: &Interface, mac: MacAddress) -> Result<(), SetupError> {
        let short = pod.name.strip_prefix("pod").unwrap_or(&pod.name);
        let end = short.floor_char_boundary(LONGEST_NAME - SUFFIX.len());
        let after = format!("{}{SUFFIX}", short.get(..end).unwrap_or_default());
        self.will(Step::Renamed { interface: pod.index, before: pod.name.clone(), after: after.clone() })?;
        self.netlink.set_up(pod.index, false)?;
        self.netlink.rename(pod.index, &after)?;
        if let Some(before) = pod.mac {
            self.will(Step::Mac { interface: pod.index, before, after: mac })?;
            self.netlink.set_mac(pod.index, mac)?;
        }
        Ok(())
    }

    /// Whoever looks for the pod's interface and addresses finds them on a dummy that is switched off, so that the
    /// addresses are not this host's. A kernel without dummies does without.
    fn stand_in(&mut self, pod: &Interface, addresses: &[IpNet]) -> Result<(), SetupError> {
        let mac = pod.mac.unwrap_or_else(random_mac);
        let index = match self.interface(&pod.name, NewKind::Dummy, mac, Some(pod.mtu)) {
            Err(SetupError::Netlink(error)) if error.errno() == Some(libc::EOPNOTSUPP) => return Ok(()),
            result => result?,
        };
        for address in addresses {
            match self.netlink.add_address(index, *address) {
                // IPv6 may be off for new interfaces.
                Err(NetlinkError::Refused { .. }) if !address.is_v4() => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// A bridge of the guest's own with its gateway's addresses, and the rules to and from it.
    fn masquerade(&mut self, rules: &Masquerade, mac: MacAddress, mtu: u32) -> Result<u32, SetupError> {
        self.no_overlap(&rules.families, &rules.bridge)?;
        let index = self.interface(&rules.bridge, NewKind::Bridge, mac, Some(mtu))?;
        let of_bridge = |version, key| setting::of_interface(version, &rules.bridge, key);
        let has = |v4| rules.families.iter().any(|ends| ends.guest.is_v4() == v4);
        if has(true) {
            // So that connections from this host to its own ports can be sent to the guest.
            setting::write(&of_bridge("ipv4", "route_localnet"), "1")?;
        }
        for (key, value) in [("accept_ra", "0"), ("autoconf", "0"), ("accept_dad", "0")] {
            setting::write_if_there(&of_bridge("ipv6", key), value)?;
        }
        setting::write_if_there(&of_bridge("ipv6", "disable_ipv6"), if has(false) { "0" } else { "1" })?;
        for ends in &rules.families {
            self.netlink.add_address(index, ends.gateway)?;
        }
        self.forwarding(rules, has(true), has(false))?;
        let table = table_of(&rules.bridge);
        self.will(Step::Rules { table: table.clone() })?;
        let mut nft = Nft::open()?;
        match nft.make(&table, rules) {
            // A dead run of this machine has left it.
            Err(error) if error.is_existing() => {
                nft.delete(&table)?;
                nft.make(&table, rules)?;
            }
            result => result?,
        }
        self.netlink.set_up(index, true)?;
        Ok(index)
    }

    fn forwarding(&mut self, rules: &Masquerade, v4: bool, v6: bool) -> Result<(), SetupError> {
        if v4 {
            self.setting(FORWARD_V4, "1")?;
        }
        if !v6 {
            return Ok(());
        }
        if let Some(outside) = &rules.outside {
            // A host that forwards no longer listens to routers, and would forget its own default route, unless told so.
            let outside = self.netlink.interface(outside)?;
            let path = setting::of_interface("ipv6", &outside.name, "accept_ra");
            if setting::read(&path)?.as_deref() == Some("1") {
                self.interface_setting(&outside, "ipv6", "accept_ra", "2")?;
            }
        }
        self.setting(FORWARD_V6, "1")
    }

    /// No other interface may have an address in the guest's network: answers would go there. That a wider network of
    /// the host has it in it does no harm, since the narrower one counts.
    fn no_overlap(&mut self, families: &[Behind], bridge: &str) -> Result<(), SetupError> {
        let interfaces = self.netlink.interfaces()?;
        for address in self.netlink.addresses()? {
            let name = interfaces.iter().find(|i| i.index == address.interface).map(|i| i.name.as_str());
            let gateways = families.iter().map(|ends| ends.gateway);
            let other =
                gateways.map(|gateway| gateway.network()).find(|net| net.contains(address.net.address()));
            if let (Some(network), Some(name)) = (other, name.filter(|name| *name != bridge)) {
                return Err(SetupError::Overlap { network, other: address.net, interface: name.to_owned() });
            }
        }
        Ok(())
    }

    /// A tap on a bridge that others are on.
    fn bridge_port(
        &mut self,
        name: &str,
        create: bool,
        tap: &str,
        queues: u16,
        mtu: Option<u32>,
    ) -> Result<Tap, SetupError> {
        if create {
            match self.shared_bridge(name, mtu) {
                // Somebody else was faster.
                Err(SetupError::Netlink(error)) if error.is_existing() => {}
                result => result?,
            }
        }
        let bridge = self.settled_bridge(name)?;
        if bridge.alias.as_deref() == Some(SHARED) {
            self.will(Step::SharedBridge { index: bridge.index, name: name.to_owned() })?;
        }
        self.tap(tap, queues, mtu.unwrap_or(bridge.mtu), bridge.index)
    }

    /// A bridge that has its mark, if it is ever to have one: another machine that makes it at this moment marks it before it
    /// switches it on.
    fn settled_bridge(&mut self, name: &str) -> Result<Interface, SetupError> {
        for _ in 0..LOOKS {
            let bridge = self.bridge(name)?;
            if bridge.up || bridge.alias.is_some() {
                return Ok(bridge);
            }
            thread::sleep(PAUSE);
        }
        self.bridge(name)
    }

    fn shared_bridge(&mut self, name: &str, mtu: Option<u32>) -> Result<(), SetupError> {
        if self.netlink.interfaces()?.iter().any(|interface| interface.name == name) {
            return Ok(());
        }
        let index = super::maker::random_index();
        self.will(Step::SharedBridge { index, name: name.to_owned() })?;
        self.netlink.create(&crate::netlink::NewInterface {
            name,
            kind: NewKind::Bridge,
            mac: Some(random_mac()),
            mtu,
            index: Some(index),
        })?;
        self.netlink.set_alias(index, SHARED)?;
        self.no_ipv6(name)?;
        Ok(self.netlink.set_up(index, true)?)
    }
}

/// What KubeVirt appends to the name of a pod's interface (pkg/network/link/names.go).
const SUFFIX: &str = "-nic";
const LONGEST_NAME: usize = 15;

/// The table with the rules of a guest's bridge.
pub(super) fn table_of(bridge: &str) -> String {
    format!("kubevmm-{}", super::names::hash(bridge))
}
