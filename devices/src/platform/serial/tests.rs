use super::super::testing::{RecordedLine, hammer, read8};
use super::*;

struct Port {
    serial: Serial,
    line: Arc<RecordedLine>,
    ring: Arc<ConsoleRing>,
    first: Arc<OnceLock<Instant>>,
}

fn port() -> Port {
    let (line, ring) = (RecordedLine::new(), Arc::new(ConsoleRing::new(64).unwrap()));
    let first = Arc::default();
    let sink: Arc<dyn SerialSink> = ring.clone();
    let serial = Serial::new(line.clone(), sink, Arc::clone(&first)).unwrap();
    Port { serial, line, ring, first }
}

impl Port {
    fn write(&self, register: u64, value: u8) {
        assert!(matches!(self.serial.write(register, &[value]), Action::None));
    }

    fn shown(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.ring.drain(&mut bytes);
        bytes
    }

    fn room_signalled(&self) -> bool {
        self.serial.room().read().is_ok()
    }
}

#[test]
fn output_reaches_the_sink_and_marks_the_first_byte() {
    let port = port();
    assert_eq!(read8(&port.serial, 5), 0x60, "transmitter must be empty");
    assert!(port.first.get().is_none());
    port.write(0, b'K');
    let first = *port.first.get().unwrap();
    port.write(0, b'V');
    assert_eq!(*port.first.get().unwrap(), first);
    assert_eq!(port.shown(), b"KV");
    assert!(port.line.take().is_empty(), "no interrupt unless enabled");
}

#[test]
fn enabled_interrupts_are_edges() {
    let port = port();
    port.write(1, 0x01);
    assert_eq!(port.serial.input(b"x"), 1);
    assert_eq!(port.line.take(), [true, false]);
    assert_eq!(read8(&port.serial, 2) & 0x0f, 0x04, "received data");
    assert_eq!(read8(&port.serial, 5) & 1, 1);
    assert_eq!(read8(&port.serial, 0), b'x');
    assert_eq!(read8(&port.serial, 5) & 1, 0);
    port.write(1, 0x02);
    assert_eq!(port.line.take(), [true, false]);
    assert_eq!(read8(&port.serial, 2) & 0x0f, 0x02, "transmitter empty");
}

#[test]
fn input_beyond_the_fifo_waits_for_room() {
    let port = port();
    assert_eq!(port.serial.input(b""), 0);
    assert!(!port.room_signalled());
    assert_eq!(port.serial.input(&[b'i'; 100]), 64);
    assert_eq!(port.serial.input(&[b'i'; 36]), 0);
    for _ in 0..63 {
        read8(&port.serial, 0);
    }
    assert!(!port.room_signalled());
    read8(&port.serial, 0);
    assert!(port.room_signalled());
    read8(&port.serial, 0);
    assert!(!port.room_signalled(), "one signal for one wait");
    assert_eq!(port.serial.input(&[b'i'; 36]), 36);
}

#[test]
fn input_is_refused_in_loop_back_and_taken_after_it() {
    let port = port();
    port.write(4, 0x10);
    assert_eq!(port.serial.input(b"x"), 0);
    port.write(0, b'l');
    assert_eq!(read8(&port.serial, 0), b'l');
    assert!(port.shown().is_empty());
    assert!(port.first.get().is_none(), "loop-back is not output");
    port.serial.input(b"x");
    port.serial.room().read().ok();
    port.write(4, 0x08);
    assert!(port.room_signalled());
    assert_eq!(port.serial.input(b"x"), 1);
}

#[test]
fn wide_accesses_touch_one_register_after_another() {
    let port = port();
    assert!(matches!(port.serial.write(6, &[0, 0x77, 0x55, 0x55]), Action::None));
    let mut data = [0u8; 4];
    port.serial.read(5, &mut data);
    assert_eq!((data[0], data[2], data[3]), (0x60, 0x77, 0xff));
}

#[test]
fn state_survives_a_round_trip() {
    let old = port();
    old.write(3, 0x80);
    old.write(0, 0x01);
    old.write(3, 0x03);
    old.write(1, 0x03);
    old.write(7, 0x5a);
    old.serial.input(b"pending");
    let new = port();
    new.serial.restore(&old.serial.save()).unwrap();
    assert_eq!(new.serial.save(), old.serial.save());
    assert!(!new.line.take().is_empty(), "a pending interrupt is raised again");
    assert_eq!(read8(&new.serial, 0), b'p');
    new.write(0, b'!');
    assert_eq!(new.shown(), b"!");
}

#[test]
fn damaged_states_are_refused() {
    let port = port();
    let good = port.serial.save();
    let overfull = State { received: vec![0; 65], ..good.clone() };
    assert!(matches!(port.serial.restore(&overfull), Err(StateError::Damaged { .. })));
    let future = State { version: 2, ..good.clone() };
    assert!(matches!(port.serial.restore(&future), Err(StateError::Version { .. })));
    assert_eq!(port.serial.save(), good);
}

#[test]
fn hostile_accesses_are_harmless() {
    let port = port();
    hammer(&port.serial, SIZE);
    port.serial.input(&[0; 1000]);
    hammer(&port.serial, SIZE);
}

#[test]
fn what_was_typed_before_the_state_came_is_behind_it() {
    let old = port();
    old.serial.input(b"old");
    let new = port();
    new.serial.input(b"new");
    new.serial.restore(&old.serial.save()).unwrap();
    let read: Vec<u8> = (0..6).map(|_| read8(&new.serial, 0)).collect();
    assert_eq!(read, b"oldnew");
}
