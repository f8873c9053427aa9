//! Commands of the driver, and what they change.

use super::features::*;
use super::tests::*;
use super::*;
use crate::virtio::testing::*;

pub(super) fn command(setup: &Setup, ctrl: &mut Driver, bytes: &[u8]) -> u8 {
    setup.machine.fill(DATA, bytes);
    setup.machine.fill(DATA + 0x1000, &[0xee]);
    ctrl.run(&[out(DATA, 2), out(DATA + 2, u32::try_from(bytes.len() - 2).unwrap()), inp(DATA + 0x1000, 1)]);
    setup.machine.bytes(DATA + 0x1000, 1)[0]
}

#[test]
fn control_commands_are_carried_out_or_refused() {
    let mut setup = Setup::with_pairs(4);
    assert_eq!(setup.device.queue_sizes().len(), 9);
    let mut ctrl = setup.start(8, 64, MQ | CTRL_RX | CTRL_MAC_ADDR);
    assert_eq!(*setup.link.active.lock().unwrap(), 1, "the others wait for the driver");
    assert_eq!(command(&setup, &mut ctrl, &[4, 0, 3, 0]), 0);
    assert_eq!((*setup.link.active.lock().unwrap(), setup.device.handle().active_pairs()), (3, 3));
    assert_eq!(command(&setup, &mut ctrl, &[1, 1, 2, 4, 6, 8, 10, 12]), 0);
    assert_eq!(setup.device.handle().mac(), [2, 4, 6, 8, 10, 12]);
    assert_eq!(command(&setup, &mut ctrl, &[0, 0, 1]), 0);
    assert_eq!(command(&setup, &mut ctrl, &[0, 1, 1]), 0);
    assert_eq!(command(&setup, &mut ctrl, &[&[1, 0][..], &[0; 8]].concat()), 0);
    let refused: [&[u8]; 12] = [
        &[4, 0, 0, 0],
        &[4, 0, 5, 0],
        &[4, 0, 1],
        &[1, 1, 2, 4],
        &[1, 0, 0],
        &[0, 9, 1],
        &[0xff, 0xff, 0],
        &[0, 0, 1, 1],
        &[0, 2, 1],
        &[2, 0, 5, 0],
        &[3, 0],
        &[5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for bytes in refused {
        assert_eq!(command(&setup, &mut ctrl, bytes), 1, "{bytes:?}");
    }
    ctrl.run(&[out(DATA, 3)]);
    ctrl.run(&[inp(DATA, 3)]);
    assert_eq!(setup.device.handle().counters().refused_commands.get(), 14);
    let saved = setup.device.save();
    ctrl.stop(&mut setup.device);
    setup.device.reset();
    assert_eq!((*setup.link.active.lock().unwrap(), setup.device.handle().mac()), (1, MAC_ADDRESS));
    assert!(setup.device.restore(&saved));
    assert_eq!(*setup.link.active.lock().unwrap(), 3);
    assert_eq!(setup.device.save(), saved);
}

#[test]
fn a_state_that_does_not_fit_is_refused() {
    let mut setup = Setup::new();
    let DeviceState::Net(state) = setup.device.save() else { panic!("another kind of state") };
    let mut pairs = state.clone();
    pairs.settings.active_pairs = 2;
    assert!(!setup.device.restore(&DeviceState::Net(pairs)));
    assert!(!setup.device.restore(&DeviceState::Net(NetState { version: 0, ..state })));
}

/// A frame of `len` bytes to an address, with a tag of `vlan` if that is not 0.
fn addressed(to: [u8; 6], vlan: u16) -> Vec<u8> {
    let mut bytes = frame(80);
    bytes[12..18].copy_from_slice(&to);
    bytes[24..26].copy_from_slice(&[0x08, 0x00]);
    if vlan > 0 {
        bytes[24..26].copy_from_slice(&[0x81, 0x00]);
        bytes[26..28].copy_from_slice(&vlan.to_be_bytes());
    }
    bytes
}

#[test]
fn frames_that_the_driver_did_not_ask_for_cost_no_buffers() {
    const FEATURES: u64 = CTRL_RX | CTRL_VLAN;
    const NEIGHBOUR: [u8; 6] = [2, 0, 0, 9, 9, 9];
    // Chains as small as they get, so that addresses lie in several of them, and in the spill.
    for buffer in [12, 17, 2000] {
        let mut setup = Setup::new();
        let mut ctrl = setup.start(2, 64, FEATURES);
        let mut rx = setup.start(RX, 64, MRG_RXBUF | FEATURES);
        let next = |rx: &mut Driver, sent: &[Vec<u8>], count: usize| {
            sent.iter().for_each(|frame| assert_eq!(setup.hosts[0].send(frame).unwrap(), 92));
            let chains = count * 92usize.div_ceil(usize::try_from(buffer).unwrap());
            for at in (DATA + 0x2000..).step_by(0x1000).take(chains) {
                rx.add(&[inp(at, buffer)]);
            }
            rx.kick();
            let bytes = (0..chains).map(|_| rx.wait_used().1).sum::<u32>();
            assert_eq!(usize::try_from(bytes).unwrap(), count * 92);
        };
        let all = [addressed(MAC_ADDRESS, 0), addressed(NEIGHBOUR, 0), addressed([0xff; 6], 7)];
        assert_eq!(command(&setup, &mut ctrl, &[0, 0, 1]), 0);
        next(&mut rx, &all, 3);
        assert_eq!(command(&setup, &mut ctrl, &[0, 0, 0]), 0);
        let last = addressed(MAC_ADDRESS, 0);
        next(&mut rx, &[&all[1..], std::slice::from_ref(&last)].concat(), 1);
        assert_eq!(command(&setup, &mut ctrl, &[2, 0, 7, 0]), 0);
        let tables = [&[1, 0, 1, 0, 0, 0][..], &NEIGHBOUR, &[0; 4]].concat();
        assert_eq!(command(&setup, &mut ctrl, &tables), 0);
        next(&mut rx, &all, 3);
        assert_eq!(command(&setup, &mut ctrl, &[2, 1, 7, 0]), 0);
        assert_eq!(command(&setup, &mut ctrl, &[&[1, 0][..], &[0; 8]].concat()), 0);
        rx.stop(&mut setup.device);
        assert_eq!(rx.state.next_used, rx.state.next_avail);
        assert_eq!(setup.device.handle().counters().rx[0].filtered.get(), 2);
    }
}

#[test]
fn offloads_are_switched_while_the_card_runs_and_survive_a_queues_reset() {
    const FEATURES: u64 = CTRL_GUEST_OFFLOADS | GUEST_CSUM | GUEST_TSO4;
    let mut setup = Setup::new();
    let mut rx = setup.start(RX, 64, FEATURES);
    let mut ctrl = setup.start(2, 64, FEATURES);
    assert_eq!(command(&setup, &mut ctrl, &[5, 0, 2, 0, 0, 0, 0, 0, 0, 0]), 0);
    for refused in [&[5, 0, 2, 1, 0, 0, 0, 0, 0, 0][..], &[5, 0, 2, 0, 0, 0, 0, 0, 0, 0x80], &[5, 0, 2]] {
        assert_eq!(command(&setup, &mut ctrl, refused), 1, "{refused:?}");
    }
    rx.stop(&mut setup.device);
    rx.start(&mut setup.device);
    let both = Offloads::CSUM | Offloads::TSO4;
    assert_eq!(*setup.link.offloads.lock().unwrap(), [both, Offloads::CSUM, Offloads::CSUM]);
    rx.stop(&mut setup.device);
    ctrl.stop(&mut setup.device);
    setup.device.reset();
    setup.start(RX, 64, FEATURES);
    assert_eq!(setup.link.offloads.lock().unwrap()[3..], [Offloads::NONE, both]);
}

#[test]
fn a_driver_is_asked_to_announce_itself_until_it_has() {
    let mut setup = Setup::new();
    let handle = setup.device.handle();
    assert!(!handle.announce(), "nobody is there");
    let mut ctrl = setup.start(2, 64, GUEST_ANNOUNCE);
    let generation = setup.machine.events.generation();
    assert!(handle.announce());
    assert_ne!(setup.machine.events.generation(), generation);
    let status = |setup: &Setup| {
        let mut status = [0; 2];
        setup.device.read_config(6, &mut status);
        u16::from_le_bytes(status)
    };
    assert_eq!(status(&setup), 3);
    let saved = setup.device.save();
    assert_eq!(command(&setup, &mut ctrl, &[3, 0]), 0);
    assert_eq!(status(&setup), 1);
    ctrl.stop(&mut setup.device);
    setup.device.reset();
    assert!(setup.device.restore(&saved));
    assert_eq!(status(&setup), 3, "a driver that has moved still has to");
}

#[test]
fn a_saved_card_is_as_it_was() {
    let mut setup = Setup::with_pairs(2);
    let features = !crate::virtio::feature::RING_EVENT_IDX;
    let mut ctrl = setup.start(4, 64, features);
    let tables = [&[1, 0, 1, 0, 0, 0][..], &[2; 6], &[65, 0, 0, 0], &[3; 390]].concat();
    for bytes in
        [&[0, 0, 0][..], &[0, 4, 1], &[1, 1, 2, 4, 6, 8, 10, 12], &[2, 0, 0xff, 0x0f], &[4, 0, 2, 0], &tables]
    {
        assert_eq!(command(&setup, &mut ctrl, bytes), 0, "{bytes:?}");
    }
    let saved = setup.device.save();
    let text = serde_json::to_string(&saved).unwrap();
    ctrl.stop(&mut setup.device);
    setup.device.reset();
    assert_ne!(setup.device.save(), saved);
    assert!(setup.device.restore(&serde_json::from_str(&text).unwrap()));
    assert_eq!(setup.device.save(), saved);
    assert_eq!(
        (setup.device.handle().mac(), setup.device.handle().active_pairs()),
        ([2, 4, 6, 8, 10, 12], 2)
    );
    let mut other = Setup::new();
    assert!(!other.device.restore(&saved), "a card with fewer queues");
    assert!(text.contains("4095"));
    let wrong = text.replace("4095", "4096");
    assert!(!setup.device.restore(&serde_json::from_str(&wrong).unwrap()), "a VLAN that does not exist");
}
