//! Addresses and routes of an interface as the kernel itself describes them, to be put back exactly.

use serde::{Deserialize, Serialize};

use super::message::{Attributes, Message, Received, u32_at};
use super::socket::Mode;
use super::{Netlink, NetlinkError};

const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RTA_TABLE: u16 = 15;
const RTA_VIA: u16 = 18;
const IFA_FLAGS: u16 = 8;
const IFA_F_PERMANENT: u32 = 0x80;
const ADDRESS_LEN: usize = 8;
const ROUTE_LEN: usize = 12;
/// Of a route's flags those that a request may have: `RTNH_F_PERVASIVE` and `RTNH_F_ONLINK`. The others are its state.
const REQUEST_FLAGS: u32 = 0x02 | 0x04;
const RTM_F_CLONED: u32 = 0x200;

/// One address or route, with everything that the kernel says of it (lifetimes, labels, metrics, several next hops).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    kind: SavedKind,
    /// The kernel's message without its header, in hexadecimal digits.
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum SavedKind {
    Address,
    Route,
}

impl Netlink {
    /// All that has to be put back, in order, if the addresses of `interface` are taken off it: those that somebody
    /// set (not what the kernel finds out by itself), then the routes out of it, those to gateways last.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn save(&mut self, interface: u32) -> Result<Vec<Saved>, NetlinkError> {
        let doing = "reading the addresses and routes of a network interface";
        let addresses = self
            .socket
            .dump(libc::RTM_GETADDR, &[0; ADDRESS_LEN], doing, |received| address(received, interface))?;
        let mut routes = self
            .socket
            .dump(libc::RTM_GETROUTE, &[0; ROUTE_LEN], doing, |received| route(received, interface))?;
        routes.sort_by_key(|(through_gateway, _)| *through_gateway);
        Ok(addresses.into_iter().chain(routes.into_iter().map(|(_, saved)| saved)).collect())
    }

    /// Puts back what was saved. It may be there already.
    ///
    /// # Errors
    /// The interface or a gateway is not there, or it is not allowed.
    pub fn put_back(&mut self, saved: &Saved) -> Result<(), NetlinkError> {
        let doing = match saved.kind {
            SavedKind::Address => "putting an address back",
            SavedKind::Route => "putting a route back",
        };
        let body = from_hex(&saved.message).ok_or_else(|| NetlinkError::Nonsense { doing: doing.into() })?;
        let message: Message = match saved.kind {
            SavedKind::Address => Mode::Create.message(libc::RTM_NEWADDR, &body),
            SavedKind::Route => Mode::Create.message(libc::RTM_NEWROUTE, &body),
        };
        match self.socket.ask(message, doing) {
            Err(error) if error.is_existing() => Ok(()),
            result => result,
        }
    }
}

fn address(received: &Received<'_>, interface: u32) -> Option<Saved> {
    let &[_, _, flags, scope, ..] = received.body else { return None };
    let flags = received.attributes(ADDRESS_LEN).u32(IFA_FLAGS).unwrap_or_else(|| u32::from(flags));
    let is_v6 = received.body.first().map(|family| i32::from(*family)) == Some(libc::AF_INET6);
    // The kernel makes link-local addresses, and those that routers announce, anew by itself.
    let by_kernel = is_v6 && (scope == libc::RT_SCOPE_LINK || flags & IFA_F_PERMANENT == 0);
    let wanted = u32_at(received.body, 4) == Some(interface) && !by_kernel;
    wanted.then(|| Saved { kind: SavedKind::Address, message: to_hex(received.body) })
}

fn route(received: &Received<'_>, interface: u32) -> Option<(bool, Saved)> {
    let &[family, _, _, _, table, protocol, _, kind, ..] = received.body else { return None };
    let flags = u32_at(received.body, 8)?;
    let all = received.attributes(ROUTE_LEN);
    let table = all.u32(RTA_TABLE).unwrap_or_else(|| u32::from(table));
    let is_v6 = i32::from(family) == libc::AF_INET6;
    // The kernel's own: local and broadcast addresses, and for IPv6 all that comes with an address or a router.
    let by_kernel = table == u32::from(libc::RT_TABLE_LOCAL)
        || kind != libc::RTN_UNICAST
        || flags & RTM_F_CLONED != 0
        || (is_v6 && matches!(protocol, libc::RTPROT_KERNEL | ROUTER));
    if by_kernel || all.u32(RTA_OIF) != Some(interface) {
        return None;
    }
    let mut body = received.body.to_vec();
    if let Some(place) = body.get_mut(8..12) {
        place.copy_from_slice(&(flags & REQUEST_FLAGS).to_ne_bytes());
    }
    let saved = Saved { kind: SavedKind::Route, message: to_hex(&body) };
    Some((has_gateway(all), saved))
}

/// `RTPROT_RA`: learnt from a router.
const ROUTER: u8 = 9;

fn has_gateway(all: Attributes<'_>) -> bool {
    all.find(RTA_GATEWAY).is_some() || all.find(RTA_VIA).is_some()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|d| char::from_digit(d.into(), 16))
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()));
    let digits = digits.collect::<Option<Vec<_>>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_survive_as_text() {
        let bytes = (0..=255).collect::<Vec<u8>>();
        assert_eq!(from_hex(&to_hex(&bytes)).unwrap(), bytes);
        assert_eq!(from_hex("abc"), None);
        assert_eq!(from_hex("zz"), None);
    }
}
