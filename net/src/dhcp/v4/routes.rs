//! Classless static routes (RFC 3442).

use std::net::Ipv4Addr;

use super::options::LONGEST;
use crate::dhcp::{Lease4, Route4, mask};

/// Bytes of a default route, which has its place whatever else has to be left out.
const DEFAULT_LEN: usize = 5;

/// The value of option 121: what is on the link comes first and the default route last, so that each gateway can be
/// reached when its route is made. Nothing where the router's own option says all there is.
pub(super) fn routes(lease: &Lease4) -> Vec<u8> {
    let mut routes = lease.routes.clone();
    routes.extend(missing(lease));
    routes.sort_by_key(|route| (route.prefix == 0, route.via.is_some()));
    let mut bytes = Vec::new();
    for route in &routes {
        let encoded = encode(route);
        let room = if route.prefix == 0 { LONGEST } else { LONGEST - DEFAULT_LEN };
        if bytes.len() + encoded.len() <= room {
            bytes.extend(encoded);
        }
    }
    bytes
}

/// The significant part of the destination, and the gateway; on the link that is all zeros.
fn encode(route: &Route4) -> Vec<u8> {
    let prefix = route.prefix.min(32);
    let mut bytes = vec![prefix];
    bytes.extend(route.destination.octets().iter().take(usize::from(prefix.div_ceil(8))));
    bytes.extend(route.via.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    bytes
}

/// What has to be added: a client that gets routes ignores the router's option, so that the default route must be among
/// them; and a gateway beyond the subnet needs a route of its own first.
fn missing(lease: &Lease4) -> Vec<Route4> {
    let Some(gateway) = lease.router else { return Vec::new() };
    let within =
        |network: Ipv4Addr, prefix| network.to_bits() & mask(prefix) == gateway.to_bits() & mask(prefix);
    let on_link = |route: &Route4| route.via.is_none() && within(route.destination, route.prefix);
    let reached = within(lease.address, lease.prefix) || lease.routes.iter().any(on_link);
    let mut missing = Vec::new();
    if !reached {
        missing.push(Route4 { destination: gateway, prefix: 32, via: None });
    }
    let has_default = lease.routes.iter().any(|route| route.prefix == 0);
    let told_already = reached && lease.routes.is_empty();
    if !has_default && !told_already {
        missing.push(Route4 { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, via: Some(gateway) });
    }
    missing
}
