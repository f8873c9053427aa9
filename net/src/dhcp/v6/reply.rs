//! What the client is told.

use std::net::Ipv6Addr;

use super::request::{
    Association, CLIENT_ID, IA_ADDRESS, IA_NA, IA_PD, IA_TA, Kind, RAPID_COMMIT, Request, SERVER_ID,
};
use crate::dhcp::Lease6;
use crate::dhcp::names::plain;

const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;

const STATUS: u16 = 13;
const DNS: u16 = 23;
const SEARCH: u16 = 24;

/// Status codes (RFC 8415 §21.13).
const SUCCESS: u16 = 0;
const NO_ADDRESSES: u16 = 2;
const NOT_ON_LINK: u16 = 4;
const NO_PREFIX: u16 = 6;

/// Most bytes of search domains.
const MOST_NAMES: usize = 512;

/// Options in the making.
#[derive(Default)]
struct Options(Vec<u8>);

impl Options {
    fn put(&mut self, code: u16, value: &[u8]) {
        // Nothing here comes near 64 KiB.
        let len = u16::try_from(value.len()).unwrap_or_default();
        self.0.extend_from_slice(&code.to_be_bytes());
        self.0.extend_from_slice(&len.to_be_bytes());
        self.0.extend_from_slice(value);
    }

    fn status(&mut self, code: u16) {
        self.put(STATUS, &code.to_be_bytes());
    }
}

pub(super) fn reply(lease: &Lease6, server: &[u8], request: &Request<'_>) -> Vec<u8> {
    let advertises = request.kind == Kind::Solicit && !request.rapid;
    let mut options = Options::default();
    options.put(SERVER_ID, server);
    if let Some(client) = request.client {
        options.put(CLIENT_ID, client);
    }
    if request.kind == Kind::Solicit && request.rapid {
        options.put(RAPID_COMMIT, &[]);
    }
    match request.kind {
        Kind::Solicit | Kind::Request | Kind::Renew | Kind::Rebind => give(lease, request, &mut options),
        Kind::Confirm => options.status(confirmed(lease, request)),
        Kind::Release | Kind::Decline => options.status(SUCCESS),
        Kind::Information => {}
    }
    if !lease.dns.is_empty() {
        let servers = lease.dns.iter().flat_map(Ipv6Addr::octets).collect::<Vec<_>>();
        options.put(DNS, &servers);
    }
    let search = plain(&lease.search, MOST_NAMES);
    if !search.is_empty() {
        options.put(SEARCH, &search);
    }
    let mut message = vec![if advertises { ADVERTISE } else { REPLY }];
    message.extend_from_slice(&request.transaction);
    message.append(&mut options.0);
    message
}

/// The client asks whether its addresses still suit the link (RFC 8415 §18.3.3).
fn confirmed(lease: &Lease6, request: &Request<'_>) -> u16 {
    let mut addresses = request.associations.iter().flat_map(|association| &association.addresses);
    if addresses.all(|address| *address == lease.address) { SUCCESS } else { NOT_ON_LINK }
}

/// The first association for a permanent address gets the one there is, the others are told that there is no more.
fn give(lease: &Lease6, request: &Request<'_>, options: &mut Options) {
    let first = request.associations.iter().position(|association| association.code == IA_NA);
    for (index, association) in request.associations.iter().enumerate() {
        let given = Some(index) == first;
        let mut value = Options(association.id.to_vec());
        if association.code != IA_TA {
            // When to renew and to rebind (RFC 8415 §21.4): after half and four fifths of the time.
            let part = |fifths: u32| if given { lease.seconds / 10 * fifths } else { 0 };
            value.0.extend_from_slice(&part(5).to_be_bytes());
            value.0.extend_from_slice(&part(8).to_be_bytes());
        }
        match association.code {
            IA_NA if given => addresses(lease, association, &mut value),
            IA_PD => value.status(NO_PREFIX),
            _ => value.status(NO_ADDRESSES),
        }
        options.put(association.code, &value.0);
    }
}

/// The lease's address, and the end of those that the client thinks are its own.
fn addresses(lease: &Lease6, association: &Association, options: &mut Options) {
    let mut put = |address: Ipv6Addr, seconds: u32| {
        let mut value = address.octets().to_vec();
        value.extend_from_slice(&seconds.to_be_bytes());
        value.extend_from_slice(&seconds.to_be_bytes());
        options.put(IA_ADDRESS, &value);
    };
    put(lease.address, lease.seconds);
    association
        .addresses
        .iter()
        .filter(|address| **address != lease.address)
        .for_each(|address| put(*address, 0));
}
