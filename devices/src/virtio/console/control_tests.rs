use super::control::{Control, Effect, Refused};
use super::message::FromDriver::{DeviceReady, Open, PortReady};
use super::message::{FromDriver, ToDriver};

fn two_ports() -> Control {
    let ports = [(None, true), (Some("org.qemu.guest_agent.0".to_owned()), false)];
    Control::new((80, 25), ports.into_iter())
}

fn messages(control: &mut Control) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| control.next_message().inspect(|_| control.told())).collect()
}

fn ready() -> Control {
    let mut control = two_ports();
    for message in [DeviceReady(true), PortReady(0, true), PortReady(1, true)] {
        control.handle(message).unwrap();
    }
    messages(&mut control);
    control
}

#[test]
fn a_driver_is_introduced_to_all_ports() {
    let mut control = two_ports();
    assert_eq!(control.handle(PortReady(0, true)), Err(Refused), "not before it is ready itself");
    control.handle(DeviceReady(true)).unwrap();
    assert_eq!(messages(&mut control), [ToDriver::Add.encode(0), ToDriver::Add.encode(1)]);
    control.handle(PortReady(0, true)).unwrap();
    let console =
        [ToDriver::Console.encode(0), ToDriver::Resize(80, 25).encode(0), ToDriver::Open(true).encode(0)];
    assert_eq!(messages(&mut control), console);
    control.host_open(1, true);
    assert_eq!(control.next_message(), None, "a port that is not ready hears nothing");
    control.handle(PortReady(1, true)).unwrap();
    let name = ToDriver::Name("org.qemu.guest_agent.0".into());
    assert_eq!(messages(&mut control), [name.encode(1), ToDriver::Open(true).encode(1)]);
}

#[test]
fn opening_and_closing_ends_in_at_most_one_message() {
    let mut control = ready();
    control.host_open(1, true);
    control.host_open(1, false);
    assert_eq!(control.next_message(), None);
    (0..99).for_each(|i| control.host_open(1, i % 2 == 0));
    assert_eq!(messages(&mut control), [ToDriver::Open(true).encode(1)]);
    control.host_open(0, false);
    assert_eq!(control.next_message(), None, "a console stays open");
    control.host_open(9, true);
    assert_eq!(control.handle(Open(1, true)), Ok(Effect::GuestOpen(1, true)));
    assert_eq!(control.handle(Open(2, true)), Err(Refused));
    assert_eq!(control.handle(PortReady(u32::MAX, true)), Err(Refused));
}

#[test]
fn a_restored_driver_is_told_that_the_client_is_gone() {
    let mut control = ready();
    control.host_open(1, true);
    messages(&mut control);
    control.resize((100, 40));
    let saved = control.save();
    let mut other = two_ports();
    assert!(other.restore(&saved));
    let told = [ToDriver::Resize(100, 40).encode(0), ToDriver::Open(false).encode(1)];
    assert_eq!(messages(&mut other), told);
    control.reset();
    assert_eq!(control.next_message(), None);
    assert!(!Control::new((0, 0), std::iter::empty()).restore(&saved));
}

#[test]
fn messages_have_the_form_of_the_specification() {
    assert_eq!(ToDriver::Name("ab".into()).encode(1), [1, 0, 0, 0, 7, 0, 1, 0, b'a', b'b']);
    assert_eq!(ToDriver::Resize(80, 25).encode(0), [0, 0, 0, 0, 5, 0, 0, 0, 80, 0, 25, 0]);
    assert_eq!(FromDriver::decode([2, 1, 0, 0, 6, 0, 1, 0]), Some(Open(258, true)));
    assert_eq!(FromDriver::decode([0, 0, 0, 0, 6, 0, 2, 0]), None);
    assert_eq!(FromDriver::decode([0, 0, 0, 0, 1, 0, 1, 0]), None, "only devices add ports");
}
