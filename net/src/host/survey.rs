//! What the network namespace looks like before anything is made in it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Resolver;
use crate::netlink::{Address, Interface, Route, Scope};

/// A picture of a network namespace, and of what this process may do in it. All that a plan knows of the host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// All interfaces, by index.
    pub interfaces: Vec<Interface>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The routes of the main table, of both versions of IP.
    pub routes: Vec<Route>,
    /// Of `/etc/resolv.conf`.
    pub resolver: Resolver,
    /// The host's or the pod's name.
    pub hostname: String,
    /// What may be done.
    pub rights: Rights,
    /// Where the program `passt` is, if it is in `PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passt: Option<PathBuf>,
    /// Whether the namespace is a Kubernetes pod's.
    pub in_pod: bool,
}

/// What this process may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rights {
    /// Make and change interfaces, addresses, routes and rules (`CAP_NET_ADMIN` over this network namespace).
    pub configure: bool,
    /// Open `/dev/net/tun`.
    pub tun: bool,
}

impl Survey {
    /// The interface of that name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The addresses of an interface.
    pub fn addresses_of<'a>(&'a self, interface: &Interface) -> impl Iterator<Item = &'a Address> + use<'a> {
        let index = interface.index;
        self.addresses.iter().filter(move |address| address.interface == index)
    }

    /// The routes out of an interface, the most wanted of a destination first.
    pub fn routes_of(&self, interface: &Interface) -> Vec<&Route> {
        let mut routes = self.routes.iter().filter(|r| r.interface == interface.index).collect::<Vec<_>>();
        routes.sort_by_key(|route| route.metric);
        routes
    }

    /// The first address of an interface that is valid everywhere, of IPv4 or of IPv6.
    pub fn global_address(&self, interface: &Interface, v4: bool) -> Option<&Address> {
        self.addresses_of(interface).find(move |a| a.net.is_v4() == v4 && a.scope == Scope::Global)
    }

    /// The interface that stands for the pod network: `eth0` in a pod; elsewhere the one that the most wanted
    /// default route of IPv4 leaves by, or else that of IPv6.
    pub fn primary(&self) -> Option<&Interface> {
        let by_route = || self.default_route(true).or_else(|| self.default_route(false)).map(|r| r.interface);
        let pods = self.in_pod.then(|| self.interface(super::POD_PRIMARY)).flatten();
        pods.or_else(|| by_route().and_then(|index| self.by_index(index)))
    }

    /// The interface of that index.
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    fn default_route(&self, v4: bool) -> Option<&Route> {
        let of_family = |r: &&Route| r.destination.is_everywhere() && r.destination.is_v4() == v4;
        self.routes.iter().filter(of_family).min_by_key(|route| route.metric)
    }
}
