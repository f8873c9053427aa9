//! The small instructions that a rule of nf_tables consists of (linux/netfilter/nf_tables.h).
//!
//! Numbers are big-endian in this family; what is compared with packets is in the packets' own order.

use std::net::IpAddr;

use super::rules::{Chain, Match, Ports, Protocol, Verdict};
use crate::netlink::message::Message;

/// `NFTA_LIST_ELEM`, `NFTA_EXPR_NAME`, `NFTA_EXPR_DATA`.
pub(super) const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
/// `NFTA_DATA_VALUE`, `NFTA_DATA_VERDICT`, and of the latter `NFTA_VERDICT_CODE` and `NFTA_VERDICT_CHAIN`.
pub(super) const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
/// `NFT_REG_VERDICT`, and `NFT_REG_1`, which holds 16 bytes.
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
/// `NFT_JUMP` and `NFT_RETURN`.
const JUMP: i32 = -3;
const RETURN: i32 = -5;
/// `NFT_META_IIFNAME`, `NFT_META_OIFNAME`, `NFT_META_L4PROTO`.
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;
/// `NFT_PAYLOAD_NETWORK_HEADER`, `NFT_PAYLOAD_TRANSPORT_HEADER`.
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;
/// `NFT_CMP_EQ`, `NFT_CMP_LTE`, `NFT_CMP_GTE`.
const EQUAL: u32 = 0;
const AT_MOST: u32 = 3;
const AT_LEAST: u32 = 5;
/// `NFT_NAT_SNAT`, `NFT_NAT_DNAT`.
const SNAT: u32 = 0;
const DNAT: u32 = 1;
/// `NFPROTO_IPV4`, `NFPROTO_IPV6`.
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// A set without a name of its own that a rule looks something up in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// Its number within the batch.
    pub(super) id: u32,
    /// What its elements are, in the numbers of the nft program: it is told to list them well.
    pub(super) key_type: u32,
    /// The elements, all of one length.
    pub(super) elements: Vec<Vec<u8>>,
}

/// nft's numbers of types (libnftables, `enum datatypes`).
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const TYPE_PORT: u32 = 13;

/// The instructions of one rule, and the sets they need.
#[derive(Debug)]
pub(super) struct Instructions {
    list: Message,
    pub(super) sets: Vec<Set>,
    next_set: u32,
}

impl Instructions {
    /// Adds the attributes of the instructions to `list`; sets are numbered from `next_set` on.
    pub(super) fn new(list: Message, next_set: u32) -> Self {
        Self { list, sets: Vec::new(), next_set }
    }

    /// The list, and the sets that have to be made before.
    pub(super) fn finish(self) -> (Message, Vec<Set>) {
        (self.list, self.sets)
    }

    /// Goes on only with packets that match.
    pub(super) fn matching(&mut self, wanted: &Match) {
        match wanted {
            Match::In(interface) => self.interface(META_IIFNAME, interface),
            Match::Out(interface) => self.interface(META_OIFNAME, interface),
            Match::From(addresses) => self.addresses(addresses, 12, 8),
            Match::To(addresses) => self.addresses(addresses, 16, 24),
            Match::Port(protocol, ports) => self.port(*protocol, ports),
        }
    }

    /// Counts.
    pub(super) fn counter(&mut self) {
        self.add("counter", |data| data);
    }

    /// Decides.
    pub(super) fn verdict(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Jump(chain) => self.go(JUMP, Some(*chain)),
            Verdict::Return => self.go(RETURN, None),
            Verdict::Masquerade => self.add("masq", |data| data),
            Verdict::Snat(address) => self.translate(SNAT, *address),
            Verdict::Dnat(address) => self.translate(DNAT, *address),
        }
    }

    fn interface(&mut self, key: u32, name: &str) {
        let mut padded = name.as_bytes().to_vec();
        padded.resize(libc::IFNAMSIZ, 0);
        self.meta(key);
        self.compare(EQUAL, &padded);
    }

    /// The address at one place of IPv4's header, or at another of IPv6's.
    fn addresses(&mut self, wanted: &[IpAddr], v4_offset: u32, v6_offset: u32) {
        let is_v4 = wanted.first().is_none_or(IpAddr::is_ipv4);
        let (offset, len, key_type) =
            if is_v4 { (v4_offset, 4, TYPE_IPV4) } else { (v6_offset, 16, TYPE_IPV6) };
        self.payload(NETWORK, offset, len);
        self.one_of(key_type, wanted.iter().map(|address| octets(*address)).collect());
    }

    fn port(&mut self, protocol: Protocol, ports: &Ports) {
        self.meta(META_L4PROTO);
        self.compare(EQUAL, &[protocol.number()]);
        self.payload(TRANSPORT, 2, 2);
        match ports {
            Ports::One(port) => self.compare(EQUAL, &port.to_be_bytes()),
            Ports::Range { first, last } => {
                self.compare(AT_LEAST, &first.to_be_bytes());
                self.compare(AT_MOST, &last.to_be_bytes());
            }
            Ports::Several(ports) => {
                self.one_of(TYPE_PORT, ports.iter().map(|port| port.to_be_bytes().to_vec()).collect());
            }
        }
    }

    /// What was loaded is one of these. A single one needs no set.
    fn one_of(&mut self, key_type: u32, elements: Vec<Vec<u8>>) {
        if let [one] = elements.as_slice() {
            return self.compare(EQUAL, one);
        }
        let id = self.next_set;
        self.next_set += 1;
        self.sets.push(Set { id, key_type, elements });
        // NFTA_LOOKUP_SET, NFTA_LOOKUP_SREG, NFTA_LOOKUP_SET_ID.
        self.add("lookup", |data| {
            data.with_text(1, super::batch::ANONYMOUS).with(2, &be(REGISTER)).with(4, &be(id))
        });
    }

    fn meta(&mut self, key: u32) {
        // NFTA_META_DREG, NFTA_META_KEY.
        self.add("meta", |data| data.with(1, &be(REGISTER)).with(2, &be(key)));
    }

    fn payload(&mut self, base: u32, offset: u32, len: u32) {
        // NFTA_PAYLOAD_DREG, _BASE, _OFFSET, _LEN.
        self.add("payload", |data| {
            data.with(1, &be(REGISTER)).with(2, &be(base)).with(3, &be(offset)).with(4, &be(len))
        });
    }

    fn compare(&mut self, operation: u32, value: &[u8]) {
        // NFTA_CMP_SREG, _OP, _DATA.
        self.add("cmp", |data| {
            data.with(1, &be(REGISTER)).with(2, &be(operation)).nest(3, |m| m.with(DATA_VALUE, value))
        });
    }

    fn go(&mut self, code: i32, chain: Option<Chain>) {
        // NFTA_IMMEDIATE_DREG, NFTA_IMMEDIATE_DATA.
        self.add("immediate", |data| {
            data.with(1, &be(VERDICT_REGISTER)).nest(2, |data| {
                data.nest(DATA_VERDICT, |verdict| {
                    let verdict = verdict.with(VERDICT_CODE, &code.to_be_bytes());
                    match chain {
                        Some(chain) => verdict.with_text(VERDICT_CHAIN, chain.name()),
                        None => verdict,
                    }
                })
            })
        });
    }

    fn translate(&mut self, kind: u32, address: IpAddr) {
        let family = if address.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        self.add("immediate", |data| {
            data.with(1, &be(REGISTER)).nest(2, |m| m.with(DATA_VALUE, &octets(address)))
        });
        // NFTA_NAT_TYPE, _FAMILY, _REG_ADDR_MIN.
        self.add("nat", |data| {
            data.with(1, &be(kind)).with(2, &be(u32::from(family))).with(3, &be(REGISTER))
        });
    }

    fn add(&mut self, name: &str, data: impl FnOnce(Message) -> Message) {
        let list = std::mem::take(&mut self.list);
        self.list = list.nest(LIST_ELEMENT, |expression| {
            expression.with_text(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, data)
        });
    }
}

/// A number as this family has them.
pub(super) fn be(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}
