use super::super::testing::{hammer, read8};
use super::*;

struct Ports {
    controller: I8042,
    data: Arc<dyn BusDevice>,
    command: Arc<dyn BusDevice>,
}

impl Ports {
    fn new() -> Self {
        let controller = I8042::new();
        Self { data: controller.data_port(), command: controller.command_port(), controller }
    }

    fn command(&self, value: u8) -> bool {
        matches!(self.command.write(0, &[value]), Action::Reset)
    }

    fn data(&self, value: u8) -> bool {
        matches!(self.data.write(0, &[value]), Action::Reset)
    }

    fn status(&self) -> u8 {
        read8(&*self.command, 0)
    }

    /// The answer to the last command, which must be there.
    fn answer(&self) -> u8 {
        assert_eq!(self.status() & 1, 1, "no answer");
        let value = read8(&*self.data, 0);
        assert_eq!(self.status() & 1, 0, "answer was not consumed");
        value
    }
}

#[test]
fn self_test_passes_and_sets_the_system_flag() {
    let ports = Ports::new();
    assert_eq!(ports.status() & 0x07, 0);
    assert!(!ports.command(0xaa));
    assert_eq!(ports.answer(), 0x55);
    assert_eq!(ports.status() & 0x04, 0x04);
}

#[test]
fn configuration_byte_is_kept() {
    let ports = Ports::new();
    ports.command(0x60);
    ports.data(0x45);
    ports.command(0xa7);
    ports.command(0xad);
    ports.command(0x20);
    assert_eq!(ports.answer(), 0x45 | 0x30);
    ports.command(0xa8);
    ports.command(0xae);
    ports.command(0x20);
    assert_eq!(ports.answer(), 0x45);
}

#[test]
fn both_ports_look_empty_without_waiting() {
    let ports = Ports::new();
    for test in [0xa9, 0xab] {
        ports.command(test);
        assert_eq!(ports.answer(), 0x02);
    }
    ports.data(0xf2);
    assert_eq!(ports.status() & 0x61, 0x41);
    assert_eq!(ports.answer(), 0xfe);
    ports.command(0xd4);
    ports.data(0xff);
    assert_eq!(ports.status() & 0x61, 0x61);
    assert_eq!(ports.answer(), 0xfe);
    ports.command(0xd3);
    ports.data(0x5a);
    assert_eq!(ports.status() & 0x61, 0x01, "loop-back must not come from a mouse");
    assert_eq!(ports.answer(), 0x5a);
}

#[test]
fn reset_by_pulse_and_by_output_port() {
    let ports = Ports::new();
    assert!(ports.command(0xfe));
    assert!(!ports.command(0xff));
    ports.command(0xd1);
    assert!(!ports.data(0xdf), "A20 alone is harmless");
    ports.command(0xd1);
    assert!(ports.data(0xfe));
    assert!(!ports.command(0xdd));
    assert!(!ports.command(0xdf));
}

#[test]
fn input_buffer_is_never_full() {
    let ports = Ports::new();
    for value in 0..=0xff {
        ports.command(value);
        assert_eq!(ports.status() & 0x02, 0);
        ports.data(value);
        assert_eq!(ports.status() & 0x02, 0);
    }
}

#[test]
fn state_survives_a_round_trip() {
    let ports = Ports::new();
    ports.command(0x60);
    ports.data(0x31);
    ports.data(0x12);
    ports.command(0xd4);
    let copy = Ports::new();
    copy.controller.restore(&ports.controller.save()).unwrap();
    assert_eq!(copy.controller.save(), ports.controller.save());
    assert_eq!(copy.status(), ports.status());
    copy.data(0);
    assert_eq!(copy.status() & 0x20, 0x20, "the awaited parameter is part of the state");
    let future = State { version: 9, ..ports.controller.save() };
    assert!(copy.controller.restore(&future).is_err());
}

#[test]
fn hostile_accesses_are_harmless() {
    let ports = Ports::new();
    hammer(&*ports.data, SIZE);
    hammer(&*ports.command, SIZE);
}
