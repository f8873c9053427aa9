//! From a question to its answer, frame to frame.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::report::{Tally, count};
use super::sniff::{NEIGHBOUR_SOLICITATION, ROUTER_SOLICITATION};
use crate::HEADER_LEN;
use crate::dhcp::{Answers, RouterAdvert, advert, v4, v6};
use crate::wire::{
    Arp, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Ends4, Ends6, Ethernet, ICMPV6, Ip4, Ip6, Mac,
    Malformed, Packet, UDP, arp_reply, udp, udp4, udp6,
};

/// How often a router advertises itself to those who did not ask (RFC 4861 §6.2.1: 4 s to 1800 s).
pub(super) const ADVERT_PERIOD: Duration = Duration::from_secs(600);

/// Flag of a virtio header: the checksum is left to the receiver (virtio 1.3 §5.1.6).
const NEEDS_CSUM: u8 = 1;
/// Where servers and relays of DHCPv6 are (RFC 8415 §7.1).
const ALL_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// What becomes of a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes where it was going.
    NotOurs,
    /// It ends here.
    Taken,
    /// It ends here, and this frame goes back.
    Answered(Vec<u8>),
}

#[derive(Debug)]
pub(super) struct Responder {
    answers: Answers,
    pub(super) tally: Tally,
    advertised: Mutex<Option<Instant>>,
}

impl Responder {
    pub(super) fn new(answers: Answers) -> Self {
        Self { answers, tally: Tally::default(), advertised: Mutex::new(None) }
    }

    /// Looks into a frame with its virtio header; none is one that is too long.
    pub(super) fn look(&self, frame: Option<&[u8]>) -> Verdict {
        frame.ok_or(Malformed).and_then(|frame| self.open(frame)).unwrap_or_else(|Malformed| {
            count(&self.tally.malformed);
            Verdict::Taken
        })
    }

    fn open(&self, frame: &[u8]) -> Result<Verdict, Malformed> {
        let header_len = usize::try_from(HEADER_LEN).unwrap_or_default();
        let (header, frame) = frame.split_at_checked(header_len).ok_or(Malformed)?;
        let frame = Ethernet::parse(frame).ok_or(Malformed)?;
        let [flags, segmentation] = *header.first_chunk().ok_or(Malformed)?;
        if segmentation != 0 {
            return Err(Malformed);
        }
        let open = flags & NEEDS_CSUM != 0;
        match frame.ethertype {
            ETHERTYPE_IPV4 => self.ip4(&frame, open),
            ETHERTYPE_IPV6 => self.ip6(&frame, open),
            ETHERTYPE_ARP => Ok(self.arp(frame.payload)),
            _ => Ok(Verdict::NotOurs),
        }
    }

    fn ip4(&self, frame: &Ethernet<'_>, open: bool) -> Result<Verdict, Malformed> {
        let (Some(lease), Some(ip)) = (&self.answers.lease4, Ip4::parse(frame.payload)?) else {
            return Ok(Verdict::NotOurs);
        };
        if ip.protocol != UDP {
            return Ok(Verdict::NotOurs);
        }
        let datagram = udp(&Packet::V4(ip), open)?;
        if datagram.destination_port != v4::SERVER_PORT {
            return Ok(Verdict::NotOurs);
        }
        let reply = match v4::answer(lease, datagram.payload, ip.destination)? {
            v4::Answer::NotOurs => return Ok(Verdict::NotOurs),
            v4::Answer::Silence(leased) => {
                self.tally.leased4.note(lease.address.into(), leased);
                return Ok(Verdict::Taken);
            }
            v4::Answer::Reply(reply) => reply,
        };
        count(&self.tally.dhcp4);
        self.tally.leased4.note(lease.address.into(), reply.leased);
        self.tally.left_out.fetch_add(reply.left_out, std::sync::atomic::Ordering::Relaxed);
        let ends = Ends4 {
            from_mac: self.answers.server_mac.0,
            to_mac: reply.to_mac,
            from: lease.server,
            to: reply.to,
        };
        Ok(Verdict::Answered(udp4(ends, [v4::SERVER_PORT, v4::CLIENT_PORT], &reply.message)))
    }

    fn ip6(&self, frame: &Ethernet<'_>, open: bool) -> Result<Verdict, Malformed> {
        let ip = Ip6::parse(frame.payload)?;
        match ip.protocol {
            UDP => self.dhcp6(frame.source, ip, open),
            ICMPV6 => self.icmp6(frame.source, &ip, open),
            _ => Ok(Verdict::NotOurs),
        }
    }

    fn dhcp6(&self, client: Mac, ip: Ip6<'_>, open: bool) -> Result<Verdict, Malformed> {
        let datagram = udp(&Packet::V6(ip), open)?;
        let Some(lease) = &self.answers.lease6 else { return Ok(Verdict::NotOurs) };
        let here = ip.destination == ALL_SERVERS || ip.destination == self.link_local();
        if datagram.destination_port != v6::SERVER_PORT || !here {
            return Ok(Verdict::NotOurs);
        }
        if ip.source.is_multicast() || ip.source.is_unspecified() {
            return Err(Malformed);
        }
        let server = self.answers.server_mac.0;
        let (message, leased) = match v6::answer(lease, server, client, datagram.payload)? {
            v6::Answer::NotOurs => return Ok(Verdict::NotOurs),
            v6::Answer::Reply(message, leased) => (message, leased),
        };
        count(&self.tally.dhcp6);
        self.tally.leased6.note(lease.address.into(), leased);
        let ends = Ends6 { from_mac: server, to_mac: client, from: self.link_local(), to: ip.source };
        Ok(Verdict::Answered(udp6(ends, [v6::SERVER_PORT, v6::CLIENT_PORT], &message)))
    }

    /// Where answers come from.
    fn link_local(&self) -> Ipv6Addr {
        let advert = self.answers.advert.as_ref();
        advert.map_or_else(|| RouterAdvert::link_local(self.answers.server_mac), |advert| advert.router)
    }

    fn icmp6(&self, client: Mac, ip: &Ip6<'_>, open: bool) -> Result<Verdict, Malformed> {
        let message = ip.icmp(open)?;
        match message.split_first() {
            Some((&ROUTER_SOLICITATION, _)) if ip.hop_limit == 255 && message.len() >= 8 => {
                Ok(self.advertise().map_or(Verdict::NotOurs, Verdict::Answered))
            }
            Some((&NEIGHBOUR_SOLICITATION, _)) => Ok(self.neighbour(client, ip, message)),
            _ => Err(Malformed),
        }
    }

    fn advertise(&self) -> Option<Vec<u8>> {
        let answers = &self.answers;
        let frame = answers.advert.as_ref().map(|what| advert::frame(what, answers.server_mac.0))?;
        *self.advertised.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        count(&self.tally.adverts);
        Some(frame)
    }

    /// An advertisement that nobody asked for, once it is time for one.
    pub(super) fn due_advert(&self) -> Option<Vec<u8>> {
        let last = *self.advertised.lock().unwrap_or_else(PoisonError::into_inner);
        // A timer may be a little early on another clock.
        let due = last.is_none_or(|last| last.elapsed() >= ADVERT_PERIOD / 2);
        if due { self.advertise() } else { None }
    }

    /// What is malformed here is for whoever else is asked.
    fn neighbour(&self, client: Mac, ip: &Ip6<'_>, message: &[u8]) -> Verdict {
        let target = crate::neighbour::solicited(message).filter(|_| ip.hop_limit == 255);
        let Some(target) = target.filter(|target| self.answers.neighbours.contains(&IpAddr::V6(*target)))
        else {
            return Verdict::NotOurs;
        };
        count(&self.tally.neighbours);
        let asker = (client, ip.source);
        Verdict::Answered(crate::neighbour::advertisement(target, self.answers.server_mac.0, asker))
    }

    fn arp(&self, payload: &[u8]) -> Verdict {
        match Arp::parse(payload) {
            Some(request) if self.answers.neighbours.contains(&IpAddr::V4(request.target)) => {
                count(&self.tally.neighbours);
                Verdict::Answered(arp_reply(&request, self.answers.server_mac.0))
            }
            _ => Verdict::NotOurs,
        }
    }
}
