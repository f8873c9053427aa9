//! Messages of clients, built by hand, and what they are told.

use std::net::Ipv6Addr;

use super::*;

const SERVER: Mac = [2, 0, 0, 0, 0, 0];
const CLIENT: Mac = [2, 0, 0, 0, 0, 7];
const OURS: (u16, &[u8]) = (2, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0]);
const THEIRS: (u16, &[u8]) = (1, &[0, 3, 0, 1, 2, 0, 0, 0, 0, 7]);
/// An association for an address, without wishes.
const WANTS: (u16, &[u8]) = (3, &[9, 8, 7, 6, 0, 0, 0, 0, 0, 0, 0, 0]);

fn address() -> Ipv6Addr {
    "fd10:0:2::2".parse().unwrap()
}

fn lease() -> Lease6 {
    let dns = vec!["fd00::a".parse().unwrap()];
    Lease6 { client: None, address: address(), dns, search: vec!["cluster.local".to_owned()], seconds: 1000 }
}

fn options(options: &[(u16, &[u8])]) -> Vec<u8> {
    let option = |(code, value): &(u16, &[u8])| {
        let len = u16::try_from(value.len()).unwrap();
        [&code.to_be_bytes(), &len.to_be_bytes(), *value].concat()
    };
    options.iter().flat_map(option).collect()
}

fn message(kind: u8, list: &[(u16, &[u8])]) -> Vec<u8> {
    [&[kind, 1, 2, 3], &options(list)[..]].concat()
}

fn ask(kind: u8, list: &[(u16, &[u8])]) -> Result<Answer, Malformed> {
    answer(&lease(), SERVER, CLIENT, &message(kind, list))
}

fn reply(kind: u8, list: &[(u16, &[u8])]) -> (Vec<u8>, Option<Leased>) {
    match ask(kind, list) {
        Ok(Answer::Reply(reply, leased)) => (reply, leased),
        other => panic!("{other:?}"),
    }
}

/// An association with an address in it, as it should be for a lease of these seconds.
fn given(times: [u32; 2], addresses: &[(Ipv6Addr, u32)]) -> Vec<u8> {
    let mut value = vec![9, 8, 7, 6];
    times.iter().for_each(|time| value.extend(time.to_be_bytes()));
    for (address, seconds) in addresses {
        let seconds = seconds.to_be_bytes();
        value.extend(options(&[(5, &[&address.octets()[..], &seconds, &seconds].concat())]));
    }
    value
}

fn expected(kind: u8, middle: &[(u16, &[u8])]) -> Vec<u8> {
    let dns = "fd00::a".parse::<Ipv6Addr>().unwrap().octets();
    let end: [(u16, &[u8]); 2] = [(23, &dns), (24, b"\x07cluster\x05local\x00")];
    message(kind, &[&[OURS, THEIRS], middle, &end].concat())
}

#[test]
fn a_solicit_is_advertised_to_or_answered_at_once() {
    let ours = given([500, 800], &[(address(), 1000)]);
    assert_eq!(reply(1, &[THEIRS, WANTS]), (expected(2, &[(3, &ours)]), None));
    let rapid = expected(7, &[(14, &[]), (3, &ours)]);
    assert_eq!(reply(1, &[THEIRS, (14, &[]), WANTS]), (rapid, Some(Leased::Taken)));
}

#[test]
fn requests_and_renewals_get_the_address_and_lose_others() {
    let other = "fd10:0:2::77".parse().unwrap();
    let ours = given([500, 800], &[(address(), 1000), (other, 0)]);
    let wish = given([0, 0], &[(other, 7), (address(), 7)]);
    let expected = (expected(7, &[(3, &ours)]), Some(Leased::Taken));
    assert_eq!(reply(3, &[THEIRS, OURS, (3, &wish)]), expected);
    assert_eq!(reply(5, &[THEIRS, OURS, (3, &wish)]), expected);
    assert_eq!(reply(6, &[THEIRS, (3, &wish)]), expected);
}

#[test]
fn there_is_one_address_and_no_prefix() {
    let temporary: (u16, &[u8]) = (4, &[9, 8, 7, 6]);
    let prefix: (u16, &[u8]) = (25, WANTS.1);
    let none =
        |len: usize, status: u8| [&[9, 8, 7, 6], &vec![0; len][..], &[0, 13, 0, 2, 0, status]].concat();
    let ours = given([500, 800], &[(address(), 1000)]);
    let (no_more, no_temporary, no_prefix) = (none(8, 2), none(0, 2), none(8, 6));
    let middle: [(u16, &[u8]); 4] = [(25, &no_prefix), (4, &no_temporary), (3, &ours), (3, &no_more)];
    assert_eq!(reply(1, &[THEIRS, prefix, temporary, WANTS, WANTS]), (expected(2, &middle), None));
}

#[test]
fn other_messages_are_answered() {
    let fine = given([0, 0], &[(address(), 7)]);
    let wrong = given([0, 0], &[("fd10::1".parse().unwrap(), 7)]);
    assert_eq!(reply(4, &[THEIRS, (3, &fine)]), (expected(7, &[(13, &[0, 0])]), None));
    assert_eq!(reply(4, &[THEIRS, (3, &wrong)]), (expected(7, &[(13, &[0, 4])]), None));
    let ended = (expected(7, &[(13, &[0, 0])]), Some(Leased::Ended));
    assert_eq!(reply(8, &[THEIRS, OURS, (3, &fine)]), ended);
    assert_eq!(reply(9, &[THEIRS, OURS, (3, &fine)]), ended);
    let (told, leased) = reply(11, &[(6, &[0, 23])]);
    assert_eq!((told[0], leased), (7, None));
    assert_eq!(
        &told[4..],
        &expected(7, &[])[4..][..14].iter().chain(&expected(7, &[])[32..]).copied().collect::<Vec<_>>()
    );
}

#[test]
fn what_is_not_for_us_goes_on_and_what_is_broken_is_dropped() {
    let another: (u16, &[u8]) = (2, &[0, 3, 0, 1, 9, 9, 9, 9, 9, 9]);
    assert_eq!(ask(3, &[THEIRS, another, WANTS]), Ok(Answer::NotOurs));
    assert_eq!(ask(12, &[]), Ok(Answer::NotOurs));
    assert_eq!(ask(7, &[THEIRS, OURS]), Ok(Answer::NotOurs));
    let only = Lease6 { client: Some(crate::MacAddress([9; 6])), ..lease() };
    assert_eq!(answer(&only, SERVER, CLIENT, &message(1, &[THEIRS, WANTS])), Ok(Answer::NotOurs));
    for broken in [
        ask(1, &[WANTS]),
        ask(1, &[THEIRS, OURS, WANTS]),
        ask(3, &[THEIRS, WANTS]),
        ask(5, &[OURS, WANTS]),
        ask(11, &[WANTS]),
        ask(1, &[(1, &[0, 1])]),
        ask(1, &[(1, &[0; 131])]),
        ask(1, &[THEIRS, (14, &[1])]),
        ask(1, &[THEIRS, (3, &[0; 11])]),
        ask(1, &[THEIRS, (3, &given([0, 0], &[(address(), 7)])[..30])]),
        ask(1, &[&[THEIRS][..], &[WANTS; 17]].concat()),
        ask(1, &[THEIRS, (3, &given([0, 0], &[(address(), 7); 17]))]),
    ] {
        assert_eq!(broken, Err(Malformed));
    }
    let whole = message(1, &[THEIRS, WANTS]);
    let broken = (0..whole.len()).filter(|len| answer(&lease(), SERVER, CLIENT, &whole[..*len]).is_err());
    // All but one are: a message that ends after the client's name asks for nothing.
    assert_eq!(broken.count(), whole.len() - 1);
}
