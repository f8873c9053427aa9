//! Addresses, routes and neighbours: listing, making, removing, and putting back exactly what was there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Attributes, Received, u32_at};
use super::socket::Mode;
use super::{Address, Neighbour, Netlink, NetlinkError, Route, Scope};
use crate::{IpNet, MacAddress};

/// `struct ifaddrmsg`, `struct rtmsg` and `struct ndmsg`.
const ADDRESS_LEN: usize = 8;
const ROUTE_LEN: usize = 12;
const NEIGHBOUR_LEN: usize = 12;

/// `IFA_*`, linux/if_addr.h.
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
/// No detection of duplicates, which would keep the address from being used for a second.
const IFA_F_NODAD: u32 = 0x02;

/// `RTA_*`, linux/rtnetlink.h.
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_PRIORITY: u16 = 6;
const RTA_PREFSRC: u16 = 7;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const RTNH_F_ONLINK: u32 = 4;
const RTM_F_CLONED: u32 = 0x200;

/// `NDA_*` and `NUD_PERMANENT`, linux/neighbour.h.
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NUD_PERMANENT: u16 = 0x80;

impl Scope {
    fn number(self) -> u8 {
        match self {
            Self::Global => libc::RT_SCOPE_UNIVERSE,
            Self::Link => libc::RT_SCOPE_LINK,
            Self::Host => libc::RT_SCOPE_HOST,
            Self::Other(number) => number,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            libc::RT_SCOPE_UNIVERSE => Self::Global,
            libc::RT_SCOPE_LINK => Self::Link,
            libc::RT_SCOPE_HOST => Self::Host,
            other => Self::Other(other),
        }
    }
}

impl Netlink {
    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn addresses(&mut self) -> Result<Vec<Address>, NetlinkError> {
        self.socket.dump(libc::RTM_GETADDR, &[0; ADDRESS_LEN], "listing addresses", read_address)
    }

    /// The unicast routes of the main table. One that goes several ways at once (`nexthop …`) is left out.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn routes(&mut self) -> Result<Vec<Route>, NetlinkError> {
        self.socket.dump(libc::RTM_GETROUTE, &[0; ROUTE_LEN], "listing routes", read_route)
    }

    /// The stations known on all cables.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>, NetlinkError> {
        self.socket.dump(libc::RTM_GETNEIGH, &[0; NEIGHBOUR_LEN], "listing neighbours", read_neighbour)
    }

    /// Gives an interface an address, which is used at once. It may have it already.
    ///
    /// # Errors
    /// There is no such interface, the kernel has no such version of IP, or it is not allowed.
    pub fn add_address(&mut self, interface: u32, net: IpNet) -> Result<(), NetlinkError> {
        let mut message = Mode::Replace
            .message(libc::RTM_NEWADDR, &address_header(interface, net))
            .with(IFA_LOCAL, &octets(net.address()))
            .with(IFA_ADDRESS, &octets(net.address()));
        message = match broadcast(net) {
            Some(address) => message.with(IFA_BROADCAST, &address.octets()),
            None if net.is_v4() => message,
            None => message.with(IFA_FLAGS, &IFA_F_NODAD.to_ne_bytes()),
        };
        self.socket.ask(message, &format!("giving network interface {interface} the address {net}"))
    }

    /// Takes an address off an interface.
    ///
    /// # Errors
    /// It has no such address, or it is not allowed.
    pub fn remove_address(&mut self, interface: u32, net: IpNet) -> Result<(), NetlinkError> {
        let message = Mode::Change
            .message(libc::RTM_DELADDR, &address_header(interface, net))
            .with(IFA_LOCAL, &octets(net.address()));
        self.socket.ask(message, &format!("taking the address {net} off network interface {interface}"))
    }

    /// Makes a route in the main table.
    ///
    /// # Errors
    /// It exists, its gateway is not to be reached, or it is not allowed.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let message = Mode::Create.message(libc::RTM_NEWROUTE, &route_header(route));
        let message = describe_route(message, route);
        self.socket.ask(message, &format!("making the route to {}", route.destination))
    }

    /// Removes a route of the main table.
    ///
    /// # Errors
    /// It does not exist, or it is not allowed.
    pub fn remove_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let message = Mode::Change.message(libc::RTM_DELROUTE, &route_header(route));
        let message = describe_route(message, route);
        self.socket.ask(message, &format!("removing the route to {}", route.destination))
    }
}

fn describe_route(message: super::message::Message, route: &Route) -> super::message::Message {
    let mut message = message.with(RTA_OIF, &route.interface.to_ne_bytes());
    if !route.destination.is_everywhere() {
        message = message.with(RTA_DST, &octets(route.destination.network().address()));
    }
    if route.metric != 0 {
        message = message.with(RTA_PRIORITY, &route.metric.to_ne_bytes());
    }
    message = match route.gateway {
        Some(gateway) if gateway.is_ipv4() == route.destination.is_v4() => {
            message.with(RTA_GATEWAY, &octets(gateway))
        }
        Some(gateway) => {
            let mut via = u16::from(family(gateway)).to_ne_bytes().to_vec();
            via.extend(octets(gateway));
            message.with(RTA_VIA, &via)
        }
        None => message,
    };
    message.with_some(RTA_PREFSRC, route.source.map(octets))
}

fn family(address: IpAddr) -> u8 {
    // Both are small numbers.
    u8::try_from(if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }).unwrap_or_default()
}

pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into()))
}

/// The last address of an IPv4 network that has one to spare.
fn broadcast(net: IpNet) -> Option<Ipv4Addr> {
    let IpAddr::V4(address) = net.address() else { return None };
    let hosts = 32_u32.checked_sub(u32::from(net.prefix())).filter(|bits| *bits >= 2)?;
    let mask = u32::MAX.checked_shr(32_u32.saturating_sub(hosts)).unwrap_or(0);
    Some(Ipv4Addr::from_bits(address.to_bits() | mask))
}

/// `struct ifaddrmsg`.
fn address_header(interface: u32, net: IpNet) -> [u8; ADDRESS_LEN] {
    let scope = match net.address() {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => libc::RT_SCOPE_LINK,
        IpAddr::V4(v4) if v4.is_link_local() => libc::RT_SCOPE_LINK,
        _ => libc::RT_SCOPE_UNIVERSE,
    };
    let [a, b, c, d] = interface.to_ne_bytes();
    [family(net.address()), net.prefix(), 0, scope, a, b, c, d]
}

/// `struct rtmsg`.
fn route_header(route: &Route) -> [u8; ROUTE_LEN] {
    let flags = if route.on_link { RTNH_F_ONLINK } else { 0 };
    let [a, b, c, d] = flags.to_ne_bytes();
    let net = route.destination;
    let kind = libc::RTN_UNICAST;
    [
        family(net.address()),
        net.prefix(),
        0,
        0,
        libc::RT_TABLE_MAIN,
        route.protocol,
        route.scope.number(),
        kind,
        a,
        b,
        c,
        d,
    ]
}

fn read_address(received: &Received<'_>) -> Option<Address> {
    let &[_, prefix, flags, scope, ..] = received.body else { return None };
    let all = received.attributes(ADDRESS_LEN);
    let given = |kind| all.find(kind).and_then(address_of);
    let (local, other) = (given(IFA_LOCAL), given(IFA_ADDRESS));
    let address = local.or(other)?;
    let flags = all.u32(IFA_FLAGS).unwrap_or_else(|| u32::from(flags));
    Some(Address {
        interface: u32_at(received.body, 4)?,
        net: IpNet::new(address, prefix)?,
        peer: other.filter(|other| *other != address),
        broadcast: given(IFA_BROADCAST),
        scope: Scope::from_number(scope),
        permanent: flags & IFA_F_PERMANENT != 0,
    })
}

fn read_route(received: &Received<'_>) -> Option<Route> {
    let &[family, prefix, _, _, table, protocol, scope, kind, ..] = received.body else { return None };
    let flags = u32_at(received.body, 8)?;
    let all = received.attributes(ROUTE_LEN);
    let table = all.u32(RTA_TABLE).unwrap_or_else(|| u32::from(table));
    if table != u32::from(libc::RT_TABLE_MAIN) || kind != libc::RTN_UNICAST || flags & RTM_F_CLONED != 0 {
        return None;
    }
    let everywhere = if i32::from(family) == libc::AF_INET {
        IpNet::EVERYWHERE_V4
    } else if i32::from(family) == libc::AF_INET6 {
        IpNet::EVERYWHERE_V6
    } else {
        return None;
    };
    let destination = match all.find(RTA_DST) {
        Some(bytes) => IpNet::new(address_of(bytes)?, prefix)?,
        None => everywhere,
    };
    Some(Route {
        destination,
        gateway: gateway(all),
        interface: all.u32(RTA_OIF)?,
        source: all.find(RTA_PREFSRC).and_then(address_of),
        metric: all.u32(RTA_PRIORITY).unwrap_or(0),
        scope: Scope::from_number(scope),
        protocol,
        on_link: flags & RTNH_F_ONLINK != 0,
    })
}

/// An address of the route's own family, or of the other one behind its number.
fn gateway(all: Attributes<'_>) -> Option<IpAddr> {
    let own = all.find(RTA_GATEWAY).and_then(address_of);
    own.or_else(|| all.find(RTA_VIA).and_then(|via| address_of(via.get(2..)?)))
}

fn read_neighbour(received: &Received<'_>) -> Option<Neighbour> {
    let all = received.attributes(NEIGHBOUR_LEN);
    Some(Neighbour {
        interface: u32_at(received.body, 4)?,
        address: all.find(NDA_DST).and_then(address_of)?,
        mac: all.find(NDA_LLADDR).and_then(MacAddress::from_slice),
        permanent: super::message::u16_at(received.body, 8)? & NUD_PERMANENT != 0,
    })
}
