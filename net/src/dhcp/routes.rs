//! Routes for option 121, and how a pod's routes become a guest's.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

/// A route of the guest (RFC 3442).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route4 {
    /// First address that it leads to.
    pub destination: Ipv4Addr,
    /// Length of the destination's prefix, 0 to 32; 0 is the default route.
    pub prefix: u8,
    /// The gateway; none: the destination is on the link.
    pub via: Option<Ipv4Addr>,
}

/// A route of a pod's interface, as the kernel lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodRoute {
    /// Where it leads; none for the default route.
    pub destination: Option<(Ipv4Addr, u8)>,
    /// The gateway, if there is one.
    pub gateway: Option<Ipv4Addr>,
    /// The source address that the route prefers.
    pub source: Option<Ipv4Addr>,
}

/// What a guest that takes over a pod's `address` is given of the routes of the pod's interface: its default gateway,
/// and its other routes.
///
/// As KubeVirt does (`pkg/network/link/discovery.go`): the kernel's own routes, which have the pod's address as their
/// source, come back with the address; nothing is said of a lone default route, which the gateway tells already. With
/// more routes the default one is among them, because a client that gets any ignores the gateway (RFC 3442).
pub fn routes_of_pod(routes: &[PodRoute], address: Ipv4Addr) -> (Option<Ipv4Addr>, Vec<Route4>) {
    let defaults = routes.iter().filter(|route| route.destination.is_none_or(|(_, prefix)| prefix == 0));
    let gateway = defaults.filter_map(|route| route.gateway).next();
    let others = routes.iter().filter_map(|route| {
        let (destination, prefix) = route.destination.filter(|(_, prefix)| *prefix > 0)?;
        let own = route.source == Some(address);
        (!own).then_some(Route4 { destination, prefix, via: route.gateway })
    });
    let mut others = others.collect::<Vec<_>>();
    if let Some(via) = gateway.filter(|_| !others.is_empty()) {
        others.push(Route4 { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, via: Some(via) });
    }
    (gateway, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn a_plain_pod_gives_its_gateway_only() {
        let routes = [
            PodRoute { destination: None, gateway: Some(ip("10.244.0.1")), source: None },
            PodRoute {
                destination: Some((ip("10.244.0.0"), 24)),
                gateway: None,
                source: Some(ip("10.244.0.7")),
            },
        ];
        assert_eq!(routes_of_pod(&routes, ip("10.244.0.7")), (Some(ip("10.244.0.1")), Vec::new()));
        assert_eq!(routes_of_pod(&[], ip("10.244.0.7")), (None, Vec::new()));
    }

    /// Calico's pods have an address of its own prefix, and a gateway that only a route of its own leads to.
    #[test]
    fn a_gateway_beyond_the_subnet_comes_with_its_route() {
        let routes = [
            PodRoute { destination: None, gateway: Some(ip("169.254.1.1")), source: None },
            PodRoute { destination: Some((ip("169.254.1.1"), 32)), gateway: None, source: None },
        ];
        let (gateway, others) = routes_of_pod(&routes, ip("192.168.3.9"));
        assert_eq!(gateway, Some(ip("169.254.1.1")));
        let on_link = Route4 { destination: ip("169.254.1.1"), prefix: 32, via: None };
        let default = Route4 { destination: ip("0.0.0.0"), prefix: 0, via: gateway };
        assert_eq!(others, [on_link, default]);
    }
}
