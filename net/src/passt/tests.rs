//! Against the real passt, in a namespace with a cable to another. The guest is made of frames.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::host::Forwards;
use crate::netlink::Namespace;
use crate::nft::{Forward, Protocol};
use crate::testing::{become_nobody, in_namespace, io_buf, run, starting, wait_readable};

const PASST: &str = "/usr/bin/passt";
const LIMIT: Duration = Duration::from_secs(60);
const HERE: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];
const SYN: u8 = 2;
const ACK: u8 = 16;

fn with_passt(test: impl FnOnce(&Namespace) + Send) {
    if !Path::new(PASST).exists() {
        eprintln!("{:?}: skipped, there is no passt", thread::current().name());
        return;
    }
    in_namespace(|| {
        let world = Namespace::create().unwrap();
        run("ip", "link add eth0 type veth peer name world");
        let far = crate::netlink::Netlink::open().unwrap().interface("world").unwrap().index;
        crate::netlink::Netlink::open().unwrap().move_to(far, &world).unwrap();
        world
            .run(|| {
                for command in
                    ["addr add 10.1.2.1/24 dev world", "addr add 10.1.2.77/24 dev world", "link set world up"]
                {
                    run("ip", command);
                }
            })
            .unwrap();
        for command in [
            "link set lo up",
            "addr add 10.1.2.3/24 dev eth0",
            "link set eth0 up",
            "route add default via 10.1.2.1",
        ] {
            run("ip", command);
        }
        test(&world);
    });
}

fn plan(ports: &[u16]) -> PasstPlan {
    let forward = |port: &u16| Forward { protocol: Protocol::Tcp, first: *port, last: *port, range: false };
    PasstPlan::new(PASST.into(), Forwards::Only(ports.iter().map(forward).collect()))
}

fn started(ports: &[u16]) -> Passt {
    starting(|| Passt::start(&plan(ports))).unwrap()
}

/// What a guest would do, frame by frame.
struct Guest(Box<dyn FrameQueue>);

impl Guest {
    fn send(&mut self, frame: &[u8]) {
        let mut whole = vec![0; 12];
        whole.extend_from_slice(frame);
        self.0.send(&[io_buf(&mut whole)]).unwrap();
    }

    /// The first frame that `wanted` makes something of.
    fn expect<T>(&mut self, what: &str, wanted: impl Fn(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + LIMIT;
        loop {
            let mut memory = vec![0; 70_000];
            match self.0.receive(&[io_buf(&mut memory)]) {
                Ok(len) => {
                    if let Some(found) = wanted(&memory[12..len]) {
                        return found;
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    assert!(Instant::now() < deadline, "no {what}");
                    wait_readable(self.0.fd(), Duration::from_millis(200));
                }
            }
        }
    }

    /// Asks who has an address; the card's address in the answer.
    fn arp(&mut self, address: Ipv4Addr) -> [u8; 6] {
        let mut frame = [[0xff; 6], MAC].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        frame.extend(MAC);
        frame.extend(HERE.octets());
        frame.extend([0; 6]);
        frame.extend(address.octets());
        self.send(&frame);
        self.expect("answer to ARP", |frame| {
            let answers =
                frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[28..32] == address.octets();
            answers.then(|| frame[22..28].try_into().unwrap())
        })
    }

    fn ip(&mut self, to_mac: [u8; 6], to: Ipv4Addr, protocol: u8, payload: &[u8]) {
        let total = u16::try_from(20 + payload.len()).unwrap();
        let mut header = vec![0x45, 0];
        header.extend(total.to_be_bytes());
        header.extend([0, 0, 0, 0, 64, protocol, 0, 0]);
        header.extend(HERE.octets());
        header.extend(to.octets());
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum);
        self.send(&[&to_mac[..], &MAC, &[8, 0], &header, payload].concat());
    }

    fn tcp(
        &mut self,
        to_mac: [u8; 6],
        to: Ipv4Addr,
        ports: (u16, u16),
        numbers: (u32, u32),
        flags: u8,
        data: &[u8],
    ) {
        let mut segment = [ports.0.to_be_bytes(), ports.1.to_be_bytes()].concat();
        segment.extend([numbers.0.to_be_bytes(), numbers.1.to_be_bytes()].concat());
        segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend_from_slice(data);
        let len = u16::try_from(segment.len()).unwrap();
        let pseudo = [&HERE.octets()[..], &to.octets(), &[0, 6], &len.to_be_bytes(), &segment].concat();
        let sum = checksum(&pseudo);
        segment[16..18].copy_from_slice(&sum);
        self.ip(to_mac, to, 6, &segment);
    }

    /// Waits for a TCP segment with these flags: its ports, numbers and data.
    fn segment(&mut self, flags: u8) -> ((u16, u16), (u32, u32), Vec<u8>) {
        self.expect("TCP segment", |frame| {
            let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
            let tcp = frame.get(34..14 + total).filter(|_| frame[12..14] == [8, 0] && frame[23] == 6)?;
            let port = |at: usize| u16::from_be_bytes(tcp[at..at + 2].try_into().unwrap());
            let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
            let data = tcp[usize::from(tcp[12] >> 4) * 4..].to_vec();
            (tcp[13] & flags == flags).then(|| ((port(0), port(2)), (number(4), number(8)), data))
        })
    }
}

fn checksum(bytes: &[u8]) -> [u8; 2] {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(!sum & 0xffff).unwrap().to_be_bytes()
}

fn guest(passt: &Passt) -> Guest {
    Guest(passt.open_queue(0).unwrap())
}

#[test]
fn a_guest_gets_an_address_and_reaches_servers() {
    with_passt(|world| {
        let passt = started(&[]);
        let mut guest = guest(&passt);
        let mac = guest.arp(GATEWAY);

        // DHCPDISCOVER, RFC 2131.
        let mut dhcp = vec![1, 1, 6, 0, 1, 2, 3, 4];
        dhcp.extend([0; 20]);
        dhcp.extend(MAC);
        dhcp.resize(236, 0);
        dhcp.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
        dhcp.resize(300, 0);
        let len = u16::try_from(8 + dhcp.len()).unwrap().to_be_bytes();
        let udp = [&[0, 68, 0, 67][..], &len, &[0, 0], &dhcp].concat();
        guest.ip([0xff; 6], Ipv4Addr::BROADCAST, 17, &udp);
        let offered = guest.expect("DHCP offer", |frame| {
            (frame[12..14] == [8, 0] && frame[23] == 17 && frame[34..36] == [0, 67])
                .then(|| frame[58..62].to_vec())
        });
        assert_eq!(offered, HERE.octets(), "the guest has the host's address");

        // What is for the gateway leads to this host itself; all else out of it.
        let local = TcpListener::bind("127.0.0.1:7070").unwrap();
        let far = world.run(|| TcpListener::bind("10.1.2.77:7071").unwrap()).unwrap();
        talk(&mut guest, mac, GATEWAY, 7070, &local);
        talk(&mut guest, mac, Ipv4Addr::new(10, 1, 2, 77), 7071, &far);
    });
}

/// A connection to `listener`, and data both ways.
fn talk(guest: &mut Guest, mac: [u8; 6], to: Ipv4Addr, port: u16, listener: &TcpListener) {
    let ports = (40_000, port);
    guest.tcp(mac, to, ports, (1000, 0), SYN, b"");
    let (_, (theirs, mine), _) = guest.segment(SYN | ACK);
    assert_eq!(mine, 1001);
    // passt takes no data before the connection is there.
    guest.tcp(mac, to, ports, (1001, theirs + 1), ACK, b"");
    guest.tcp(mac, to, ports, (1001, theirs + 1), ACK, b"hello");
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
    stream.write_all(&[7; 3000]).unwrap();
    let mut received = 0;
    while received < 3000 {
        let (_, (number, _), data) = guest.segment(ACK);
        received += data.len();
        let next = number + u32::try_from(data.len()).unwrap();
        guest.tcp(mac, to, ports, (1006, next), ACK, b"");
    }
}

#[test]
fn a_forwarded_port_leads_to_the_guest() {
    with_passt(|world| {
        let passt = started(&[80]);
        let mut guest = guest(&passt);
        let mac = guest.arp(GATEWAY);
        let client = thread::scope(|scope| {
            let client = scope.spawn(|| {
                world
                    .run(|| TcpStream::connect_timeout(&"10.1.2.3:80".parse().unwrap(), LIMIT).unwrap())
                    .unwrap()
            });
            let ((from, to), (theirs, _), _) = guest.segment(SYN);
            assert_eq!(to, 80);
            guest.tcp(mac, GATEWAY, (80, from), (5000, theirs + 1), SYN | ACK, b"");
            guest.tcp(mac, GATEWAY, (80, from), (5001, theirs + 1), ACK, b"hi");
            client.join().unwrap()
        });
        let mut bytes = [0; 2];
        client.set_read_timeout(Some(LIMIT)).unwrap();
        (&client).read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hi");
        let refused =
            world.run(|| TcpStream::connect_timeout(&"10.1.2.3:81".parse().unwrap(), LIMIT).is_err());
        assert!(refused.unwrap(), "no other port does");
    });
}

#[test]
fn it_needs_no_rights() {
    with_passt(|_| {
        become_nobody();
        let passt = started(&[8080]);
        let mut guest = guest(&passt);
        guest.arp(GATEWAY);
        let pid = passt.pid().unwrap();
        drop(passt);
        assert!(!is_alive(pid));
    });
}

fn is_alive(pid: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn it_is_started_again_when_it_dies_and_ends_with_its_link() {
    with_passt(|_| {
        let passt = started(&[]);
        let mut guest = guest(&passt);
        guest.arp(GATEWAY);
        let first = passt.pid().unwrap();
        run("kill", &format!("-9 {first}"));
        let deadline = Instant::now() + LIMIT;
        let fresh = || passt.pid().is_some_and(|pid| pid != first) && passt.stream.is_connected();
        while !fresh() {
            assert!(Instant::now() < deadline);
            // Only who looks for frames sees that the connection has ended.
            assert!(guest.0.receive(&[io_buf(&mut [0; 100])]).is_err());
            thread::sleep(Duration::from_millis(20));
        }
        guest.arp(GATEWAY);
        let second = passt.pid().unwrap();
        assert!(passt.problem().is_none() && !is_alive(first));
        drop(passt);
        assert!(!is_alive(second));
        // The device still has its handle: frames are lost, and nothing is started.
        thread::sleep(Duration::from_millis(300));
        assert!(guest.0.receive(&[io_buf(&mut [0; 100])]).is_err());
    });
}

#[test]
fn what_is_wrong_is_said_at_once() {
    with_passt(|_| {
        let taken = TcpListener::bind("0.0.0.0:8088").unwrap();
        let error = starting(|| Passt::start(&plan(&[8088]))).unwrap_err().to_string();
        assert!(error.contains("8088") && !error.contains("syslog"), "{error}");
        drop(taken);
        let mut missing = plan(&[]);
        missing.program = "/nonexistent/passt".into();
        assert!(matches!(Passt::start(&missing), Err(PasstError::Start { .. })));
    });
}

#[test]
fn it_ends_when_this_process_is_killed() {
    with_passt(|_| {
        // A process that has only passt's other end, as this one does, and is killed.
        let script = format!(
            "import socket,subprocess,os,time\na,b=socket.socketpair()\n\
             p=subprocess.Popen(['{PASST}','-f','-q','--fd',str(b.fileno()),'-t','none','-u','none'],pass_fds=[b.fileno()],stderr=subprocess.DEVNULL)\n\
             b.close()\nprint(p.pid,flush=True)\ntime.sleep(60)"
        );
        let mut command = std::process::Command::new("python3");
        command.args(["-c", &script]).stdout(std::process::Stdio::piped());
        let Ok(mut parent) = starting(|| command.spawn()) else {
            eprintln!("{:?}: skipped, there is no python3", thread::current().name());
            return;
        };
        let mut line = String::new();
        let mut output = std::io::BufReader::new(parent.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let pid: u32 = line.trim().parse().unwrap();
        thread::sleep(Duration::from_millis(300));
        assert!(is_alive(pid));
        parent.kill().unwrap();
        parent.wait().unwrap();
        let deadline = Instant::now() + LIMIT;
        while is_alive(pid) {
            assert!(Instant::now() < deadline, "passt lives on");
            thread::sleep(Duration::from_millis(20));
        }
    });
}
