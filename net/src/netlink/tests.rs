//! Against the kernel, in namespaces of the tests' own; `ip` is the judge.

use super::*;
use crate::testing::{in_namespace, run};
use crate::{IpNet, MacAddress};

fn ip(arguments: &str) -> String {
    run("ip", arguments)
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn make(netlink: &mut Netlink, name: &str, kind: NewKind<'_>) -> u32 {
    netlink.create(&NewInterface { name, kind, mac: None, mtu: None, index: None }).unwrap();
    netlink.interface(name).unwrap().index
}

#[test]
fn interfaces_are_made_changed_and_deleted() {
    in_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        let mac = MacAddress([2, 0, 0, 1, 2, 3]);
        let new = NewInterface {
            name: "k6t-eth0",
            kind: NewKind::Bridge,
            mac: Some(mac),
            mtu: Some(1400),
            index: Some(123_456),
        };
        netlink.create(&new).unwrap();
        assert!(netlink.create(&new).unwrap_err().is_existing());
        netlink.set_alias(123_456, "kubevmm:test").unwrap();
        netlink.set_up(123_456, true).unwrap();
        let bridge = netlink.interface("k6t-eth0").unwrap();
        assert_eq!((bridge.index, bridge.mtu, bridge.mac, bridge.up), (123_456, 1400, Some(mac), true));
        assert_eq!((bridge.kind, bridge.alias.as_deref()), (Kind::Bridge, Some("kubevmm:test")));

        let left = make(&mut netlink, "left", NewKind::Veth { peer: "right" });
        netlink.set_master(left, Some(123_456)).unwrap();
        netlink.set_port(left, PortSettings { learning: Some(false), hairpin: Some(true) }).unwrap();
        let shown = ip("-d link show left");
        for wanted in ["master k6t-eth0", "learning off", "hairpin on", "veth"] {
            assert!(shown.contains(wanted), "{wanted}: {shown}");
        }
        let right = netlink.interface("right").unwrap();
        assert_eq!((right.kind, right.parent), (Kind::Veth, Some(Parent::Here(left))));
        assert_eq!(netlink.interface("left").unwrap().master, Some(123_456));
        netlink.set_master(left, None).unwrap();
        assert_eq!(netlink.interface("left").unwrap().master, None);

        for mode in [MacvtapMode::Private, MacvtapMode::Vepa, MacvtapMode::Bridge, MacvtapMode::Passthru] {
            let tap = make(&mut netlink, "mt0", NewKind::Macvtap { parent: right.index, mode });
            let found = netlink.interface("mt0").unwrap();
            assert_eq!((found.kind, found.parent), (Kind::Macvtap(mode), Some(Parent::Here(right.index))));
            netlink.delete_interface(tap).unwrap();
        }
        netlink.delete_interface(left).unwrap();
        assert!(matches!(netlink.interface("right"), Err(NetlinkError::NoInterface(_))));
        assert!(netlink.delete_interface(left).unwrap_err().is_missing());
    });
}

#[test]
fn refusals_say_why() {
    in_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        for name in ["", "a-name-of-16-byte", "a/b", "a b", ".."] {
            let new = NewInterface { name, kind: NewKind::Bridge, mac: None, mtu: None, index: None };
            assert!(netlink.create(&new).is_err(), "{name:?}");
        }
        let error = netlink.set_mtu(1, 1 << 31).unwrap_err();
        assert!(error.to_string().contains("setting the MTU of network interface 1"), "{error}");
        let lo = netlink.interface("lo").unwrap();
        assert_eq!((lo.kind, lo.up), (Kind::Loopback, false));
        let error = netlink.delete_interface(lo.index).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EOPNOTSUPP), "{error}");
    });
}

#[test]
fn addresses_and_routes_come_and_go() {
    in_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        let left = make(&mut netlink, "left", NewKind::Veth { peer: "right" });
        let right = netlink.interface("right").unwrap().index;
        netlink.set_up(left, true).unwrap();
        netlink.set_up(right, true).unwrap();
        netlink.add_address(left, net("10.1.2.3/24")).unwrap();
        netlink.add_address(left, net("10.1.2.3/24")).unwrap();
        netlink.add_address(left, net("fd00::3/64")).unwrap();
        assert!(ip("addr show left").contains("inet 10.1.2.3/24 brd 10.1.2.255 scope global left"));
        let addresses = netlink.addresses().unwrap();
        let mine = addresses.iter().filter(|a| a.interface == left && a.scope == Scope::Global);
        let mine = mine.map(|a| (a.net, a.permanent)).collect::<Vec<_>>();
        assert_eq!(mine, [(net("10.1.2.3/24"), true), (net("fd00::3/64"), true)]);

        let mut route = Route {
            destination: IpNet::EVERYWHERE_V4,
            gateway: Some("10.1.2.1".parse().unwrap()),
            interface: left,
            source: None,
            metric: 7,
            scope: Scope::Global,
            protocol: libc::RTPROT_STATIC,
            on_link: false,
        };
        netlink.add_route(&route).unwrap();
        let six = Route {
            destination: net("fd01::/64"),
            gateway: Some("fd00::1".parse().unwrap()),
            metric: 1024,
            ..route.clone()
        };
        netlink.add_route(&six).unwrap();
        let shown = ip("route show") + &ip("-6 route show");
        assert!(shown.contains("default via 10.1.2.1 dev left proto static metric 7"), "{shown}");
        let routes = netlink.routes().unwrap();
        assert!(routes.contains(&route) && routes.contains(&six), "{routes:?}");
        assert!(routes.iter().any(|r| r.destination == net("10.1.2.0/24") && r.source == Some("10.1.2.3".parse().unwrap())));
        ip("neigh add 10.1.2.9 lladdr 02:00:00:00:00:09 dev left");
        let neighbours = netlink.neighbours().unwrap();
        let found = neighbours.iter().find(|n| n.address.to_string() == "10.1.2.9").unwrap();
        assert_eq!((found.mac, found.permanent), (Some(MacAddress([2, 0, 0, 0, 0, 9])), true));

        netlink.remove_route(&route).unwrap();
        assert!(netlink.remove_route(&route).unwrap_err().is_missing());
        netlink.remove_route(&six).unwrap();
        netlink.remove_address(left, net("10.1.2.3/24")).unwrap();
        assert!(netlink.remove_address(left, net("10.1.2.3/24")).unwrap_err().is_missing());
        route.gateway = Some("192.0.2.1".parse().unwrap());
        assert!(netlink.add_route(&route).is_err(), "nobody knows that gateway");
    });
}

/// With everything that addresses and routes can have.
const AWKWARD: &[&str] = &[
    "addr add 10.1.2.3/24 brd + dev left label left:x",
    "addr add 10.1.2.4/24 dev left",
    "addr add 10.9.0.1 peer 10.9.0.2 dev left",
    "addr add fd00::3/64 dev left nodad",
    "route add 169.254.1.1 dev left scope link",
    "route add default via 169.254.1.1 dev left mtu 1450 metric 5",
    "route add 10.20.0.0/16 via 10.1.2.1 dev left src 10.1.2.4",
    "route add 10.21.0.0/16 via 192.0.2.1 dev left onlink",
    "route add 10.22.0.0/16 via 10.1.2.1 dev left table 77",
    "-6 route add default via fd00::1 dev left metric 9",
    "route add 10.23.0.0/16 via inet6 fe80::1 dev left",
];

#[test]
fn what_was_saved_is_put_back_to_the_letter() {
    in_namespace(|| {
        let mut netlink = Netlink::open().unwrap();
        let left = make(&mut netlink, "left", NewKind::Veth { peer: "right" });
        let right = netlink.interface("right").unwrap().index;
        netlink.set_up(left, true).unwrap();
        netlink.set_up(right, true).unwrap();
        AWKWARD.iter().for_each(|command| drop(ip(command)));
        let all = || {
            let lines = ip("addr show left") + &ip("route show table all") + &ip("-6 route show table all");
            let mut lines = lines.lines().map(str::to_owned).collect::<Vec<_>>();
            lines.retain(|line| !line.contains("fe80") || line.contains("inet6 fe80::1 "));
            // The kernel makes these by itself, a moment later perhaps.
            lines.retain(|line| !line.contains("table local"));
            lines.sort();
            lines
        };
        let before = all();
        let saved = netlink.save(left).unwrap();
        let text = serde_json::to_string(&saved).unwrap();
        netlink.set_up(left, false).unwrap();
        ip("addr flush dev left");
        assert!(ip("route show table 77").is_empty());
        netlink.set_up(left, true).unwrap();
        for _ in 0..2 {
            for saved in &serde_json::from_str::<Vec<Saved>>(&text).unwrap() {
                netlink.put_back(saved).unwrap();
            }
        }
        assert_eq!(all(), before);
        assert!(
            serde_json::from_str::<Saved>(r#"{"kind":"route","message":"zz"}"#)
                .is_ok_and(|saved| netlink.put_back(&saved).is_err())
        );
    });
}

#[test]
fn namespaces_are_entered_by_threads_of_their_own() {
    in_namespace(|| {
        let outside = Namespace::current().unwrap();
        let inside = Namespace::create().unwrap();
        assert_ne!(inside.id().unwrap(), outside.id().unwrap());
        let mut netlink = Netlink::open().unwrap();
        let left = make(&mut netlink, "left", NewKind::Veth { peer: "right" });
        let right = netlink.interface("right").unwrap();
        netlink.move_to(right.index, &inside).unwrap();
        let there = inside.run(|| Netlink::open().unwrap().interface("right").unwrap()).unwrap();
        assert_eq!(there.parent, Some(Parent::Elsewhere(left)));
        assert!(netlink.interface("right").is_err());
        assert_eq!(Namespace::current().unwrap().id().unwrap(), outside.id().unwrap());
    });
}
