//! Messages of clients, built by hand, and what they are told.

use std::net::Ipv4Addr;

use super::*;
use crate::dhcp::{Extras4, LEASE_SECONDS, PrivateOption, Route4};
use crate::wire::Mac;

const MAC: Mac = [2, 0, 0, 0, 0, 7];

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn lease() -> Lease4 {
    Lease4 {
        client: Some(crate::MacAddress(MAC)),
        address: ip("10.0.2.2"),
        prefix: 24,
        server: ip("10.0.2.1"),
        router: Some(ip("10.0.2.1")),
        routes: Vec::new(),
        dns: vec![ip("10.96.0.10")],
        search: ["default.svc.cluster.local", "svc.cluster.local"].map(str::to_owned).to_vec(),
        hostname: Some("testvm".to_owned()),
        mtu: Some(1480),
        extras: Extras4::default(),
        seconds: LEASE_SECONDS,
    }
}

/// A message with these options.
fn message(options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut message = vec![1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 3, 0, 0];
    message.resize(28, 0);
    message.extend(MAC);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    for (code, value) in options {
        message.extend([*code, u8::try_from(value.len()).unwrap()]);
        message.extend(*value);
    }
    message.push(255);
    message
}

fn ask(lease: &Lease4, message: &[u8]) -> Result<Answer, Malformed> {
    answer(lease, message, Ipv4Addr::BROADCAST)
}

fn reply(lease: &Lease4, message: &[u8]) -> Reply {
    match ask(lease, message) {
        Ok(Answer::Reply(reply)) => reply,
        other => panic!("{other:?}"),
    }
}

/// The options of a reply, wherever in it they are.
fn options(message: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let read = |mut bytes: &[u8]| {
        let mut found = Vec::new();
        while let [code, rest @ ..] = bytes {
            match (code, rest) {
                (0, _) => bytes = rest,
                (255, _) => break,
                (_, [len, rest @ ..]) => {
                    found.push((*code, rest[..usize::from(*len)].to_vec()));
                    bytes = &rest[usize::from(*len)..];
                }
                _ => panic!("an option without a length"),
            }
        }
        found
    };
    let mut found = read(&message[240..]);
    let overload = found.iter().find(|(code, _)| *code == 52).map_or(0, |(_, value)| value[0]);
    if overload & 1 != 0 {
        found.extend(read(&message[108..236]));
    }
    if overload & 2 != 0 {
        found.extend(read(&message[44..108]));
    }
    found
}

fn option(message: &[u8], code: u8) -> Option<Vec<u8>> {
    options(message).into_iter().find(|(found, _)| *found == code).map(|(_, value)| value)
}

#[test]
fn a_discover_is_offered_everything_that_kubevirt_says() {
    let reply = reply(&lease(), &message(&[(53, &[1])]));
    let told = &reply.message;
    assert_eq!(told[..12], [2, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef, 0, 3, 0, 0]);
    assert_eq!(told[12..28], [0, 0, 0, 0, 10, 0, 2, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(told[28..34], MAC);
    assert_eq!((reply.to_mac, reply.to, reply.leased, reply.left_out), (MAC, ip("10.0.2.2"), None, 0));
    let expected: [(u8, &[u8]); 10] = [
        (53, &[2]),
        (54, &[10, 0, 2, 1]),
        (51, &[5, 37, 10, 128]),
        (1, &[255, 255, 255, 0]),
        (3, &[10, 0, 2, 1]),
        (6, &[10, 96, 0, 10]),
        (26, &[5, 200]),
        (12, b"testvm"),
        (15, b"default.svc.cluster.local"),
        (119, b"\x07default\x03svc\x07cluster\x05local\x00\xc0\x08"),
    ];
    assert_eq!(options(told), expected.map(|(code, value)| (code, value.to_vec())));
    assert!(told.len() >= 300);
}

#[test]
fn a_request_is_acknowledged_and_noted() {
    let selecting: &[(u8, &[u8])] =
        &[(53, &[3]), (50, &[10, 0, 2, 2]), (54, &[10, 0, 2, 1]), (61, b"\x01me")];
    let taken = reply(&lease(), &message(selecting));
    assert_eq!(option(&taken.message, 53), Some(vec![5]));
    assert_eq!(option(&taken.message, 61), Some(b"\x01me".to_vec()));
    assert_eq!(taken.leased, Some(Leased::Taken));
    // A client that renews has the address, asks for none, and is answered there.
    let mut renewing = message(&[(53, &[3])]);
    renewing[12..16].copy_from_slice(&[10, 0, 2, 2]);
    let answered = answer(&lease(), &renewing, ip("10.0.2.1")).unwrap();
    assert!(
        matches!(answered, Answer::Reply(Reply { to, leased: Some(Leased::Taken), .. }) if to == ip("10.0.2.2"))
    );
}

#[test]
fn an_address_of_elsewhere_is_refused_to_all() {
    let wrong = reply(&lease(), &message(&[(53, &[3]), (50, &[10, 0, 2, 3])]));
    assert_eq!(option(&wrong.message, 53), Some(vec![6]));
    assert_eq!((wrong.to, wrong.to_mac, wrong.leased), (Ipv4Addr::BROADCAST, [0xff; 6], None));
    assert_eq!(wrong.message[16..20], [0; 4]);
    assert!([51, 1, 3, 6].iter().all(|code| option(&wrong.message, *code).is_none()));
    assert_eq!(ask(&lease(), &message(&[(53, &[3])])), Err(Malformed));
}

#[test]
fn a_client_without_an_address_is_called_as_it_asks() {
    let mut deaf = message(&[(53, &[1])]);
    deaf[10] = 0x80;
    let called = reply(&lease(), &deaf);
    assert_eq!((called.to, called.to_mac), (Ipv4Addr::BROADCAST, [0xff; 6]));
    assert_eq!(called.message[10], 0x80);
}

#[test]
fn inform_is_told_all_but_an_address() {
    let mut asking = message(&[(53, &[8])]);
    assert_eq!(ask(&lease(), &asking), Err(Malformed));
    asking[12..16].copy_from_slice(&[10, 0, 2, 9]);
    let told = reply(&lease(), &asking);
    assert_eq!((told.to, told.leased), (ip("10.0.2.9"), None));
    assert_eq!((option(&told.message, 53), option(&told.message, 51)), (Some(vec![5]), None));
    assert_eq!(told.message[16..20], [0; 4]);
    assert_eq!(option(&told.message, 6), Some(vec![10, 96, 0, 10]));
}

#[test]
fn what_is_not_for_us_goes_on() {
    let not_ours = |lease: &Lease4, message: &[u8]| assert_eq!(ask(lease, message), Ok(Answer::NotOurs));
    let discover = message(&[(53, &[1])]);
    not_ours(&Lease4 { client: Some(crate::MacAddress([9; 6])), ..lease() }, &discover);
    assert!(matches!(ask(&Lease4 { client: None, ..lease() }, &discover), Ok(Answer::Reply(_))));
    not_ours(&lease(), &message(&[(53, &[3]), (54, &[10, 0, 2, 99]), (50, &[10, 0, 2, 2])]));
    // BOOTP, a server's own message, and one that a relay passed on.
    not_ours(&lease(), &message(&[]));
    for (at, value) in [(0, 2), (27, 1), (1, 6)] {
        let mut other = discover.clone();
        other[at] = value;
        not_ours(&lease(), &other);
    }
    assert_eq!(answer(&lease(), &discover, ip("10.0.2.9")), Ok(Answer::NotOurs));
    let ended = Ok(Answer::Silence(Some(Leased::Ended)));
    assert_eq!(ask(&lease(), &message(&[(53, &[7])])), ended);
    assert_eq!(ask(&lease(), &message(&[(53, &[4])])), ended);
}

#[test]
fn routes_come_with_their_gateways_and_the_default_last() {
    let route = |destination: &str, prefix, via: &str| Route4 {
        destination: ip(destination),
        prefix,
        via: Some(ip(via)),
    };
    let told = |lease: &Lease4| option(&reply(lease, &message(&[(53, &[1])])).message, 121);
    assert_eq!(told(&lease()), None);
    let more = Lease4 { routes: vec![route("192.168.4.0", 22, "10.0.2.9")], ..lease() };
    assert_eq!(told(&more), Some(vec![22, 192, 168, 4, 10, 0, 2, 9, 0, 10, 0, 2, 1]));
    let mut given = vec![route("0.0.0.0", 0, "10.0.2.1"), route("172.16.0.0", 12, "10.0.2.3")];
    given.push(Route4 { destination: ip("10.9.0.0"), prefix: 16, via: None });
    let sorted = [&[16, 10, 9, 0, 0, 0, 0][..], &[12, 172, 16, 10, 0, 2, 3], &[0, 10, 0, 2, 1]].concat();
    assert_eq!(told(&Lease4 { routes: given, ..lease() }), Some(sorted));
    // Calico: a gateway that the client can only reach once it is told so.
    let calico =
        Lease4 { address: ip("192.168.3.9"), prefix: 32, router: Some(ip("169.254.1.1")), ..lease() };
    let expected = vec![32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1];
    assert_eq!(told(&calico), Some(expected.clone()));
    let on_link = Route4 { destination: ip("169.254.1.1"), prefix: 32, via: None };
    assert_eq!(told(&Lease4 { routes: vec![on_link], ..calico }), Some(expected));
    // More than one option holds: some are lost, but not the default route, and nothing is cut in two.
    let many = (0..=255).map(|number| route(&format!("10.{number}.0.0"), 16, "10.0.2.9")).collect();
    let all =
        reply(&Lease4 { routes: many, ..lease() }, &message(&[(53, &[1]), (57, &1500_u16.to_be_bytes())]));
    let all = option(&all.message, 121).unwrap();
    assert_eq!((all.len() % 7, all.ends_with(&[0, 10, 0, 2, 1])), (5, true));
}

#[test]
fn options_of_the_manifest_find_room() {
    let extras = Extras4 {
        boot_file: Some("pxelinux.0".to_owned()),
        tftp_server: Some("tftp.example".to_owned()),
        ntp: vec![ip("10.1.1.1"), ip("10.1.1.2")],
        private: [(223, "no"), (224, "yes"), (254, "")]
            .map(|(code, value)| PrivateOption { code, value: value.to_owned() })
            .to_vec(),
    };
    let mut full = Lease4 { extras, ..lease() };
    let told = reply(&full, &message(&[(53, &[1])])).message;
    assert_eq!(option(&told, 67), Some(b"pxelinux.0".to_vec()));
    assert_eq!(option(&told, 66), Some(b"tftp.example".to_vec()));
    assert_eq!(option(&told, 42), Some(vec![10, 1, 1, 1, 10, 1, 1, 2]));
    assert_eq!((option(&told, 223), option(&told, 224)), (None, Some(b"yes".to_vec())));
    // 200 bytes more do not fit behind the message of a client that takes 576, nor do they anywhere else.
    let long = |code, len| PrivateOption { code, value: "x".repeat(len) };
    full.extras.private.extend([long(230, 200), long(231, 100), long(232, 50)]);
    let small = reply(&full, &message(&[(53, &[1])]));
    assert!(small.left_out == 1 && small.message.len() <= 576 - 28);
    assert_eq!(
        (option(&small.message, 230), option(&small.message, 231).map(|value| value.len())),
        (None, Some(100))
    );
    assert_eq!(option(&small.message, 232).map(|value| value.len()), Some(50));
    let large = reply(&full, &message(&[(53, &[1]), (57, &1400_u16.to_be_bytes())]));
    assert_eq!((large.left_out, option(&large.message, 230).map(|value| value.len())), (0, Some(200)));
    assert!(large.message.len() <= 1400 - 28 && option(&large.message, 52).is_none());
}

#[test]
fn options_may_go_on_in_other_fields() {
    let mut overloaded = message(&[(52, &[3])]);
    overloaded[108..116].copy_from_slice(&[53, 1, 3, 255, 0, 0, 0, 0]);
    overloaded[44..50].copy_from_slice(&[50, 4, 10, 0, 2, 2]);
    overloaded[50] = 255;
    assert_eq!(option(&reply(&lease(), &overloaded).message, 53), Some(vec![5]));
}

#[test]
fn broken_messages_are_dropped() {
    let whole = message(&[(53, &[1]), (61, b"\x01identifier")]);
    (0..whole.len()).for_each(|len| {
        // A message that ends between two options is fine.
        let result = ask(&lease(), &whole[..len]);
        let between = [240, 243, 256].contains(&len);
        let not_dhcp = (236..240).contains(&len);
        assert_eq!(result.is_err(), !between && !not_dhcp, "{len}: {result:?}");
    });
    let lengths: [(u8, &[u8]); 5] = [(53, &[]), (53, &[1, 1]), (50, &[1, 2, 3]), (54, &[1; 5]), (57, &[9])];
    for (code, value) in lengths {
        assert_eq!(ask(&lease(), &message(&[(53, &[1]), (code, value)])), Err(Malformed), "{code}");
    }
}
