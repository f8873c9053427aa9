//! What the client is told.

use std::net::Ipv4Addr;

use super::options::Options;
use super::request::{BROADCAST, ETHERNET, FILE_LEN, NAME_LEN, Request};
use super::told::tell;
use crate::dhcp::{Lease4, Leased};
use crate::wire::{Mac, Malformed};

const BOOT_REPLY: u8 = 2;
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;
/// Shortest message (RFC 1542 §2.1).
const SHORTEST: usize = 300;

/// A message and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) to_mac: Mac,
    pub(crate) to: Ipv4Addr,
    pub(crate) message: Vec<u8>,
    pub(crate) leased: Option<Leased>,
    /// Options for which there was no room.
    pub(crate) left_out: u64,
}

/// Answers DISCOVER.
pub(super) fn offer(lease: &Lease4, request: &Request) -> Reply {
    reply(lease, request, OFFER, lease.address)
}

/// Answers REQUEST (RFC 2131 §4.3.2): the client selects this server, or asks again for what it has.
pub(super) fn acknowledge(lease: &Lease4, request: &Request) -> Result<Reply, Malformed> {
    let in_use = Some(request.in_use).filter(|address| !address.is_unspecified());
    match request.wanted.or(in_use) {
        None => Err(Malformed),
        Some(address) if address == lease.address => {
            Ok(Reply { leased: Some(Leased::Taken), ..reply(lease, request, ACK, lease.address) })
        }
        Some(_) => Ok(reply(lease, request, NAK, Ipv4Addr::UNSPECIFIED)),
    }
}

/// Answers INFORM: everything but an address (RFC 2131 §4.3.5).
pub(super) fn inform(lease: &Lease4, request: &Request) -> Result<Reply, Malformed> {
    if request.in_use.is_unspecified() {
        return Err(Malformed);
    }
    Ok(reply(lease, request, ACK, Ipv4Addr::UNSPECIFIED))
}

fn reply(lease: &Lease4, request: &Request, kind: u8, address: Ipv4Addr) -> Reply {
    let mut options = Options::for_client(request.longest);
    options.put(53, &[kind]);
    options.put(54, &lease.server.octets());
    if !address.is_unspecified() {
        options.put(51, &lease.seconds.to_be_bytes());
    }
    if !request.identifier.is_empty() {
        options.put(61, &request.identifier);
    }
    if kind != NAK {
        tell(lease, &mut options);
    }
    let (to_mac, to) = destination(request, kind, address);
    let left_out = options.left_out();
    Reply { to_mac, to, message: message(request, address, options), leased: None, left_out }
}

/// RFC 2131 §4.1: to the address that the client has or is about to get, unless it cannot receive that yet.
fn destination(request: &Request, kind: u8, address: Ipv4Addr) -> (Mac, Ipv4Addr) {
    if kind == NAK || (request.in_use.is_unspecified() && request.flags & BROADCAST != 0) {
        return ([0xff; 6], Ipv4Addr::BROADCAST);
    }
    let to = if request.in_use.is_unspecified() { address } else { request.in_use };
    (request.client, to)
}

fn message(request: &Request, address: Ipv4Addr, options: Options) -> Vec<u8> {
    let mut message = vec![BOOT_REPLY];
    message.extend_from_slice(&ETHERNET);
    message.push(0);
    message.extend_from_slice(&request.transaction);
    message.extend_from_slice(&request.seconds.to_be_bytes());
    message.extend_from_slice(&request.flags.to_be_bytes());
    message.extend_from_slice(&request.in_use.octets());
    message.extend_from_slice(&address.octets());
    // Neither another server nor a relay.
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&request.hardware);
    let areas = options.finish();
    let mut field = |bytes: &[u8], len| {
        let end = message.len() + len;
        message.extend_from_slice(bytes);
        message.resize(end, 0);
    };
    field(&areas.name, NAME_LEN);
    field(&areas.file, FILE_LEN);
    message.extend_from_slice(&areas.options);
    message.resize(message.len().max(SHORTEST), 0);
    message
}
