//! Frames built are frames that parse; broken ones do not.

use super::*;

const MAC: Mac = [2, 0, 0, 0, 0, 1];
const OTHER: Mac = [2, 0, 0, 0, 0, 2];

fn ends4() -> Ends4 {
    Ends4 { from_mac: MAC, to_mac: OTHER, from: [10, 0, 2, 1].into(), to: [10, 0, 2, 2].into() }
}

fn ends6() -> Ends6 {
    let ip = |last| std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
    Ends6 { from_mac: MAC, to_mac: OTHER, from: ip(1), to: ip(2) }
}

fn payload(frame: &[u8]) -> &[u8] {
    Ethernet::parse(&frame[12..]).unwrap().payload
}

#[test]
fn datagrams_survive_the_way_and_no_bit_of_them_may_change() {
    for len in [0, 1, 2, 301] {
        let sent = (0..len).map(|byte| (byte % 251) as u8).collect::<Vec<_>>();
        let four = udp4(ends4(), [67, 68], &sent);
        let six = udp6(ends6(), [547, 546], &sent);
        let open4 = |packet: &[u8]| {
            let ip = Ip4::parse(packet)?.ok_or(Malformed)?;
            udp(&Packet::V4(ip), false).map(|datagram| (datagram.destination_port, datagram.payload.to_vec()))
        };
        let open6 = |packet: &[u8]| {
            let ip = Ip6::parse(packet)?;
            udp(&Packet::V6(ip), false).map(|datagram| (datagram.destination_port, datagram.payload.to_vec()))
        };
        assert_eq!(open4(payload(&four)), Ok((68, sent.clone())));
        assert_eq!(open6(payload(&six)), Ok((546, sent.clone())));
        // Any bit of an IPv4 packet; those of IPv6's hop limit and flow label are not covered.
        for bit in 0..payload(&four).len() * 8 {
            let mut broken = payload(&four).to_vec();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(open4(&broken).is_err(), "bit {bit} of {len} bytes");
        }
        for byte in 8..payload(&six).len() {
            let mut broken = payload(&six).to_vec();
            broken[byte] ^= 0x10;
            assert!(open6(&broken).is_err(), "byte {byte} of {len}");
        }
    }
}

/// The header of RFC 1071's kind that is worked out in many a textbook.
#[test]
fn the_checksum_is_the_internets() {
    let header = "45000073000040004011b861c0a80001c0a800c7";
    let bytes = (0..header.len()).step_by(2).map(|at| u8::from_str_radix(&header[at..at + 2], 16).unwrap());
    let mut packet = bytes.collect::<Vec<_>>();
    packet.resize(0x73, 0);
    let ip = Ip4::parse(&packet).unwrap().unwrap();
    assert_eq!((ip.source.octets(), ip.protocol, ip.payload.len()), ([192, 168, 0, 1], UDP, 0x73 - 20));
    packet[1] = 1;
    assert_eq!(Ip4::parse(&packet).unwrap_err(), Malformed);
}

#[test]
fn fragments_are_left_alone_and_padding_is_cut_off() {
    let frame = udp4(ends4(), [1, 2], b"data");
    let mut padded = payload(&frame).to_vec();
    padded.resize(100, 0xee);
    assert_eq!(Ip4::parse(&padded).unwrap().unwrap().payload.len(), 12);
    // More fragments: flag 0x20, and the checksum less by 0x2000.
    padded[6] ^= 0x20;
    let checksum = u16::from_be_bytes([padded[10], padded[11]]).wrapping_sub(0x2000);
    padded[10..12].copy_from_slice(&checksum.to_be_bytes());
    assert!(Ip4::parse(&padded).unwrap().is_none());
}

#[test]
fn arp_is_answered_to_the_sender() {
    let mut request = vec![0, 1, 8, 0, 6, 4, 0, 1];
    request.extend([2, 0, 0, 0, 0, 2, 10, 0, 2, 2, 0, 0, 0, 0, 0, 0, 10, 0, 2, 1]);
    let parsed = Arp::parse(&request).unwrap();
    let reply = arp_reply(&parsed, MAC);
    assert_eq!((reply.len(), &reply[12..18]), (72, &OTHER[..]));
    let expected = [0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 2, 1, 2, 0, 0, 0, 0, 2, 10, 0, 2, 2];
    assert_eq!(payload(&reply)[6..28], expected);
    assert!(Arp::parse(payload(&reply)).is_none() && Arp::parse(&request[..27]).is_none());
}
