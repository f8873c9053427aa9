use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;

use super::message::ToDriver;
use super::*;
use crate::virtio::testing::*;

struct Setup {
    machine: Machine,
    _dir: tempfile::TempDir,
    path: PathBuf,
    device: ConsoleDevice,
}

/// Queues of the second port, which has a name and a listener.
const INPUT: u16 = 4;
const OUTPUT: u16 = 5;
const TO_DRIVER: u16 = 2;
const FROM_DRIVER: u16 = 3;

fn port(name: Option<&str>, console: bool, backend: PortBackend) -> PortConfig {
    PortConfig { name: name.map(str::to_owned), console, backend, watcher: None }
}

impl Setup {
    fn new() -> Self {
        let machine = Machine::new();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent");
        let listener = ::net::socket::listen(&path).unwrap();
        let ports = vec![
            port(None, true, PortBackend::None),
            port(Some("agent"), false, PortBackend::Listener(listener)),
        ];
        let device = ConsoleDevice::new(ports, machine.thread.handle()).unwrap();
        Self { machine, _dir: dir, path, device }
    }

    fn start(&mut self, index: u16) -> Driver {
        let mut driver = self.machine.driver(index, 64);
        driver.features |= MULTIPORT;
        driver.start(&mut self.device);
        driver
    }

    fn connect(&self) -> UnixStream {
        let stream = ::net::socket::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    fn say(&self, driver: &mut Driver, bytes: &[u8]) {
        self.machine.fill(DATA, bytes);
        driver.run(&[out(DATA, u32::try_from(bytes.len()).unwrap())]);
    }

    fn open_in_guest(&mut self) {
        let mut control = self.start(FROM_DRIVER);
        self.say(&mut control, &[0, 0, 0, 0, 0, 0, 1, 0]);
        self.say(&mut control, &[1, 0, 0, 0, 3, 0, 1, 0]);
        self.say(&mut control, &[1, 0, 0, 0, 6, 0, 1, 0]);
        control.stop(&mut self.device);
    }
}

fn read(stream: &mut UnixStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn the_driver_hears_of_ports_and_clients() {
    let mut setup = Setup::new();
    let mut to = setup.start(TO_DRIVER);
    let mut from = setup.start(FROM_DRIVER);
    let _input = setup.start(INPUT);
    for i in 0..16 {
        to.add(&[inp(DATA + 0x1000 * (i + 1), 64)]);
    }
    to.kick();
    let expect = |setup: &Setup, to: &mut Driver, id, message: ToDriver| {
        let bytes = message.encode(id);
        let (head, written) = to.wait_used();
        assert_eq!(usize::try_from(written).unwrap(), bytes.len(), "{message:?}");
        assert_eq!(setup.machine.bytes(DATA + 0x1000 * (u64::from(head) + 1), bytes.len()), bytes);
    };
    setup.say(&mut from, &[0, 0, 0, 0, 0, 0, 1, 0]);
    expect(&setup, &mut to, 0, ToDriver::Add);
    expect(&setup, &mut to, 1, ToDriver::Add);
    setup.say(&mut from, &[0, 0, 0, 0, 3, 0, 1, 0]);
    expect(&setup, &mut to, 0, ToDriver::Console);
    expect(&setup, &mut to, 0, ToDriver::Open(true));
    setup.say(&mut from, &[1, 0, 0, 0, 3, 0, 1, 0]);
    expect(&setup, &mut to, 1, ToDriver::Name("agent".into()));
    let client = setup.connect();
    expect(&setup, &mut to, 1, ToDriver::Open(true));
    drop(client);
    expect(&setup, &mut to, 1, ToDriver::Open(false));
    setup.device.handle().resize(132, 50);
    expect(&setup, &mut to, 0, ToDriver::Resize(132, 50));
    let mut space = [0; 8];
    setup.device.read_config(0, &mut space);
    assert_eq!(space, [132, 0, 50, 0, 2, 0, 0, 0]);
    // Nonsense is answered with silence.
    for bytes in [&[9, 0, 0, 0, 3, 0, 1, 0][..], &[0; 3], &[0xff; 8], &[0, 0, 0, 0, 1, 0, 1, 0]] {
        setup.say(&mut from, bytes);
    }
    from.run(&[inp(DATA, 8)]);
    assert_eq!(to.used(), None);
    assert_eq!(setup.device.handle().counters().refused_messages.get(), 5);
}

#[test]
fn a_message_waits_for_a_buffer_that_holds_it() {
    let mut setup = Setup::new();
    let mut to = setup.start(TO_DRIVER);
    let mut from = setup.start(FROM_DRIVER);
    setup.say(&mut from, &[0, 0, 0, 0, 0, 0, 1, 0]);
    assert_eq!(to.run(&[inp(DATA + 0x1000, 7)]), 0);
    assert_eq!(to.run(&[out(DATA + 0x1000, 8)]), 0);
    assert_eq!(to.run(&[inp(DATA + 0x1000, 4), inp(DATA + 0x2000, 4)]), 8);
    assert_eq!(setup.machine.bytes(DATA + 0x2000, 4), [1, 0, 1, 0]);
}

#[test]
fn bytes_go_both_ways_between_client_and_guest() {
    let mut setup = Setup::new();
    let mut output = setup.start(OUTPUT);
    let mut input = setup.start(INPUT);
    input.add(&[inp(DATA + 0x1000, 5), inp(DATA + 0x2000, 100)]);
    input.kick();
    let mut client = setup.connect();
    client.write_all(b"hello guest").unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(input.used(), None, "nobody in the guest listens");
    setup.open_in_guest();
    assert!(setup.device.handle().is_open_in_guest(1));
    assert_eq!(input.wait_used().1, 11);
    assert_eq!(setup.machine.bytes(DATA + 0x1000, 5), b"hello");
    assert_eq!(setup.machine.bytes(DATA + 0x2000, 6), b" guest");
    setup.machine.fill(DATA, b"hello host");
    output.run(&[out(DATA, 6), out(DATA + 6, 4)]);
    assert_eq!(read(&mut client, 10), b"hello host");
    assert_eq!(
        (setup.device.handle().counters().to_guest.get(), setup.device.handle().counters().to_host.get()),
        (11, 10)
    );
}

#[test]
fn clients_take_turns() {
    let mut setup = Setup::new();
    setup.open_in_guest();
    let mut output = setup.start(OUTPUT);
    let mut input = setup.start(INPUT);
    setup.machine.fill(DATA, b"nobody");
    output.run(&[out(DATA, 6)]);
    assert_eq!(setup.device.handle().counters().discarded.get(), 6);
    for i in 0..8u8 {
        input.add(&[inp(DATA + 0x1000, 1)]);
        input.kick();
        let mut client = setup.connect();
        client.write_all(&[i]).unwrap();
        assert_eq!(input.wait_used().1, 1);
        assert_eq!(setup.machine.bytes(DATA + 0x1000, 1), [i]);
        let mut waiting = setup.connect();
        waiting.write_all(&[i + 100]).unwrap();
        setup.machine.fill(DATA, &[i + 50]);
        output.run(&[out(DATA, 1)]);
        assert_eq!(read(&mut client, 1), [i + 50], "the first client is the one");
        drop(client);
        input.add(&[inp(DATA + 0x1000, 1)]);
        input.kick();
        assert_eq!(input.wait_used().1, 1);
        assert_eq!(setup.machine.bytes(DATA + 0x1000, 1), [i + 100], "then the next");
    }
}

#[test]
fn a_client_survives_stopped_queues() {
    let mut setup = Setup::new();
    setup.open_in_guest();
    let mut input = setup.start(INPUT);
    let mut client = setup.connect();
    client.write_all(b"a").unwrap();
    input.add(&[inp(DATA, 1)]);
    input.kick();
    input.wait_used();
    input.stop(&mut setup.device);
    client.write_all(b"b").unwrap();
    input.add(&[inp(DATA, 1)]);
    input.start(&mut setup.device);
    input.wait_used();
    assert_eq!(setup.machine.bytes(DATA, 1), b"b");
    let mut output = setup.start(OUTPUT);
    output.run(&[out(DATA, 1)]);
    assert_eq!(read(&mut client, 1), b"b");
}

#[test]
fn a_slow_client_holds_output_back_even_over_a_stop() {
    let mut setup = Setup::new();
    let mut input = setup.start(INPUT);
    let mut output = setup.start(OUTPUT);
    let mut client = setup.connect();
    let counters = setup.device.handle();
    let text = (0..1 << 20).map(|i: u32| u8::try_from(i % 251).unwrap()).collect::<Vec<_>>();
    setup.machine.fill(DATA + 0x1000, &text);
    setup.machine.wait("the client", || {
        output.run(&[out(DATA, 1)]);
        counters.counters().to_host.get() > 0
    });
    let before = counters.counters().to_host.get();
    output.add(&[out(DATA + 0x1000, 1 << 20)]);
    output.kick();
    setup.machine.wait("some output", || counters.counters().to_host.get() > before);
    output.stop(&mut setup.device);
    assert_eq!(output.used(), None, "not all of it fits");
    input.stop(&mut setup.device);
    let saved = setup.device.save();
    assert!(setup.device.restore(&saved));
    output.start(&mut setup.device);
    read(&mut client, usize::try_from(before).unwrap());
    assert_eq!(read(&mut client, 1 << 20), text, "nothing is lost or sent twice");
    output.wait_used();
}

#[test]
fn a_client_that_leaves_while_output_waits_frees_the_queue() {
    let mut setup = Setup::new();
    let _input = setup.start(INPUT);
    let mut output = setup.start(OUTPUT);
    let client = setup.connect();
    let counters = setup.device.handle();
    setup.machine.wait("the client", || {
        output.run(&[out(DATA, 1)]);
        counters.counters().to_host.get() > 0
    });
    output.add(&[out(DATA, 1 << 20)]);
    output.kick();
    drop(client);
    output.wait_used();
    output.run(&[out(DATA, 9)]);
}

#[test]
fn plain_files_are_ports_too() {
    let machine = Machine::new();
    let (mut host, guest) = UnixStream::pair().unwrap();
    host.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let backend = PortBackend::Files {
        input: Some(OwnedFd::from(guest.try_clone().unwrap())),
        output: Some(OwnedFd::from(guest)),
    };
    let mut device = ConsoleDevice::new(vec![port(None, true, backend)], machine.thread.handle()).unwrap();
    // Without the feature the one port is open.
    let (mut input, mut output) = (machine.driver(0, 16), machine.driver(1, 16));
    input.start(&mut device);
    output.start(&mut device);
    host.write_all(b"in").unwrap();
    assert_eq!(input.run(&[inp(DATA, 100)]), 2);
    machine.fill(DATA, b"out");
    output.run(&[out(DATA, 3)]);
    assert_eq!(read(&mut host, 3), b"out");
    drop(host);
    input.add(&[inp(DATA, 100)]);
    input.kick();
    output.run(&[out(DATA, 3)]);
    assert_eq!(input.used(), None, "the end of input is no input");
    input.stop(&mut device);
    let regular = tempfile::tempfile().unwrap();
    let backend = PortBackend::Files { input: Some(regular.into()), output: None };
    let mut device = ConsoleDevice::new(vec![port(None, true, backend)], machine.thread.handle()).unwrap();
    let mut input = machine.driver(0, 16);
    input.start(&mut device);
    input.add(&[inp(DATA, 100)]);
    input.kick();
    input.stop(&mut device);
    assert!(!machine.needs_reset());
}

#[test]
fn impossible_consoles_are_refused() {
    let machine = Machine::new();
    let make = |ports| ConsoleDevice::new(ports, machine.thread.handle()).map(drop);
    assert!(matches!(make(Vec::new()), Err(ConsoleError::Ports(0))));
    let many = (0..=MAX_PORTS).map(|_| port(None, false, PortBackend::None)).collect();
    assert!(matches!(make(many), Err(ConsoleError::Ports(32))));
    let name = "n".repeat(MAX_NAME + 1);
    assert!(matches!(make(vec![port(Some(&name), false, PortBackend::None)]), Err(ConsoleError::Name(_))));
}

#[test]
fn state_makes_the_round_trip() {
    let mut setup = Setup::new();
    setup.open_in_guest();
    setup.device.handle().resize(80, 25);
    let saved = setup.device.save();
    let mut other = Setup::new();
    assert!(other.device.restore(&saved));
    assert_eq!(other.device.save(), saved);
    assert!(other.device.handle().is_open_in_guest(1));
    other.device.reset();
    assert!(!other.device.handle().is_open_in_guest(1));
    let DeviceState::Console(state) = saved else { panic!("another kind of state") };
    assert!(!other.device.restore(&DeviceState::Console(ConsoleState { version: 0, ..state })));
}

#[test]
fn malformed_chains_are_returned_and_counted() {
    let mut setup = Setup::new();
    setup.open_in_guest();
    let mut output = setup.start(OUTPUT);
    output.run(&[inp(DATA, 10)]);
    output.run(&[out(DATA, 0)]);
    let mut input = setup.start(INPUT);
    let mut client = setup.connect();
    client.write_all(b"abc").unwrap();
    assert_eq!(input.run(&[out(DATA, 10)]), 0);
    assert_eq!(setup.device.handle().counters().malformed.get(), 3);
    assert_eq!(input.run(&[inp(DATA, 10)]), 3);
}

#[test]
fn impossible_rings_stop_the_queues() {
    // Input takes no buffers before there is something to put in.
    for index in [1, FROM_DRIVER, OUTPUT] {
        rings_outside_ram_are_refused(&mut Setup::new().device, index);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn garbage_does_no_harm(garbage in any_garbage(), index in 0..6u16, control in any::<[u8; 2]>()) {
        let mut setup = Setup::new();
        setup.open_in_guest();
        let mut client = setup.connect();
        client.write_all(&[7; 999]).unwrap();
        let mut garbage = garbage;
        // Often a control message that means something.
        garbage.2.splice(..8, [control[0] % 3, 0, 0, 0, control[1] % 8, 0, control[0] % 2, 0]);
        feed_garbage_with(&mut setup.device, &setup.machine, index, &garbage, MULTIPORT);
    }
}

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<bool>>);

impl PortWatcher for Heard {
    fn guest_open(&self, open: bool) {
        self.0.lock().unwrap().push(open);
    }
}

#[test]
fn the_host_hears_when_the_guest_opens_and_closes_a_port() {
    let machine = Machine::new();
    let heard = Arc::new(Heard::default());
    let watcher = Some(Arc::clone(&heard) as Arc<dyn PortWatcher>);
    let ports = vec![
        port(None, true, PortBackend::None),
        PortConfig { watcher, ..port(Some("agent"), false, PortBackend::None) },
    ];
    let device = ConsoleDevice::new(ports, machine.thread.handle()).unwrap();
    let mut setup = Setup { machine, device, ..Setup::new() };
    setup.open_in_guest();
    assert!(setup.device.handle().is_open_in_guest(1));
    assert_eq!(*heard.0.lock().unwrap(), [true]);
    let state = setup.device.save();
    setup.device.reset();
    assert!(setup.device.restore(&state));
    assert_eq!(
        *heard.0.lock().unwrap(),
        [true, false, true],
        "a reset closes it, a restored machine has it open"
    );
}
