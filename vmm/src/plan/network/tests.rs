//! Plans of cards, for hosts that are made up.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use net::MacAddress;
use net::dhcp::Lease4;
use net::host::{Behind, Forwards, Resolver, Rights, Survey, Wanted};
use net::netlink::{Address, Interface, Kind, MacvtapMode, Route, Scope};
use net::nft::{Forward, Protocol};
use spec::{Manifests, Places};

use super::*;

/// A machine with these cards and networks (flow lists), and more documents.
fn plan_with(host: &Host, interfaces: &str, networks: &str, more: &str) -> Cards {
    let text = format!(
        "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: x, namespace: default}}\nspec:\n  \
         subdomain: {}\n  domain:\n    memory: {{guest: 256Mi}}\n    devices:\n      interfaces: {interfaces}\n  \
         networks: {networks}\n{more}",
        host.subdomain
    );
    let manifests = Manifests::parse("x", &text).unwrap();
    let verdict = spec::admit(&manifests.documents[0], &manifests);
    assert!(verdict.allowed, "{}", spec::report::text(&verdict));
    let vmi = verdict.machine().unwrap();
    let resolved = spec::resolve(vmi, &manifests, &Places::default());
    let Host { survey, options, vif_cache, .. } = host;
    plan(&Given { vmi, options, resolved: &resolved, survey, vif_cache, queue_pairs: 2 }, false)
}

/// What a test's host is like.
#[derive(Default)]
struct Host {
    survey: Survey,
    options: Options,
    vif_cache: BTreeMap<String, VifCache>,
    subdomain: &'static str,
}

fn interface(index: u32, name: &str, kind: Kind, master: Option<u32>) -> Interface {
    Interface {
        index,
        name: name.into(),
        kind,
        mac: Some(MacAddress([2, 0, 0, 0, 1, u8::try_from(index).unwrap()])),
        mtu: 1450,
        up: true,
        carrier: true,
        master,
        parent: None,
        alias: None,
    }
}

fn address(interface: u32, net: &str) -> Address {
    let net = net.parse().unwrap();
    Address { interface, net, peer: None, broadcast: None, scope: Scope::Global, permanent: true }
}

fn route(interface: u32, destination: &str, gateway: Option<&str>) -> Route {
    Route {
        destination: destination.parse().unwrap(),
        gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        interface,
        source: None,
        metric: 0,
        scope: Scope::Global,
        protocol: 3,
        on_link: false,
    }
}

/// A machine with one card to the outside, by root.
fn host() -> Host {
    let survey = Survey {
        interfaces: vec![
            interface(1, "lo", Kind::Loopback, None),
            interface(2, "eth0", Kind::Veth, None),
            interface(3, "br-lan", Kind::Bridge, None),
        ],
        addresses: vec![address(2, "10.244.0.7/24")],
        routes: vec![route(2, "0.0.0.0/0", Some("10.244.0.1"))],
        resolver: Resolver {
            nameservers: vec!["127.0.0.53".parse().unwrap(), "10.96.0.10".parse().unwrap()],
            search: vec!["default.svc.cluster.local".into(), "cluster.local".into()],
        },
        hostname: "host".into(),
        rights: Rights { configure: true, tun: true },
        passt: Some("/usr/bin/passt".into()),
        in_pod: false,
    };
    Host { survey, subdomain: "null", ..Host::default() }
}

fn pod() -> Host {
    let mut host = host();
    host.survey.in_pod = true;
    host
}

const POD: &str = "[{name: default, pod: {}}]";

fn card(cards: &Cards) -> &NicPlan {
    assert!(cards.errors.is_empty(), "{:?}", cards.errors);
    &cards.cards[0].1
}

fn lease(nic: &NicPlan) -> &Lease4 {
    nic.answers.as_ref().unwrap().lease4.as_ref().unwrap()
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

#[test]
fn masquerade_in_a_pod_is_kubevirts() {
    let cards = plan_with(&pod(), "[{name: default, masquerade: {}}]", POD, "");
    let nic = card(&cards);
    let BindingPlan::Made(Wanted::Masquerade {
        outside, tap, bridge, queues, mtu, networks, forwards, ..
    }) = &nic.binding
    else {
        panic!("{nic:?}")
    };
    assert_eq!((outside.as_deref(), tap.as_str(), bridge.as_str()), (Some("eth0"), "tap0", "k6t-eth0"));
    assert_eq!((*queues, *mtu, forwards), (2, 1450, &Forwards::All));
    let [Behind { gateway, guest }] = networks[..] else { panic!("{networks:?}") };
    assert_eq!((gateway.to_string(), guest.to_string()), ("10.0.2.1/24".into(), "10.0.2.2/24".into()));
    assert_eq!(nic.mac.0, [2, 0, 0, 0, 1, 2], "the pod's");
    let lease = lease(nic);
    assert_eq!((lease.address, lease.router, lease.client), (ip("10.0.2.2"), Some(ip("10.0.2.1")), None));
    assert_eq!((lease.dns.as_slice(), lease.mtu), (&[ip("10.96.0.10")][..], Some(1450)));
    assert_eq!(lease.hostname.as_deref(), Some("x"));
    let status = nic.status();
    assert_eq!((status.ip_address.as_str(), status.pod_interface_name.as_str()), ("10.244.0.7", "eth0"));
    assert_eq!((status.queue_count, status.link_state.as_str()), (2, "up"));
}

#[test]
fn masquerade_outside_of_a_pod_forwards_what_is_named() {
    let ports = "[{name: default, masquerade: {}, ports: [{port: 80}, {port: 53, protocol: UDP}]}]";
    let cards = plan_with(&host(), ports, POD, "");
    let BindingPlan::Made(Wanted::Masquerade { tap, forwards, .. }) = &card(&cards).binding else { panic!() };
    assert!(tap.len() == 14 && tap != "tap0", "a name of its own: {tap}");
    let one = |protocol, port| Forward { protocol, first: port, last: port, range: false };
    assert_eq!(*forwards, Forwards::Only(vec![one(Protocol::Tcp, 80), one(Protocol::Udp, 53)]));
    assert!(cards.warnings.is_empty());
    let cards = plan_with(&host(), "[{name: default, masquerade: {}}]", POD, "");
    let BindingPlan::Made(Wanted::Masquerade { forwards: Forwards::Only(none), .. }) = &card(&cards).binding
    else {
        panic!()
    };
    assert!(none.is_empty());
    assert_eq!(cards.warnings[0].field, "spec.domain.devices.interfaces[0].masquerade");
    let mut as_pod = host();
    as_pod.options.pod_network = Some("eth0".into());
    let cards = plan_with(&as_pod, "[{name: default, masquerade: {}}]", POD, "");
    let BindingPlan::Made(Wanted::Masquerade { forwards: Forwards::All, .. }) = &card(&cards).binding else {
        panic!()
    };
}

#[test]
fn masquerade_has_the_versions_of_ip_that_the_pod_has() {
    let mut host = pod();
    host.survey.addresses.push(address(2, "fd00::7/64"));
    let networks = "[{name: default, pod: {vmNetworkCIDR: 10.7.0.0/16, vmIPv6NetworkCIDR: 'fd07::/64'}}]";
    let cards = plan_with(&host, "[{name: default, masquerade: {}}]", networks, "");
    let answers = card(&cards).answers.clone().unwrap();
    assert_eq!(answers.lease4.unwrap().address, ip("10.7.0.2"));
    assert_eq!(answers.lease6.unwrap().address.to_string(), "fd07::2");
    assert_eq!(answers.advert.unwrap().prefix.to_string(), "fd07::");
    assert_eq!(card(&cards).status().ip_addresses, ["10.244.0.7", "fd00::7"]);
    host.survey.addresses.remove(0);
    let cards = plan_with(&host, "[{name: default, masquerade: {}}]", networks, "");
    let answers = card(&cards).answers.clone().unwrap();
    assert!(answers.lease4.is_none() && answers.lease6.is_some());
}

#[test]
fn a_network_that_another_has_is_not_taken() {
    let mut host = host();
    host.survey.addresses.push(address(3, "10.0.2.1/24"));
    let interfaces = "[{name: default, masquerade: {}, ports: [{port: 80}]}]";
    let cards = plan_with(&host, interfaces, POD, "");
    assert_eq!(lease(card(&cards)).address, ip("10.0.3.2"), "the next one that is free");
    let cards = plan_with(&host, interfaces, "[{name: default, pod: {vmNetworkCIDR: 10.0.0.0/16}}]", "");
    let [error] = &cards.errors[..] else { panic!("{:?}", cards.errors) };
    assert!(
        error.message.contains("br-lan (10.0.2.1/24)") && error.message.contains("vmNetworkCIDR"),
        "{error}"
    );
}

#[test]
fn bridge_takes_a_pods_address_and_no_machines() {
    let cards =
        plan_with(&pod(), "[{name: default, bridge: {}, dhcpOptions: {ntpServers: [10.0.0.9]}}]", POD, "");
    let nic = card(&cards);
    let BindingPlan::Made(Wanted::PodBridge { pod, address, .. }) = &nic.binding else { panic!("{nic:?}") };
    assert_eq!((pod.as_str(), address.unwrap().to_string()), ("eth0", "169.254.75.10/32".into()));
    let lease = lease(nic);
    assert_eq!((lease.address, lease.prefix, lease.router), (ip("10.244.0.7"), 24, Some(ip("10.244.0.1"))));
    assert_eq!((lease.server, lease.client), (ip("169.254.75.10"), Some(nic.mac)));
    assert_eq!(lease.extras.ntp, [ip("10.0.0.9")]);
    assert!(cards.warnings.is_empty());

    let cards = plan_with(&host(), "[{name: default, bridge: {}}]", POD, "");
    let BindingPlan::Passt(passt) = &card(&cards).binding else { panic!() };
    assert_eq!(passt.forwards, Forwards::Only(Vec::new()));
    assert!(cards.warnings[0].message.contains("passt takes the place of bridge"), "{:?}", cards.warnings);
}

#[test]
fn what_kubevirts_handler_made_is_used() {
    let mut host = pod();
    host.survey.rights = Rights::default();
    host.survey.interfaces = vec![
        interface(2, "eth0-nic", Kind::Veth, Some(5)),
        interface(3, "eth0", Kind::Other("dummy".into()), None),
        interface(4, "tap0", Kind::Tap { multi_queue: false }, Some(5)),
        interface(5, "k6t-eth0", Kind::Bridge, None),
    ];
    host.survey.addresses = vec![address(3, "10.244.0.7/24"), address(5, "10.0.2.1/24")];
    let cache = r#"{"IP": {"IP": "10.244.0.7", "Mask": "////AA=="}, "MAC": "3q0AAL7v", "Gateway": "10.244.0.1",
        "AdvertisingIPAddr": "169.254.75.10", "Mtu": 1400}"#;
    host.vif_cache.insert("eth0".into(), VifCache::parse(cache).unwrap());
    let cards = plan_with(&host, "[{name: default, bridge: {}}]", POD, "");
    let nic = card(&cards);
    assert_eq!(nic.binding, BindingPlan::Interface { name: "tap0".into() });
    assert_eq!(nic.mac.to_string(), "de:ad:00:00:be:ef", "the pod's of old");
    assert_eq!((lease(nic).address, lease(nic).mtu), (ip("10.244.0.7"), Some(1400)));
    assert_eq!(lease(nic).router, Some(ip("10.244.0.1")));

    let cards = plan_with(&host, "[{name: default, masquerade: {}}]", POD, "");
    assert_eq!(lease(card(&cards)).address, ip("10.0.2.2"));

    let multus = "[{name: foo, multus: {networkName: lan}}]";
    for tap in ["tap2c26b46b68f", "tap1"] {
        host.survey.interfaces[2].name = tap.into();
        let cards = plan_with(&host, "[{name: foo, bridge: {}}]", multus, "");
        assert_eq!(card(&cards).binding, BindingPlan::Interface { name: tap.into() });
    }
    let macvtap = interface(9, "pod2c26b46b68f", Kind::Macvtap(MacvtapMode::Bridge), None);
    host.survey.interfaces = vec![macvtap];
    let cards = plan_with(&host, "[{name: foo, binding: {name: macvtap}}]", multus, "");
    assert_eq!(card(&cards).binding, BindingPlan::Interface { name: "pod2c26b46b68f".into() });
    assert_eq!(card(&cards).mac.0, [2, 0, 0, 0, 1, 9], "a macvtap's frames are those for its own address");
    let other = "[{name: foo, macvtap: {}, macAddress: '02:00:00:00:00:09'}]";
    let cards = plan_with(&host, other, multus, "");
    assert_eq!(cards.errors[0].field, "spec.domain.devices.interfaces[0].macAddress");
}

#[test]
fn a_tap0_outside_of_a_pod_is_anyones() {
    let mut host = host();
    host.survey.interfaces.push(interface(4, "tap0", Kind::Tap { multi_queue: false }, None));
    let cards = plan_with(&host, "[{name: default, masquerade: {}, ports: [{port: 80}]}]", POD, "");
    assert!(matches!(card(&cards).binding, BindingPlan::Made(_)));
}

const BRIDGE_NAD: &str = r#"
---
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: lan, namespace: default}
spec:
  config: '{"type": "bridge", "bridge": "br-lan", "mtu": 1400, "ipam": {"type": "static",
    "addresses": [{"address": "10.5.0.9/16", "gateway": "10.5.0.1"}], "dns": {"nameservers": ["10.5.0.53"]}}}'
"#;
const MULTUS: &str = "[{name: lan, multus: {networkName: lan}}]";

#[test]
fn networks_of_multus_are_ports_of_bridges_or_macvtaps() {
    let cards = plan_with(&host(), "[{name: lan, bridge: {}}]", MULTUS, BRIDGE_NAD);
    let nic = card(&cards);
    let BindingPlan::Made(Wanted::BridgePort { bridge, create, mtu, .. }) = &nic.binding else {
        panic!("{nic:?}")
    };
    assert_eq!((bridge.as_str(), *create, *mtu), ("br-lan", true, Some(1400)));
    assert_eq!((lease(nic).address, lease(nic).router), (ip("10.5.0.9"), Some(ip("10.5.0.1"))));
    assert_eq!(lease(nic).dns, [ip("10.5.0.53")]);

    let macvtap = BRIDGE_NAD.replace(r#""bridge", "bridge": "br-lan""#, r#""macvlan", "master": "eth0""#);
    let cards = plan_with(&host(), "[{name: lan, binding: {name: macvtap}}]", MULTUS, &macvtap);
    let nic = card(&cards);
    let BindingPlan::Made(Wanted::Macvtap { parent, mac, mode, .. }) = &nic.binding else {
        panic!("{nic:?}")
    };
    assert_eq!((parent.as_str(), *mac, *mode), ("eth0", nic.mac, MacvtapMode::Bridge));
    assert!(nic.answers.is_none());

    let mut named = host();
    named.options.multus = vec![("lan".into(), "br-lan".into())];
    let cards = plan_with(&named, "[{name: lan, bridge: {}}]", MULTUS, "");
    assert!(matches!(card(&cards).binding, BindingPlan::Made(Wanted::BridgePort { create: false, .. })));
}

#[test]
fn what_cannot_be_had_is_refused_where_it_is_named() {
    let refused = |host: &Host, interfaces: &str, more: &str| {
        let cards = plan_with(host, interfaces, MULTUS, more);
        let [error] = &cards.errors[..] else { panic!("{:?}", cards.errors) };
        (error.field.clone(), error.message.clone())
    };
    let network = "spec.networks[0].multus.networkName";
    let (field, message) = refused(&host(), "[{name: lan, bridge: {}}]", "");
    assert!(field == network && message.contains("--multus lan=INTERFACE"), "{field}: {message}");
    for (from, to, want) in [
        (r#""mtu": 1400"#, r#""vlan": 7"#, "VLAN 7"),
        (r#""bridge", "bridge""#, r#""ovs", "bridge""#, "\"ovs\""),
        (r#""bridge", "bridge""#, r#""sriov", "bridge""#, "passed through"),
    ] {
        let (field, message) = refused(&host(), "[{name: lan, bridge: {}}]", &BRIDGE_NAD.replace(from, to));
        assert!(field == network && message.contains(want), "{field}: {message}");
    }
    let (field, message) = refused(&host(), "[{name: lan, sriov: {}}]", BRIDGE_NAD);
    assert!(field.ends_with("[0].sriov") && message.contains("--tap lan=INTERFACE"), "{field}: {message}");
    let mut weak = host();
    weak.survey.rights = Rights::default();
    let (_, message) = refused(&weak, "[{name: lan, bridge: {}}]", BRIDGE_NAD);
    assert!(message.contains("CAP_NET_ADMIN"), "{message}");
    weak.survey.passt = None;
    let cards = plan_with(&weak, "[{name: default, masquerade: {}}]", POD, "");
    assert!(cards.errors[0].message.contains("apt install passt"), "{:?}", cards.errors);
    weak.options.cards_are_defaults = true;
    let cards = plan_with(&weak, "[{name: default, bridge: {}}]", POD, "");
    assert!(cards.errors.is_empty() && cards.cards.is_empty() && cards.warnings.len() == 1);
}

#[test]
fn taps_of_the_command_line_come_first() {
    let mut host = Host { subdomain: "null", ..Host::default() };
    host.options.taps =
        vec![("lan".into(), TapSource::Files(vec![3, 4])), ("gone".into(), TapSource::Files(vec![5]))];
    let cards = plan_with(&host, "[{name: lan, sriov: {}}]", MULTUS, "");
    assert_eq!(cards.cards[0].1.binding, BindingPlan::Files { descriptors: vec![3, 4] });
    assert!(cards.errors[0].message.contains("--tap names a network \"gone\""), "{:?}", cards.errors);
    host.options.taps = vec![("lan".into(), TapSource::Interface("mine".into()))];
    let cards = plan_with(&host, "[{name: lan, bridge: {}, state: down}]", MULTUS, "");
    let nic = card(&cards);
    assert_eq!(nic.binding, BindingPlan::Interface { name: "mine".into() });
    assert!(!nic.link_up && nic.answers.is_none());
    let cards = plan_with(&host, "[{name: lan, bridge: {}, state: absent}]", MULTUS, "");
    assert!(cards.cards.is_empty() && cards.errors.is_empty());
}

#[test]
fn a_subdomain_is_searched_first() {
    let mut host = pod();
    host.subdomain = "shop";
    let cards = plan_with(&host, "[{name: default, masquerade: {}}]", POD, "");
    assert_eq!(lease(card(&cards)).search[0], "shop.default.svc.cluster.local");
    // Elsewhere than in a cluster nobody keeps such names.
    host.survey.resolver.search = vec!["example.com".to_owned()];
    let cards = plan_with(&host, "[{name: default, masquerade: {}}]", POD, "");
    assert_eq!(lease(card(&cards)).search, ["example.com"]);
}

#[test]
fn passt_forwards_what_is_named() {
    let cards = plan_with(&host(), "[{name: default, slirp: {}, ports: [{port: 80}]}]", POD, "");
    let BindingPlan::Passt(passt) = &card(&cards).binding else { panic!() };
    let range = Forward { protocol: Protocol::Tcp, first: 80, last: 80, range: false };
    assert_eq!(passt.forwards, Forwards::Only(vec![range]));
    assert_eq!(card(&cards).queue_pairs, 1, "a socket has no more");
}

#[test]
fn cards_are_limited_and_handed_to_the_kernel_as_asked() {
    let plan = |annotation: &str, limits: &[(&str, &str)], tap: bool| {
        let mut host = host();
        let limit = |(name, limit): &(&str, &str)| (name.to_string(), limit.parse().unwrap());
        host.options.nic_limits = limits.iter().map(limit).collect();
        if tap {
            host.options.taps = vec![("default".into(), "tap0".parse().unwrap())];
        }
        let text = format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata:\n  name: x\n  annotations: {{{annotation}}}\n\
             spec:\n  domain:\n    memory: {{guest: 256Mi}}\n    devices:\n      interfaces: [{{name: default, masquerade: {{}}}}]\n  \
             networks: [{{name: default, pod: {{}}}}]\n"
        );
        let manifests = Manifests::parse("x", &text).unwrap();
        let verdict = spec::admit(&manifests.documents[0], &manifests);
        let vmi = verdict.machine().unwrap();
        let resolved = spec::resolve(vmi, &manifests, &Places::default());
        let Host { survey, options, vif_cache, .. } = &host;
        plan(&Given { vmi, options, resolved: &resolved, survey, vif_cache, queue_pairs: 1 }, false)
    };
    let vhost = "kubevmm.io/vhost-net: \"true\"";
    let cards = plan("", &[("default", "packets:5,bytes:1k"), ("default", "bytes:2k")], false);
    let limit = cards.cards[0].1.limit.unwrap();
    assert_eq!((limit.packets, limit.bytes.map(|bytes| bytes.get())), (None, Some(2000)));
    assert!(!cards.cards[0].1.vhost);
    assert_eq!(plan("", &[("other", "bytes:1")], false).errors.len(), 1);
    assert!(plan(vhost, &[], true).cards[0].1.vhost);
    let answered = plan(vhost, &[], false);
    assert!(
        !answered.cards[0].1.vhost && answered.warnings.iter().any(|it| it.message.contains("vhost-net"))
    );
    for refused in
        [plan("kubevmm.io/vhost-net: \"yes\"", &[], true), plan(vhost, &[("default", "bytes:1")], true)]
    {
        assert!(refused.cards.is_empty() && refused.errors[0].field == "metadata.annotations");
    }
}
