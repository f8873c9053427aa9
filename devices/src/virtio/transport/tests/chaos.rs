//! Whatever a guest does to a function while its queues run: no panic, no deadlock, and a reset makes it good again.

use std::sync::mpsc;
use std::time::Duration;

use proptest::prelude::*;

use super::devices::Kind;
use super::driver::*;
use super::machine::{Rig, WINDOW};
use crate::pci::PciFunction;
use crate::virtio::testing::{DATA, Desc, RAM, any_desc};

/// Everything together takes a second or two.
const TIME_LIMIT: Duration = Duration::from_secs(120);

#[derive(Clone, Debug)]
enum Step {
    ReadConfig(u16, usize),
    WriteConfig(u16, Vec<u8>),
    Read(u64, usize),
    Write(u64, Vec<u8>),
    Notify(u16),
    Place(u64),
    Window(u32, u32, u32),
    Status(u8),
    Features(u64),
    Queue { index: u16, size: u16, addresses: [u64; 3], chains: Vec<Desc> },
    Reset(u16),
    Pause,
    Resume,
    Reborn,
    Start,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff), Just(1)], 1..=8)
}

fn config_offset() -> impl Strategy<Value = u16> {
    prop_oneof![4 => 0..0x100u16, 2 => 4..0x28u16, 1 => any::<u16>()]
}

fn window_offset() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..0x40u64, 1 => 0x1000..0x1004u64, 2 => 0x2000..0x2040u64, 2 => 0x4000..0x4080u64,
        1 => 0x7000..0x7010u64, 1 => 0..0x8000u64, 1 => any::<u64>()]
}

fn address() -> impl Strategy<Value = u64> {
    let near_the_end = (RAM - 0x400..RAM + 0x40).prop_map(|address| address & !0xf);
    prop_oneof![6 => (0..RAM / 64).prop_map(|line| line * 64), 1 => near_the_end, 1 => any::<u64>()]
}

fn queue() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => (0..7u32).prop_map(|bits| 1 << bits), 1 => any::<u16>()];
    let addresses = [address(), address(), address()];
    (0..6u16, size, addresses, prop::collection::vec(any_desc(), 0..8))
        .prop_map(|(index, size, addresses, chains)| Step::Queue { index, size, addresses, chains })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (config_offset(), 1..=8usize).prop_map(|(offset, len)| Step::ReadConfig(offset, len)),
        3 => (config_offset(), bytes()).prop_map(|(offset, data)| Step::WriteConfig(offset, data)),
        2 => (window_offset(), 1..=8usize).prop_map(|(offset, len)| Step::Read(offset, len)),
        6 => (window_offset(), bytes()).prop_map(|(offset, data)| Step::Write(offset, data)),
        4 => (0..8u16).prop_map(Step::Notify),
        2 => prop_oneof![Just(WINDOW), Just(0), any::<u64>()].prop_map(Step::Place),
        2 => (0..0x8000u32, 0..6u32, any::<u32>()).prop_map(|(at, len, data)| Step::Window(at, len, data)),
        3 => prop_oneof![Just(0xf), Just(0), any::<u8>()].prop_map(Step::Status),
        2 => prop_oneof![Just(FEATURES), any::<u64>()].prop_map(Step::Features),
        6 => queue(),
        1 => (0..8u16).prop_map(Step::Reset),
        1 => Just(Step::Pause),
        2 => Just(Step::Resume),
        1 => Just(Step::Reborn),
        3 => Just(Step::Start),
    ]
}

fn poke(rig: &Rig, offset: u64, len: usize, value: u64) {
    rig.poke(offset, &value.to_le_bytes()[..len]);
}

/// Lays out a ring, with chains in it where it is in RAM, and enables it whatever it is.
fn program(rig: &Rig, index: u16, size: u16, addresses: [u64; 3], chains: &[Desc]) {
    let [table, available, _] = addresses;
    for (at, desc) in (0..).zip(chains) {
        let bytes = [
            &desc.address.to_le_bytes()[..],
            &desc.len.to_le_bytes(),
            &desc.flags.to_le_bytes(),
            &desc.next.to_le_bytes(),
        ];
        if table < RAM - 0x400 {
            rig.machine.fill(table + at * 16, &bytes.concat());
        }
    }
    if available < RAM - 0x400 {
        let count = u16::try_from(chains.len()).unwrap();
        let heads = (0..count).flat_map(u16::to_le_bytes);
        let ring: Vec<_> = [0, 0].into_iter().chain(count.to_le_bytes()).chain(heads).collect();
        rig.machine.fill(available, &ring);
    }
    poke(rig, COMMON + 0x16, 2, index.into());
    poke(rig, QUEUE_RESET, 2, 1);
    poke(rig, QUEUE_SIZE, 2, size.into());
    for (at, address) in (0..).zip(addresses) {
        poke(rig, QUEUE_DESC + at * 8, 8, address);
    }
    poke(rig, QUEUE_VECTOR, 2, (index + 1).into());
    poke(rig, QUEUE_ENABLE, 2, 1);
}

fn take(rig: Rig, step: Step) -> Rig {
    match step {
        Step::ReadConfig(offset, len) => {
            rig.config(offset, len);
        }
        Step::WriteConfig(offset, data) => rig.carry_out(rig.function.write_config(offset, &data)),
        Step::Read(offset, len) => {
            crate::bus::BusDevice::read(rig.function.as_ref(), offset, &mut [0; 8][..len]);
        }
        Step::Write(offset, data) => rig.poke(offset, &data),
        Step::Notify(queue) => poke(&rig, NOTIFY + 4 * u64::from(queue), 2, queue.into()),
        Step::Place(window) => rig.place(window),
        Step::Window(at, len, data) => {
            let window = rig.capability(9, Some(5));
            rig.set_config(window + 8, 8, u64::from(len) << 32 | u64::from(at));
            rig.set_config(window + 16, 4, data.into());
            rig.config(window + 16, 4);
        }
        Step::Status(status) => poke(&rig, STATUS, 1, status.into()),
        Step::Features(features) => {
            for select in [0, 1] {
                poke(&rig, COMMON + 8, 4, select);
                poke(&rig, COMMON + 12, 4, features >> (32 * select) & 0xffff_ffff);
            }
        }
        Step::Queue { index, size, addresses, chains } => program(&rig, index, size, addresses, &chains),
        Step::Reset(queue) => {
            poke(&rig, COMMON + 0x16, 2, queue.into());
            poke(&rig, QUEUE_RESET, 2, 1);
        }
        Step::Pause => rig.function.pause(),
        Step::Resume => rig.function.resume(),
        Step::Reborn => {
            rig.function.pause();
            let state = rig.function.save();
            let rig = rig.reborn(&state);
            rig.function.resume();
            return rig;
        }
        Step::Start => {
            rig.start();
        }
    }
    rig
}

/// Takes all steps, then does what a newly booted guest does.
fn survive(kind: Kind, steps: Vec<Step>) {
    let rig = steps.into_iter().fold(Rig::new(kind), take);
    rig.function.resume();
    // The old rings may be anywhere in memory until the reset.
    rig.set_config(4, 2, 0);
    rig.place(WINDOW);
    rig.reset();
    rig.machine.fill(DATA, &[0; 16]);
    let mut driver = rig.start();
    (0..3).for_each(|_| rig.request(&mut driver));
    assert_eq!(rig.board.doorbells(), [WINDOW + rig.doorbell()]);
}

fn within_time(kind: fn() -> Kind) {
    let (done, wait) = mpsc::channel();
    let test = std::thread::spawn(move || {
        proptest!(ProptestConfig::with_cases(48), |(steps in prop::collection::vec(step(), 1..80))| {
            survive(kind(), steps);
        });
        done.send(()).unwrap();
    });
    match wait.recv_timeout(TIME_LIMIT) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("the function hangs"),
        _ => test.join().unwrap(),
    }
}

#[test]
fn an_entropy_source_survives() {
    within_time(|| Kind::Rng);
}

#[test]
fn a_disk_survives() {
    within_time(Kind::blk);
}

#[test]
fn a_console_survives() {
    within_time(|| Kind::Console);
}

#[test]
fn a_network_card_survives() {
    within_time(|| Kind::Net);
}

/// Several vCPUs at once: configuration, window and queues from different sides.
#[test]
fn all_sides_at_once() {
    for kind in Kind::all() {
        let rig = Rig::new(kind);
        let mut driver = rig.start();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..200).for_each(|i| rig.place(WINDOW + (i % 4) * 0x8000)));
            scope.spawn(|| (0..200).for_each(|_| poke(&rig, rig.doorbell(), 2, 0)));
            scope.spawn(|| {
                for i in 0..200u64 {
                    poke(&rig, MSIX + 16 + 12, 4, i % 2);
                    poke(&rig, MSIX + 16 + 8, 4, i);
                }
            });
            scope.spawn(|| {
                for i in 0..50u64 {
                    poke(&rig, QUEUE_VECTOR, 2, i % 3);
                    rig.config(rig.capability(9, Some(5)) + 16, 4);
                }
            });
        });
        rig.place(WINDOW);
        rig.request(&mut driver);
        assert_eq!(rig.board.doorbells(), [WINDOW + rig.doorbell()]);
    }
}
