//! Vectors, their routes and the status byte.

use super::devices::Kind;
use super::driver::*;
use super::machine::Rig;
use crate::irq::MsiMessage;

const VECTOR1: u64 = MSIX + 16;

#[test]
fn a_used_buffer_interrupts_with_its_vector_and_the_routes_are_made_once() {
    let rig = Rig::new(Kind::blk());
    let mut driver = rig.start();
    assert_eq!(rig.board.commits(), 0, "programming vectors costs nothing");
    for _ in 0..5 {
        rig.request(&mut driver);
        rig.wait_fired(1);
    }
    assert_eq!(rig.board.commits(), 1);
    let routes = rig.board.routes.lock().unwrap();
    assert_eq!(routes.len(), rig.vectors(), "all vectors of the function together");
    assert_eq!(routes.get(&Rig::gsi(1)), Some(&MsiMessage { address: 0xfee0_0000, data: 0x41 }));
    assert_eq!(rig.fired(0), 0);
}

#[test]
fn the_status_byte_is_cleared_by_reading_it() {
    let rig = Rig::new(Kind::Rng);
    let mut driver = rig.start();
    rig.request(&mut driver);
    rig.wait_fired(1);
    assert_eq!(rig.read(ISR, 4), 0, "one byte, read as one");
    assert_eq!(rig.read(ISR, 1), 1);
    assert_eq!(rig.read(ISR, 1), 0);
    // A ring that cannot go on.
    driver.offer_times(0, 17);
    rig.write(rig.doorbell(), 2, 0);
    rig.wait_fired(0);
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);
    assert_eq!(rig.read(ISR, 1) & 2, 2);
    rig.reset();
    assert_eq!(rig.read(ISR, 1), 0);
}

#[test]
fn a_masked_vector_waits() {
    let rig = Rig::new(Kind::Rng);
    let mut driver = rig.start();
    rig.write(VECTOR1 + 12, 4, 1);
    rig.request(&mut driver);
    rig.machine.wait("the pending bit", || rig.read(PENDING, 8) == 2);
    assert_eq!(rig.fired(1), 0);
    rig.write(VECTOR1 + 8, 4, 0x77);
    rig.write(VECTOR1 + 12, 4, 0);
    assert_eq!(rig.fired(1), 1);
    assert_eq!(rig.read(PENDING, 8), 0);
    assert_eq!(rig.board.routes.lock().unwrap()[&Rig::gsi(1)].data, 0x77);

    // The same by the function's mask.
    let control = rig.capability(0x11, None) + 2;
    rig.set_config(control, 2, 0xc000);
    rig.request(&mut driver);
    rig.machine.wait("the pending bit", || rig.read(PENDING, 8) == 2);
    rig.set_config(control, 2, 0x8000);
    assert_eq!(rig.fired(1), 1);
}

#[test]
fn without_msix_nothing_fires() {
    let rig = Rig::new(Kind::Rng);
    let mut driver = rig.start();
    rig.set_config(rig.capability(0x11, None) + 2, 2, 0);
    rig.request(&mut driver);
    rig.machine.wait("the status byte", || rig.read(ISR, 1) == 1);
    assert_eq!(rig.fired(1), 0);
}

#[test]
fn a_vector_may_be_chosen_while_the_queue_runs() {
    let rig = Rig::new(Kind::Rng);
    let mut driver = rig.start();
    rig.request(&mut driver);
    rig.wait_fired(1);
    rig.write(QUEUE_VECTOR, 2, 0);
    rig.request(&mut driver);
    rig.wait_fired(0);
    assert_eq!(rig.fired(1), 0);
    rig.write(QUEUE_VECTOR, 2, 99);
    assert_eq!(rig.read(QUEUE_VECTOR, 2), 0xffff, "there is no such vector");
    rig.request(&mut driver);
    rig.machine.wait("the status byte", || rig.read(ISR, 1) == 1);
    assert_eq!((rig.fired(0), rig.fired(1)), (0, 0));
}

#[test]
fn a_message_to_nowhere_harms_no_other_vector() {
    let rig = Rig::new(Kind::Rng);
    let mut driver = rig.start();
    // The board, as KVM, refuses tables with such a message.
    rig.write(MSIX + 4, 4, 0xff);
    rig.request(&mut driver);
    rig.wait_fired(1);
    let routes = rig.board.routes.lock().unwrap();
    assert_eq!(routes.keys().copied().collect::<Vec<_>>(), [Rig::gsi(1)]);
}
