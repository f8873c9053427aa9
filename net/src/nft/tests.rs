//! The rules as the kernel has them, listed by `nft`, which is also told KubeVirt's own commands for comparison.

use super::*;
use crate::host::{Behind, Forwards};
use crate::testing::{in_namespace, run};

/// KubeVirt's commands (pkg/network/setup/netpod/masquerade/masquerade_test.go), for a table of any name.
struct Expected {
    family: &'static str,
    rules: &'static [(&'static str, &'static str)],
}

const CHAINS: &[(&str, &str)] = &[
    ("prerouting", "{ type nat hook prerouting priority -100; }"),
    ("input", "{ type nat hook input priority 100; }"),
    ("output", "{ type nat hook output priority -100; }"),
    ("postrouting", "{ type nat hook postrouting priority 100; }"),
    ("KUBEVIRT_PREINBOUND", ""),
    ("KUBEVIRT_POSTINBOUND", ""),
];

impl Expected {
    fn listed(&self) -> String {
        let mut listed = String::new();
        let family = self.family;
        in_namespace(|| {
            run("nft", &format!("add table {family} t"));
            for (chain, hook) in CHAINS {
                run("nft", format!("add chain {family} t {chain} {hook}").trim_end());
            }
            for (chain, rule) in self.rules {
                run("nft", &format!("add rule {family} t {chain} {rule}"));
            }
            listed = run("nft", &format!("list table {family} t"));
        });
        listed
    }
}

fn ours(masquerade: &Masquerade, family: &str) -> String {
    let mut listed = String::new();
    in_namespace(|| {
        Nft::open().unwrap().make("t", masquerade).unwrap();
        listed = run("nft", &format!("list table {family} t"));
        assert!(run("nft", "-j list ruleset").contains("KUBEVIRT_PREINBOUND"));
    });
    listed
}

fn ends(gateway: &str, guest: &str) -> Behind {
    Behind { gateway: gateway.parse().unwrap(), guest: guest.parse().unwrap() }
}

fn masquerade(forwards: &[Forward]) -> Masquerade {
    Masquerade {
        outside: Some("eth0".into()),
        bridge: "k6t-eth0".into(),
        families: vec![ends("10.0.2.1/24", "10.0.2.2/24"), ends("fd10:0:2::1/120", "fd10:0:2::2/120")],
        forwards: match forwards {
            [] => Forwards::All,
            ports => Forwards::Only(ports.to_vec()),
        },
        spare_migration: false,
        istio: None,
    }
}

fn port(protocol: Protocol, port: u16) -> Forward {
    Forward { protocol, first: port, last: port, range: false }
}

const fn range(protocol: Protocol, first: u16, last: u16) -> Forward {
    Forward { protocol, first, last, range: true }
}

const BASE4: [(&str, &str); 3] = [
    ("postrouting", "ip saddr 10.0.2.2 counter masquerade"),
    ("prerouting", "iifname eth0 counter jump KUBEVIRT_PREINBOUND"),
    ("postrouting", "oifname k6t-eth0 counter jump KUBEVIRT_POSTINBOUND"),
];
const BASE6: [(&str, &str); 3] =
    [("postrouting", "ip6 saddr fd10:0:2::2 counter masquerade"), BASE4[1], BASE4[2]];

#[test]
fn without_ports_all_is_forwarded() {
    let v4 = Expected {
        family: "ip",
        rules: &[
            BASE4[0],
            BASE4[1],
            BASE4[2],
            ("KUBEVIRT_PREINBOUND", "counter dnat to 10.0.2.2"),
            ("KUBEVIRT_POSTINBOUND", "ip saddr { 127.0.0.1 } counter snat to 10.0.2.1"),
            ("output", "ip daddr { 127.0.0.1 } counter dnat to 10.0.2.2"),
        ],
    };
    let v6 = Expected {
        family: "ip6",
        rules: &[
            BASE6[0],
            BASE6[1],
            BASE6[2],
            ("KUBEVIRT_PREINBOUND", "counter dnat to fd10:0:2::2"),
            ("KUBEVIRT_POSTINBOUND", "ip6 saddr { ::1 } counter snat to fd10:0:2::1"),
            ("output", "ip6 daddr { ::1 } counter dnat to fd10:0:2::2"),
        ],
    };
    assert_eq!(ours(&masquerade(&[]), "ip"), v4.listed());
    assert_eq!(ours(&masquerade(&[]), "ip6"), v6.listed());
}

#[test]
fn ports_and_ranges_are_forwarded_one_by_one() {
    let forwards = [
        port(Protocol::Tcp, 80),
        port(Protocol::Udp, 53),
        range(Protocol::Tcp, 1000, 2000),
        range(Protocol::Udp, 1, 65535),
    ];
    let v4 = Expected {
        family: "ip",
        rules: &[
            BASE4[0],
            BASE4[1],
            BASE4[2],
            ("KUBEVIRT_PREINBOUND", "tcp dport { 80 } counter dnat to 10.0.2.2"),
            ("KUBEVIRT_POSTINBOUND", "tcp dport 80 ip saddr { 127.0.0.1 } counter snat to 10.0.2.1"),
            ("output", "ip daddr { 127.0.0.1 } tcp dport 80 counter dnat to 10.0.2.2"),
            ("KUBEVIRT_PREINBOUND", "udp dport { 53 } counter dnat to 10.0.2.2"),
            ("KUBEVIRT_POSTINBOUND", "udp dport 53 ip saddr { 127.0.0.1 } counter snat to 10.0.2.1"),
            ("output", "ip daddr { 127.0.0.1 } udp dport 53 counter dnat to 10.0.2.2"),
            ("KUBEVIRT_PREINBOUND", "tcp dport 1000-2000 counter dnat to 10.0.2.2"),
            ("KUBEVIRT_POSTINBOUND", "tcp dport 1000-2000 ip saddr { 127.0.0.1 } counter snat to 10.0.2.1"),
            ("output", "ip daddr { 127.0.0.1 } tcp dport 1000-2000 counter dnat to 10.0.2.2"),
            ("KUBEVIRT_PREINBOUND", "udp dport 1-65535 counter dnat to 10.0.2.2"),
            ("KUBEVIRT_POSTINBOUND", "udp dport 1-65535 ip saddr { 127.0.0.1 } counter snat to 10.0.2.1"),
            ("output", "ip daddr { 127.0.0.1 } udp dport 1-65535 counter dnat to 10.0.2.2"),
        ],
    };
    let v6 = Expected {
        family: "ip6",
        rules: &[
            BASE6[0],
            BASE6[1],
            BASE6[2],
            ("KUBEVIRT_PREINBOUND", "tcp dport 1000-2000 counter dnat to fd10:0:2::2"),
            ("KUBEVIRT_POSTINBOUND", "tcp dport 1000-2000 ip6 saddr { ::1 } counter snat to fd10:0:2::1"),
            ("output", "ip6 daddr { ::1 } tcp dport 1000-2000 counter dnat to fd10:0:2::2"),
        ],
    };
    assert_eq!(ours(&masquerade(&forwards), "ip"), v4.listed());
    assert_eq!(ours(&masquerade(&forwards[2..3]), "ip6"), v6.listed());
}

#[test]
fn migration_and_istio_have_their_exceptions() {
    const RESERVED: &str = "tcp dport { 15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090 } \
                            ip saddr 127.0.0.1 counter return";
    let v4 = Expected {
        family: "ip",
        rules: &[
            BASE4[0],
            BASE4[1],
            BASE4[2],
            ("output", "tcp dport { 49152, 49153 } ip saddr 127.0.0.1 counter return"),
            ("KUBEVIRT_POSTINBOUND", "tcp dport { 49152, 49153 } ip saddr 127.0.0.1 counter return"),
            ("output", RESERVED),
            ("KUBEVIRT_POSTINBOUND", RESERVED),
            ("KUBEVIRT_PREINBOUND", "tcp dport { 22 } counter dnat to 10.0.2.2"),
            ("KUBEVIRT_POSTINBOUND", "ip saddr { 127.0.0.1, 127.0.0.6 } counter snat to 10.0.2.1"),
            ("output", "ip daddr { 127.0.0.1, 10.222.222.1 } counter dnat to 10.0.2.2"),
        ],
    };
    let mut wanted = masquerade(&[]);
    wanted.istio = Some(Ipv4Addr::new(10, 222, 222, 1));
    wanted.spare_migration = true;
    assert_eq!(ours(&wanted, "ip"), v4.listed());

    wanted.spare_migration = false;
    wanted.forwards = Forwards::Only(vec![range(Protocol::Tcp, 20, 25), port(Protocol::Tcp, 8080)]);
    let ports = Expected {
        family: "ip",
        rules: &[
            BASE4[0],
            BASE4[1],
            BASE4[2],
            ("KUBEVIRT_PREINBOUND", "tcp dport { 22 } counter dnat to 10.0.2.2"),
            (
                "KUBEVIRT_POSTINBOUND",
                "tcp dport 20-25 ip saddr { 127.0.0.1, 127.0.0.6 } counter snat to 10.0.2.1",
            ),
            ("output", "ip daddr { 127.0.0.1, 10.222.222.1 } tcp dport 20-25 counter dnat to 10.0.2.2"),
            (
                "KUBEVIRT_POSTINBOUND",
                "tcp dport 8080 ip saddr { 127.0.0.1, 127.0.0.6 } counter snat to 10.0.2.1",
            ),
            ("output", "ip daddr { 127.0.0.1, 10.222.222.1 } tcp dport 8080 counter dnat to 10.0.2.2"),
        ],
    };
    assert_eq!(ours(&wanted, "ip"), ports.listed());
}

#[test]
fn a_guest_that_nobody_reaches_still_gets_out() {
    let v4 = Expected { family: "ip", rules: &[BASE4[0], BASE4[2]] };
    let mut wanted = masquerade(&[]);
    wanted.outside = None;
    wanted.forwards = Forwards::Only(Vec::new());
    assert_eq!(ours(&wanted, "ip"), v4.listed());
}

#[test]
fn a_table_is_made_whole_or_not_at_all_and_deleted_alone() {
    in_namespace(|| {
        run("nft", "add table ip other");
        let before = run("nft", "list ruleset");
        let mut nft = Nft::open().unwrap();
        let wanted = masquerade(&[port(Protocol::Tcp, 80)]);
        nft.make("ours", &wanted).unwrap();
        let made = run("nft", "list ruleset");
        let error = nft.make("ours", &wanted).unwrap_err();
        assert!(error.is_existing(), "{error:?}");
        assert_eq!(run("nft", "list ruleset"), made, "nothing was added");
        // A range that ends before it begins is no fault to the kernel; a name that is too long is.
        let mut wrong = wanted.clone();
        wrong.families.reverse();
        assert!(nft.make(&"x".repeat(300), &wrong).is_err());
        assert_eq!(run("nft", "list ruleset"), made);
        nft.delete("ours").unwrap();
        nft.delete("ours").unwrap();
        assert_eq!(run("nft", "list ruleset"), before);
    });
}

#[test]
fn thousands_of_ports_fit_one_transaction() {
    in_namespace(|| {
        let mut nft = Nft::open().unwrap();
        let forwards = (1..=3000).map(|number| port(Protocol::Tcp, number)).collect::<Vec<_>>();
        nft.make("many", &masquerade(&forwards)).unwrap();
        let listed = run("nft", "list table ip6 many");
        assert_eq!(listed.matches("dnat to").count(), 6000);
    });
}

use std::net::Ipv4Addr;
