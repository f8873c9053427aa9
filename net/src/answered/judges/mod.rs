//! Clients that others wrote, on a tap whose other end is a card with answers. What they make of a lease is held against
//! what they make of the same lease from dnsmasq. Clients that are not installed judge nothing.

mod networkd;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::tests::*;
use super::*;
use crate::dhcp::{Extras4, PrivateOption, Route4};
use crate::testing::{in_namespace, run, settle, starting};
use crate::{MacAddress, Tap};

/// As client programs hand it to their scripts.
type Told = BTreeMap<String, String>;

const PATH: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
const PATIENCE: Duration = Duration::from_secs(120);

/// A lease with everything in it.
fn full() -> Answers {
    let mut answers = answers();
    answers.neighbours.clear();
    if let Some(lease) = &mut answers.lease4 {
        lease.client = Some(MacAddress(GUEST));
        lease.routes = vec![Route4 { destination: ip("172.16.0.0"), prefix: 12, via: Some(ip("10.0.2.9")) }];
        lease.dns = vec![ip("10.96.0.10"), ip("10.96.0.11")];
        lease.search =
            ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"].map(str::to_owned).to_vec();
        lease.hostname = Some("testvm".to_owned());
        lease.mtu = Some(1480);
        lease.extras = Extras4 {
            boot_file: Some("pxelinux.0".to_owned()),
            tftp_server: Some("tftp.example".to_owned()),
            ntp: vec![ip("10.1.1.1")],
            private: vec![PrivateOption { code: 224, value: "private".to_owned() }],
        };
    }
    if let Some(lease) = &mut answers.lease6 {
        lease.dns = vec![ip6("fd00::a")];
        lease.search = vec!["cluster.local".to_owned()];
    }
    answers
}

/// The same for dnsmasq.
const DNSMASQ: &str = "port=0\nno-ping\nno-hosts\nno-resolv\nleasefile-ro\ndhcp-authoritative\nuser=root\n\
    dhcp-range=10.0.2.2,10.0.2.2,255.255.255.0,23976h\ndhcp-host=02:00:00:00:00:07,10.0.2.2,testvm\n\
    dhcp-option-force=3,10.0.2.1\ndhcp-option-force=6,10.96.0.10,10.96.0.11\ndhcp-option-force=26,1480\n\
    dhcp-option-force=option:domain-name,default.svc.cluster.local\n\
    dhcp-option-force=option:domain-search,default.svc.cluster.local,svc.cluster.local,cluster.local\n\
    dhcp-option-force=121,172.16.0.0/12,10.0.2.9,0.0.0.0/0,10.0.2.1\ndhcp-option-force=42,10.1.1.1\n\
    dhcp-option-force=66,tftp.example\ndhcp-option-force=67,pxelinux.0\ndhcp-option-force=224,private\n";

/// What only one of the two says: dnsmasq when to renew and the broadcast address, which clients work out themselves,
/// and who sends the boot file; we the client's identifier (RFC 6842).
const ASIDE: [&str; 12] = [
    "broadcast",
    "broadcast_address",
    "dhcp_client_identifier",
    "dhcp_rebinding_time",
    "dhcp_renewal_time",
    "expiry",
    "next_server",
    "opt58",
    "opt59",
    "opt61",
    "pid",
    "siaddr",
];

fn installed(program: &str) -> bool {
    let found = PATH.iter().any(|dir| Path::new(dir).join(program).exists());
    if !found {
        eprintln!("{program} is not installed: its opinion is not heard");
    }
    found
}

/// Kills what it holds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &str) -> Running {
    let mut command = Command::new(program);
    // Scripts are told everything by their environment.
    command.env_clear().env("PATH", PATH.join(":"));
    command
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Running(starting(|| command.spawn()).unwrap())
}

/// A client on the interface, and what it told its script when it had a lease.
fn ask(client: &str, arguments: &str, dir: &Path) -> Told {
    let told = dir.join("told");
    let _ = fs::remove_file(&told);
    let script = dir.join("script");
    // dhclient wants its file of leases to be there, and would ask for what it finds there.
    fs::write(dir.join("leases"), "").unwrap();
    // dhclient names its reason in the environment, udhcpc as an argument.
    let text = format!(
        "#!/bin/sh\ncase \"$reason$1\" in BOUND*|*bound) env >{0}.new; mv {0}.new {0};; \
         PREINIT6) ip link set \"$interface\" up;; esac\n",
        told.display()
    );
    fs::write(&script, text).unwrap();
    run("chmod", &format!("+x {}", script.display()));
    // No program is run that somebody has open to write to it.
    settle();
    let arguments =
        arguments.replace("SCRIPT", script.to_str().unwrap()).replace("DIR", dir.to_str().unwrap());
    let _client = start(client, &arguments);
    let begin = Instant::now();
    while !told.exists() {
        assert!(begin.elapsed() < PATIENCE, "{client} got no lease");
        thread::sleep(Duration::from_millis(20));
    }
    let text = fs::read_to_string(&told).unwrap();
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    pairs
        .map(|(name, value)| (name.strip_prefix("new_").unwrap_or(name).to_owned(), value.to_owned()))
        .collect()
}

const DHCLIENT: &str = "-4 -d -1 -cf DIR/conf -lf DIR/leases -pf DIR/pid -sf SCRIPT t0";
const DHCLIENT6: &str = "-6 -d -1 -cf DIR/conf -lf DIR/leases -pf DIR/pid -sf SCRIPT t0";
const DHCLIENT_CONF: &str = "option static-routes-121 code 121 = array of unsigned integer 8;\n\
    option private code 224 = text;\nrequest subnet-mask, routers, domain-name, domain-name-servers, host-name, \
    interface-mtu, static-routes-121, domain-search, ntp-servers, tftp-server-name, bootfile-name, private;\n";
const UDHCPC: &str =
    "udhcpc -f -n -q -i t0 -s SCRIPT -O staticroutes -O search -O mtu -O ntpsrv -O tftp -O bootfile -O 224";

/// A tap as the guest's card: what the kernel sends there comes to the queue, and the other way round.
fn with_card(answers: Answers, offloads: Offloads, judge: impl FnOnce(&AnswersHandle)) {
    // It may have been open a moment ago.
    settle();
    let tap = Tap::open("t0", 1).unwrap();
    tap.set_offloads(offloads).unwrap();
    let mut wire = tap.open_queue(0).unwrap();
    let mut card = Card::new(answers);
    let handle = card.handle.clone();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut advertised = false;
            while !stop.load(Ordering::Relaxed) {
                while let Some(frame) = super::tests::receive(wire.as_mut()) {
                    card.send(0, &frame, &[12]);
                }
                if !std::mem::replace(&mut advertised, true) {
                    card.queues[0].rang();
                }
                while let Some(frame) = card.receive(0) {
                    super::tests::send(wire.as_mut(), &frame, &[]);
                }
                thread::sleep(Duration::from_millis(2));
            }
        });
        let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| judge(&handle)));
        stop.store(true, Ordering::Relaxed);
        judged.unwrap();
    });
}

fn tap() {
    run("ip", "tuntap add t0 mode tap vnet_hdr");
    // Nobody else is there who could have the address, and clients do not wait for that to be found out.
    fs::write("/proc/sys/net/ipv6/conf/t0/accept_dad", "0").unwrap();
    run("ip", "link set t0 address 02:00:00:00:00:07");
    run("ip", "link set t0 up");
}

/// What the client hears from dnsmasq, on a wire of its own.
fn from_dnsmasq(client: &str, arguments: &str, dir: &Path) -> Told {
    run("ip", "link add t0 type veth peer name s0");
    run("ip", "link set t0 address 02:00:00:00:00:07");
    run("ip", "addr add 10.0.2.1/24 dev s0");
    run("ip", "link set s0 up");
    run("ip", "link set t0 up");
    fs::write(dir.join("dnsmasq"), DNSMASQ).unwrap();
    let _server =
        start("dnsmasq", &format!("--no-daemon --interface=s0 --conf-file={}/dnsmasq", dir.display()));
    ask(client, arguments, dir)
}

fn compare(client: &str, arguments: &str, expected: &[(&str, &str)]) {
    if !installed(client) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("conf"), DHCLIENT_CONF).unwrap();
    let mut ours = Told::new();
    in_namespace(|| {
        tap();
        // With checksums left open, and finished.
        for offloads in [Offloads::CSUM, Offloads::NONE] {
            with_card(full(), offloads, |handle| {
                ours = ask(client, arguments, dir.path());
                let report = handle.report();
                assert!(report.dhcp4 >= 2 && report.malformed == 0 && report.leased4.is_some(), "{report:?}");
            });
        }
    });
    if ours.is_empty() {
        return;
    }
    for (name, value) in expected {
        assert_eq!(ours.get(*name).map(String::as_str), Some(*value), "{name} in {ours:#?}");
    }
    if installed("dnsmasq") {
        let mut theirs = Told::new();
        in_namespace(|| theirs = from_dnsmasq(client, arguments, dir.path()));
        [&mut ours, &mut theirs]
            .into_iter()
            .for_each(|told| told.retain(|name, _| !ASIDE.contains(&name.as_str())));
        assert_eq!(
            ours, theirs,
            "{client} hears from us, on the left, what dnsmasq does not say, or the other way round"
        );
    }
}

#[test]
fn dhclient_hears_what_dnsmasq_would_say() {
    let expected = [
        ("ip_address", "10.0.2.2"),
        ("subnet_mask", "255.255.255.0"),
        ("routers", "10.0.2.1"),
        ("domain_name_servers", "10.96.0.10 10.96.0.11"),
        ("domain_search", "default.svc.cluster.local. svc.cluster.local. cluster.local."),
        ("domain_name", "default.svc.cluster.local"),
        ("host_name", "testvm"),
        ("interface_mtu", "1480"),
        ("static_routes_121", "12 172 16 10 0 2 9 0 10 0 2 1"),
        ("private", "private"),
        ("dhcp_lease_time", "86313600"),
    ];
    compare("dhclient", DHCLIENT, &expected);
}

#[test]
fn udhcpc_hears_what_dnsmasq_would_say() {
    let expected = [
        ("ip", "10.0.2.2"),
        ("router", "10.0.2.1"),
        ("dns", "10.96.0.10 10.96.0.11"),
        ("search", "default.svc.cluster.local svc.cluster.local cluster.local"),
        ("staticroutes", "172.16.0.0/12 10.0.2.9 0.0.0.0/0 10.0.2.1"),
        ("mtu", "1480"),
        ("hostname", "testvm"),
        ("tftp", "tftp.example"),
        ("ntpsrv", "10.1.1.1"),
    ];
    compare("busybox", UDHCPC, &expected);
}

#[test]
fn addresses_and_routers_of_ipv6_are_found() {
    if !installed("dhclient") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("conf"), "").unwrap();
    in_namespace(|| {
        tap();
        with_card(full(), Offloads::CSUM, |handle| {
            let begin = Instant::now();
            // The kernel asks for routers by itself, and believes them.
            while !run("ip", "-6 route show default").contains("default via fe80::ff:fe00:0") {
                assert!(begin.elapsed() < PATIENCE, "there is no default route");
                thread::sleep(Duration::from_millis(50));
            }
            let routes = run("ip", "-6 route show");
            assert!(routes.contains("fd10:0:2::/120 dev t0"), "{routes}");
            assert!(routes.contains("mtu 1480"), "{routes}");
            // No address is made of the prefix.
            assert!(!run("ip", "-6 addr show dev t0").contains("fd10"));
            let told = ask("dhclient", DHCLIENT6, dir.path());
            let expected = [("ip6_address", "fd10:0:2::2"), ("dhcp6_name_servers", "fd00::a")];
            for (name, value) in expected {
                assert_eq!(told.get(name).map(String::as_str), Some(value), "{name} in {told:#?}");
            }
            let report = handle.report();
            assert!(report.dhcp6 >= 2 && report.malformed == 0 && report.leased6.is_some(), "{report:?}");
        });
    });
}
