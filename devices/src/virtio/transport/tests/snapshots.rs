//! State that travels.

use super::super::TransportState;
use super::devices::Kind;
use super::driver::*;
use super::machine::{Rig, WINDOW};
use crate::irq::MsiMessage;
use crate::virtio::testing::DATA;

fn travelled(state: &TransportState) -> TransportState {
    let text = serde_json::to_string(state).unwrap();
    let state_there = serde_json::from_str(&text).unwrap();
    assert_eq!(state, &state_there);
    state_there
}

#[test]
fn a_ring_goes_on_in_another_process() {
    for kind in Kind::all() {
        let rig = Rig::new(kind);
        let mut driver = rig.start();
        (0..3).for_each(|_| rig.request(&mut driver));
        rig.function.pause();
        let head = driver.add(&rig.kind.request());
        let state = travelled(&rig.function.save());
        let rig = rig.reborn(&state);
        assert_eq!(rig.function.save(), state);
        // A vCPU that is early starts nothing.
        rig.add_status(DRIVER_OK);
        assert_eq!((driver.used(), rig.board.doorbells()), (None, vec![]));
        rig.function.resume();
        assert_eq!(driver.wait_used(), (head, rig.kind.answer()));
        assert_eq!(rig.board.doorbells(), [WINDOW + rig.doorbell()]);
        rig.wait_fired(1);
        let message = MsiMessage { address: 0xfee0_0000, data: 0x41 };
        assert_eq!(rig.board.routes.lock().unwrap().get(&Rig::gsi(1)), Some(&message));
        rig.request(&mut driver);
        let mut driver = rig.start();
        rig.request(&mut driver);
    }
}

/// The process ends while the device has all of some requests, a part of them, or none.
#[test]
fn requests_in_flight_are_answered_once_by_one_process_or_the_next() {
    const REQUESTS: usize = 4;
    for kind in Kind::all() {
        let mut rig = Rig::new(kind);
        let mut driver = rig.start();
        rig.machine.fill(DATA, &[0; 16]);
        for round in 0..30 {
            let mut heads: Vec<u16> = (0..REQUESTS).map(|_| driver.add(&rig.kind.request())).collect();
            rig.write(rig.doorbell(), 2, rig.kind.queue().into());
            let mut answers: Vec<_> = (0..round % 3).map(|_| driver.wait_used()).collect();
            rig.function.pause();
            let state = travelled(&rig.function.save());
            rig = rig.reborn(&state);
            rig.function.resume();
            answers.extend((answers.len()..REQUESTS).map(|_| driver.wait_used()));
            answers.sort_unstable();
            heads.sort_unstable();
            let wanted: Vec<_> = heads.into_iter().map(|head| (head, rig.kind.answer())).collect();
            assert_eq!((answers, driver.used()), (wanted, None), "round {round}");
        }
        rig.request(&mut driver);
    }
}

#[test]
fn a_pending_interrupt_and_a_failure_travel_too() {
    let rig = Rig::new(Kind::Rng);
    let mut driver = rig.start();
    rig.write(MSIX + 16 + 12, 4, 1);
    rig.request(&mut driver);
    rig.machine.wait("the pending bit", || rig.read(PENDING, 8) == 2);
    driver.offer_times(0, 17);
    rig.write(rig.doorbell(), 2, 0);
    rig.machine.wait("the need of a reset", || rig.status() & NEEDS_RESET != 0);
    rig.function.pause();
    let state = travelled(&rig.function.save());
    let rig = rig.reborn(&state);
    assert_eq!((rig.fired(0), rig.fired(1)), (0, 0), "nothing is said twice");
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);
    rig.write(MSIX + 16 + 12, 4, 0);
    assert_eq!(rig.fired(1), 1);
}

#[test]
fn a_driver_hears_of_what_changed_on_the_way_though_no_queue_runs_yet() {
    let rig = Rig::new(Kind::blk());
    let _driver = rig.start();
    rig.function.pause();
    let state = travelled(&rig.function.save());
    let rig = rig.reborn(&state);
    let before = rig.read(GENERATION, 1);
    assert_eq!((rig.fired(0), rig.read(ISR, 1)), (0, 0));
    rig.function.config_changed();
    // It moves on before it has run.
    let state = travelled(&rig.function.save());
    let rig = rig.reborn(&state);
    assert_eq!(rig.read(GENERATION, 1), before + 1);
    assert_eq!(rig.read(ISR, 1), 2);
    rig.function.config_changed();
    assert_eq!((rig.fired(0), rig.fired(1)), (1, 0), "by the vector that the driver chose for it");
    assert_eq!(rig.read(GENERATION, 1), before + 2);
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let rig = Rig::new(Kind::Rng);
    rig.start();
    rig.function.pause();
    let good = rig.function.save();
    let other = Rig::new(Kind::Net).function.save();
    let bad: [fn(&mut TransportState); 5] = [
        |state| state.version += 1,
        |state| state.queues.clear(),
        |state| state.msix.vectors.clear(),
        |state| state.driver_features |= 1 << 15,
        |state| state.driver_features = 0,
    ];
    assert!(rig.function.restore(&other).is_none());
    for change in bad {
        let mut state = good.clone();
        change(&mut state);
        assert!(Rig::new(Kind::Rng).function.restore(&state).is_none());
    }
    let device = TransportState { device: other.device, ..good.clone() };
    assert!(Rig::new(Kind::Rng).function.restore(&device).is_none());
}

#[test]
fn nonsense_in_a_state_is_as_harmless_as_in_registers() {
    let rig = Rig::new(Kind::Rng);
    rig.start();
    rig.function.pause();
    let mut state = rig.function.save();
    state.config.bytes.fill(0xff);
    state.config.bytes.truncate(0xf0);
    state.queues[0].size = 0xffff;
    state.queues[0].vector = 77;
    state.queues[0].addresses = [u64::MAX; 3];
    state.status = 0xff;
    state.config_vector = 500;
    let rig = rig.reborn(&state);
    rig.function.resume();
    let mut driver = rig.start();
    rig.request(&mut driver);
}
