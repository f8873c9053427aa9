//! What is made, and that undoing leaves the namespace as it was, wherever the making was broken off.

use std::io;

use super::*;
use crate::netlink::{MacvtapMode, Namespace, Netlink, NetlinkError, NewInterface, NewKind};
use crate::nft::{Forward, Protocol};
use crate::testing::{give_up_rights, in_namespace, run, settle};
use crate::{IpNet, Link, MacAddress};

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0]);

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// A namespace like a pod's, whose cable leads to `outside`.
fn pod(outside: &Namespace) {
    let mut netlink = Netlink::open().unwrap();
    let mac = Some(MacAddress([2, 1, 1, 1, 1, 1]));
    let kind = NewKind::Veth { peer: "world" };
    netlink.create(&NewInterface { name: "eth0", kind, mac, mtu: Some(1400), index: None }).unwrap();
    let world = netlink.interface("world").unwrap().index;
    netlink.move_to(world, outside).unwrap();
    outside
        .run(|| {
            run("ip", "addr add 10.1.2.1/24 dev world");
            run("ip", "addr add fd00::1/64 dev world nodad");
            run("ip", "link set world up");
            run("ip", "link set lo up");
        })
        .unwrap();
    for command in [
        "link set lo up",
        "addr add 10.1.2.3/24 brd + dev eth0",
        "addr add fd00::3/64 dev eth0 nodad",
        "link set eth0 up",
        "route add default via 10.1.2.1 mtu 1300",
        "route add 10.77.0.0/16 via 10.1.2.9",
        "-6 route add default via fd00::1",
    ] {
        run("ip", command);
    }
    while !run("ip", "link show eth0").contains("state UP") {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Everything that could have been changed.
fn picture() -> String {
    settle();
    let ip = ["-d addr show", "route show table all", "-6 route show table all"].map(|what| run("ip", what));
    let settings = [
        "ipv4/ip_forward",
        "ipv6/conf/all/forwarding",
        "ipv6/conf/eth0/accept_ra",
        "ipv6/conf/eth0/disable_ipv6",
    ]
    .map(|path| std::fs::read_to_string(format!("/proc/sys/net/{path}")).unwrap_or_default());
    let mut lines = ip.concat().lines().map(str::to_owned).collect::<Vec<_>>();
    // The kernel makes link-local addresses and routes to addresses of its own by itself, a little later.
    lines.retain(|line| !line.contains("fe80:") && !line.contains("ff00::") && !line.contains("link \n"));
    lines.retain(|line| !line.trim_start().starts_with("valid_lft") && !line.contains("table local"));
    lines.sort();
    lines.join("\n") + &settings.concat() + &run("nft", "list ruleset")
}

fn wanted() -> Vec<Wanted> {
    let web = Forward { protocol: Protocol::Tcp, first: 80, last: 80, range: false };
    vec![
        Wanted::Masquerade {
            outside: Some("eth0".into()),
            tap: "tap0".into(),
            bridge: "k6t-eth0".into(),
            bridge_mac: MAC,
            queues: 2,
            mtu: 1400,
            networks: vec![
                Behind { gateway: net("10.0.2.1/24"), guest: net("10.0.2.2/24") },
                Behind { gateway: net("fd10:0:2::1/120"), guest: net("fd10:0:2::2/120") },
            ],
            forwards: Forwards::Only(vec![web]),
        },
        Wanted::PodBridge {
            pod: "eth0".into(),
            tap: "tap0".into(),
            bridge: "k6t-eth0".into(),
            queues: 1,
            mtu: 1400,
            address: Some(net("169.254.75.10/32")),
        },
        Wanted::BridgePort { bridge: "br9".into(), create: true, tap: "tap9".into(), queues: 1, mtu: None },
        Wanted::Macvtap {
            parent: "eth0".into(),
            name: "mvt0".into(),
            mac: MacAddress([2, 0, 0, 0, 0, 7]),
            mode: MacvtapMode::Bridge,
            queues: 1,
            mtu: Some(1300),
        },
    ]
}

/// Whether the machine lets tests open a macvtap: its file is in `/dev`, which is not of the namespace.
fn can_open(wanted: &Wanted, error: &SetupError) -> bool {
    !matches!((wanted, error), (Wanted::Macvtap { .. }, SetupError::Tap(_)))
}

/// Makes `wanted`, but is killed when step `last` is written down; what was written.
fn die_at(wanted: &Wanted, last: usize) -> (Record, Result<Made, SetupError>) {
    // A tap of the same name is gone.
    settle();
    let (mut record, mut count, mut written) = (Record::default(), 0, String::new());
    let made = HostSetup::new("default/vm").unwrap().make(wanted, &mut record, &mut |record| {
        written = serde_json::to_string(record).unwrap();
        count += 1;
        if count > last { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    });
    (serde_json::from_str(&written).unwrap(), made)
}

fn undo(owner: &str, record: Record) {
    let kept = undo_beside_others(owner, record);
    assert!(kept.is_empty(), "{kept:?}");
}

/// What of the record others still need.
fn undo_beside_others(owner: &str, mut record: Record) -> Record {
    settle();
    let mut saved = record.clone();
    let mut setup = HostSetup::new(owner).unwrap();
    let left = setup.undo(&mut record, &mut |record| {
        saved = record.clone();
        Ok(())
    });
    assert_eq!(left, []);
    assert_eq!(record, saved);
    record
}

#[test]
fn wherever_it_is_killed_undoing_leaves_all_as_it_was() {
    for wanted in &wanted() {
        in_namespace(|| {
            let outside = Namespace::create().unwrap();
            pod(&outside);
            let before = picture();
            for last in 0.. {
                let (record, made) = die_at(wanted, last);
                let whole = match &made {
                    Err(SetupError::Record(_)) => false,
                    Err(error) => {
                        assert!(!can_open(wanted, error), "{error:?}");
                        true
                    }
                    Ok(made) => {
                        assert!(made.interface == wanted.interface() && made.tap.name() == made.interface);
                        true
                    }
                };
                let half = record.clone();
                drop(made);
                undo("default/vm", record);
                assert_eq!(picture(), before, "{wanted:?} broken off at {last}");
                // What is undone already is no fault.
                undo("default/vm", half);
                assert_eq!(picture(), before, "{wanted:?} undone twice at {last}");
                if whole {
                    assert!(last > 0);
                    return;
                }
            }
        });
    }
}

#[test]
fn a_lost_record_does_not_keep_a_machine_from_starting_again() {
    in_namespace(|| {
        let outside = Namespace::create().unwrap();
        pod(&outside);
        let all = wanted();
        drop(die_at(&all[0], usize::MAX).1.unwrap());
        let (record, made) = die_at(&all[0], usize::MAX);
        assert!(made.is_ok(), "{made:?}");
        drop(made);
        undo("default/vm", record);
        assert!(!run("ip", "link show").contains("k6t"));
        // Another's of the same name is not taken away.
        run("ip", "link add k6t-eth0 type bridge");
        let (record, made) = die_at(&all[0], usize::MAX);
        assert!(matches!(&made, Err(SetupError::Netlink(error)) if error.is_existing()), "{made:?}");
        undo("default/vm", record);
        assert!(run("ip", "link show").contains("k6t-eth0"));
    });
}

#[test]
fn what_somebody_else_made_or_changed_is_left_alone() {
    in_namespace(|| {
        let outside = Namespace::create().unwrap();
        pod(&outside);
        let (record, made) = die_at(&wanted()[0], usize::MAX);
        drop(made.unwrap());
        let before = picture();
        undo_beside_others("default/other", record.clone());
        assert!(run("ip", "link show k6t-eth0").contains("k6t-eth0"), "the mark is another machine's");
        assert_ne!(picture(), before);
        run("ip", "link del k6t-eth0");
        run("ip", "link add k6t-eth0 type bridge");
        let bridge = run("ip", "link show k6t-eth0");
        undo("default/vm", record.clone());
        assert_eq!(run("ip", "link show k6t-eth0"), bridge, "the index is another's");
        let other = Namespace::create().unwrap();
        let left =
            other.run(|| HostSetup::new("default/vm").unwrap().undo(&mut record.clone(), &mut |_| Ok(())));
        assert_eq!(left.unwrap().len(), 1);
    });
}

#[test]
fn packets_are_forwarded_as_long_as_one_machine_needs_it() {
    in_namespace(|| {
        let outside = Namespace::create().unwrap();
        pod(&outside);
        let forward = || std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap();
        let before = forward();
        let (first, made) = die_at(&wanted()[0], usize::MAX);
        let mut second = Record::default();
        let Wanted::Masquerade { outside, bridge_mac, queues, mtu, forwards, .. } = wanted().remove(0) else {
            unreachable!()
        };
        let mut other = Wanted::Masquerade {
            outside,
            bridge_mac,
            queues,
            mtu,
            forwards,
            tap: "tap1".into(),
            bridge: "k6t-other".into(),
            networks: vec![Behind { gateway: net("10.0.2.129/24"), guest: net("10.0.2.130/24") }],
        };
        let mut setup = HostSetup::new("default/other").unwrap();
        let refused = setup.make(&other, &mut second, &mut |_| Ok(()));
        assert!(matches!(refused, Err(SetupError::Overlap { .. })), "{refused:?}");
        let Wanted::Masquerade { networks, .. } = &mut other else { unreachable!() };
        *networks = vec![Behind { gateway: net("10.0.3.1/24"), guest: net("10.0.3.2/24") }];
        let beside = setup.make(&other, &mut second, &mut |_| Ok(())).unwrap();
        drop(made);
        let kept = undo_beside_others("default/vm", first);
        assert_eq!(forward(), "1\n");
        drop(beside);
        undo("default/other", second);
        undo("default/vm", kept);
        assert_eq!(forward(), before);
        assert!(!run("ip", "link show").contains("k6t"));
    });
}

#[test]
fn names_that_are_longer_than_a_mark_are_undone_too() {
    in_namespace(|| {
        let owner = format!("default/{}", "ä".repeat(150));
        let wanted = Wanted::BridgePort {
            bridge: "br9".into(),
            create: false,
            tap: "tap9".into(),
            queues: 1,
            mtu: None,
        };
        run("ip", "link add br9 type bridge");
        let mut setup = HostSetup::new(&owner).unwrap();
        drop(setup.make(&wanted, &mut Record::default(), &mut |_| Ok(())).unwrap());
        let masquerade = Wanted::Masquerade {
            outside: None,
            tap: "tap8".into(),
            bridge: "k6t-8".into(),
            bridge_mac: MAC,
            queues: 1,
            mtu: 1500,
            networks: vec![Behind { gateway: net("10.0.2.1/24"), guest: net("10.0.2.2/24") }],
            forwards: Forwards::All,
        };
        let mut record = Record::default();
        drop(setup.make(&masquerade, &mut record, &mut |_| Ok(())).unwrap());
        undo(&owner, record);
        assert!(!run("ip", "link show").contains("k6t-8"));
    });
}

#[test]
fn without_rights_nothing_is_made_and_it_is_said_what_to_do() {
    in_namespace(|| {
        let outside = Namespace::create().unwrap();
        pod(&outside);
        let before = picture();
        assert!(Survey::gather().unwrap().rights.configure);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                give_up_rights();
                let survey = Survey::gather().unwrap();
                assert!(!survey.rights.configure && survey.primary().is_some(), "looking needs none");
                for wanted in &wanted() {
                    let (record, made) = die_at(wanted, usize::MAX);
                    let error = made.unwrap_err();
                    assert!(matches!(error, SetupError::Forbidden(_)), "{error:?}");
                    assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
                    undo("default/vm", record);
                }
            });
        });
        assert_eq!(picture(), before);
    });
}

#[test]
fn a_bridge_for_several_goes_with_its_last_port() {
    in_namespace(|| {
        let port = |tap: &str| Wanted::BridgePort {
            bridge: "br9".into(),
            create: true,
            tap: tap.into(),
            queues: 1,
            mtu: Some(1300),
        };
        let make = |owner: &str, tap: &str| {
            let mut record = Record::default();
            let made = HostSetup::new(owner).unwrap().make(&port(tap), &mut record, &mut |_| Ok(())).unwrap();
            assert_eq!(made.tap.mtu(), Some(1300));
            (record, made)
        };
        let (first, one) = make("default/one", "tap1");
        let (second, two) = make("default/two", "tap2");
        drop(one);
        undo("default/one", first);
        assert!(run("ip", "link show tap2").contains("master br9"));
        undo("default/two", second);
        assert!(!run("ip", "link show").contains("br9"));
        drop(two);
        let mut missing = port("tap1");
        if let Wanted::BridgePort { create, .. } = &mut missing {
            *create = false;
        }
        let made =
            HostSetup::new("default/vm").unwrap().make(&missing, &mut Record::default(), &mut |_| Ok(()));
        assert!(matches!(made, Err(SetupError::Netlink(NetlinkError::NoInterface(_)))), "{made:?}");
    });
}

/// A guest is a namespace at the end of a cable that is plugged into the bridge beside the tap.
fn plug_guest(bridge: &str, guest: &Namespace, commands: &[&str]) {
    let mut netlink = Netlink::open().unwrap();
    let kind = NewKind::Veth { peer: "eth0g" };
    netlink.create(&NewInterface { name: "guest", kind, mac: None, mtu: None, index: None }).unwrap();
    let inner = netlink.interface("eth0g").unwrap().index;
    netlink.move_to(inner, guest).unwrap();
    run("ip", &format!("link set guest up master {bridge}"));
    guest.run(|| commands.iter().for_each(|command| drop(run("ip", command)))).unwrap();
}

/// Connects from one namespace to a server in another; what the server saw as the client's address.
fn reach(server: &Namespace, bind: &str, client: &Namespace, target: &str) -> String {
    use std::net::{TcpListener, TcpStream};
    // Somebody may have listened there a moment ago.
    settle();
    let listener = server.run(|| TcpListener::bind(bind).unwrap()).unwrap();
    let stream = client.run(|| {
        TcpStream::connect_timeout(&target.parse().unwrap(), std::time::Duration::from_secs(60)).unwrap()
    });
    let (_, from) = listener.accept().unwrap();
    drop(stream.unwrap());
    from.ip().to_string()
}

#[test]
fn a_masqueraded_guest_reaches_out_and_is_reached() {
    in_namespace(|| {
        let (here, outside, guest) =
            (Namespace::current().unwrap(), Namespace::create().unwrap(), Namespace::create().unwrap());
        pod(&outside);
        let (record, made) = die_at(&wanted()[0], usize::MAX);
        let made = made.unwrap();
        assert_eq!((made.tap.mtu(), made.tap.queue_pairs()), (Some(1400), 2));
        let shown = run("ip", "-d addr show k6t-eth0");
        for part in
            ["02:00:00:00:00:00", "mtu 1400", "10.0.2.1/24", "fd10:0:2::1/120", "alias kubevmm:default/vm"]
        {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert!(run("ip", "-d link show tap0").contains("master k6t-eth0"));
        plug_guest(
            "k6t-eth0",
            &guest,
            &[
                "addr add 10.0.2.2/24 dev eth0g",
                "addr add fd10:0:2::2/120 dev eth0g nodad",
                "link set eth0g up",
                "route add default via 10.0.2.1",
                "-6 route add default via fd10:0:2::1",
            ],
        );
        assert_eq!(reach(&outside, "10.1.2.1:7000", &guest, "10.1.2.1:7000"), "10.1.2.3");
        assert_eq!(reach(&outside, "[fd00::1]:7000", &guest, "[fd00::1]:7000"), "fd00::3");
        assert_eq!(reach(&guest, "0.0.0.0:80", &outside, "10.1.2.3:80"), "10.1.2.1");
        assert_eq!(reach(&guest, "[::]:80", &outside, "[fd00::3]:80"), "fd00::1");
        assert_eq!(reach(&guest, "0.0.0.0:80", &here, "127.0.0.1:80"), "10.0.2.1");
        run("ip", "link del guest");
        drop(made);
        undo("default/vm", record);
    });
}

#[test]
fn a_bridged_guest_takes_the_pods_place() {
    in_namespace(|| {
        let (outside, guest) = (Namespace::create().unwrap(), Namespace::create().unwrap());
        pod(&outside);
        let (record, made) = die_at(&wanted()[1], usize::MAX);
        let made = made.unwrap();
        let nic = run("ip", "-d addr show eth0-nic");
        assert!(nic.contains("master k6t-eth0") && nic.contains("learning off"), "{nic}");
        assert!(!nic.contains("02:01:01:01:01:01 brd") && !nic.contains("inet "), "{nic}");
        assert!(run("ip", "addr show k6t-eth0").contains("169.254.75.10/32"));
        plug_guest(
            "k6t-eth0",
            &guest,
            &[
                "link set eth0g address 02:01:01:01:01:01",
                "addr add 10.1.2.3/24 dev eth0g",
                "addr add fd00::3/64 dev eth0g nodad",
                "link set eth0g up",
            ],
        );
        assert_eq!(reach(&outside, "10.1.2.1:7000", &guest, "10.1.2.1:7000"), "10.1.2.3");
        assert_eq!(reach(&guest, "[::]:80", &outside, "[fd00::3]:80"), "fd00::1");
        run("ip", "link del guest");
        drop(made);
        undo("default/vm", record);
    });
}
