use std::time::Duration;

use proptest::prelude::*;
use vm_memory::GuestAddress;

use super::sys::{Way, way};
use super::*;
use crate::virtio::testing::*;

const ALL: u64 = STATS_VQ | DEFLATE_ON_OOM | PAGE_REPORTING;
const INFLATE: u16 = 0;
const DEFLATE: u16 = 1;
const STATS: u16 = 2;
const REPORT: u16 = 3;

fn device(machine: &Machine) -> BalloonDevice {
    let config = BalloonConfig { ram_bytes: RAM, reporting: true };
    BalloonDevice::new(config, machine.thread.handle()).unwrap()
}

fn driver(machine: &Machine, index: u16) -> Driver {
    let mut driver = machine.driver(index, 16);
    driver.features |= ALL;
    driver
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// All bytes there are `byte`.
fn is(machine: &Machine, address: u64, len: usize, byte: u8) -> bool {
    machine.bytes(address, len).iter().all(|found| *found == byte)
}

#[test]
fn pages_in_the_balloon_lose_their_contents_and_no_others() {
    let machine = Machine::new();
    let mut device = device(&machine);
    let mut driver = driver(&machine, INFLATE);
    machine.fill(0x20_0000, &[7; 0x1_0000]);
    // In disorder, twice, out of RAM.
    let list = numbers(&[0x203, 0x201, 0x202, 0x201, 0x207, 0x400, u32::MAX]);
    machine.fill(DATA, &list);
    driver.start(&mut device);
    let len = u32::try_from(list.len()).unwrap();
    assert_eq!(driver.run(&[out(DATA, 10), out(DATA + 10, len - 10)]), 0);
    for number in 0x200..0x210u64 {
        let lent = matches!(number, 0x201..=0x203 | 0x207);
        let expected = if lent { 0 } else { 7 };
        assert!(is(&machine, number * PAGE, 4096, expected), "page {number:#x}");
    }
    let handle = device.handle();
    let counters = handle.counters();
    assert_eq!((counters.inflated_pages.get(), counters.released_bytes.get()), (7, 4 * PAGE));
    assert_eq!((counters.rejected.get(), counters.failed.get()), (2, 0));
    assert!(!machine.needs_reset());
}

#[test]
fn a_run_that_leaves_ram_gives_back_what_lies_inside() {
    let mem = ram::Ram::from_ranges(&[(GuestAddress(0), 0x4000), (GuestAddress(0x6000), 0x2000)]);
    let (mem, counters) = (Arc::new(mem.unwrap()), BalloonCounters::default());
    pages::release(&mem, 0x2000, 0x5000, &counters);
    assert_eq!(counters.released_bytes.get(), 0x3000);
    pages::release(&mem, 0x2fff, 0x1fff, &counters);
    assert_eq!(counters.released_bytes.get(), 0x4000, "parts of pages stay");
    pages::release(&mem, u64::MAX - 5, 0x1000, &counters);
    pages::release(&mem, 0x4000, 0x2000, &counters);
    pages::release(&mem, 0x100, 0x200, &counters);
    assert_eq!((counters.released_bytes.get(), counters.rejected.get()), (0x4000, 3));
}

#[test]
fn reserved_huge_pages_stay() {
    assert_eq!(way(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_HUGETLB), Way::Keep);
    assert_eq!(way(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS), Way::Drop);
    assert_eq!(way(libc::MAP_SHARED), Way::Punch);
}

#[test]
fn reported_memory_is_given_back() {
    let machine = Machine::new();
    let mut device = device(&machine);
    let mut driver = driver(&machine, REPORT);
    machine.fill(0x20_0000, &[7; 0x10_0000]);
    driver.start(&mut device);
    assert_eq!(
        driver.run(&[inp(0x20_0000, 0x8_0000), inp(0x28_0800, 0x1800), inp(RAM - 0x1000, 1 << 30)]),
        0
    );
    assert!(is(&machine, 0x20_0000, 0x8_0000, 0));
    assert!(is(&machine, 0x28_0000, 0x1000, 7), "half a page is nobody's to give");
    assert!(is(&machine, 0x28_1000, 0x1000, 0));
    assert!(device.handle().counters().reported_bytes.get() > 0x8_0000);
}

#[test]
fn queues_move_up_where_a_feature_is_not_taken() {
    assert_eq!(Role::of(2, ALL), Some(Role::Stats));
    assert_eq!(Role::of(3, ALL), Some(Role::Report));
    assert_eq!(Role::of(2, PAGE_REPORTING), Some(Role::Report));
    assert_eq!(Role::of(3, STATS_VQ), None);
    assert_eq!(Role::of(2, 0), None);
    let machine = Machine::new();
    let mut device = device(&machine);
    let plain = machine.driver(2, 16);
    assert!(matches!(device.start_queue(2, plain.ring()), Err(StartError::NoSuchQueue(2))));
}

fn statistics(entries: &[(u16, u64)]) -> Vec<u8> {
    let entry = |(tag, value): &(u16, u64)| [&tag.to_le_bytes()[..], &value.to_le_bytes()[..]].concat();
    entries.iter().flat_map(entry).collect()
}

#[test]
fn statistics_come_when_they_are_asked_for() {
    let machine = Machine::new();
    let mut device = device(&machine);
    let mut driver = driver(&machine, STATS);
    driver.features |= feature::RING_EVENT_IDX;
    let handle = device.handle();
    let fresh = || handle.statistics(Duration::from_secs(3600));
    assert_eq!(fresh(), None);
    driver.start(&mut device);
    machine.wait("the question that nobody can answer", || driver.used().is_none());
    machine.fill(DATA, &statistics(&[(4, 1000), (5, 2000), (999, 1), (10, 3)]));
    driver.add(&[out(DATA, 40)]);
    driver.kick();
    machine.wait("the first statistics", || fresh().is_some());
    let stats = fresh().unwrap();
    assert_eq!(
        (stats.free, stats.total, stats.oom_kills, stats.available),
        (Some(1000), Some(2000), Some(3), None)
    );
    // Nobody asks: the driver keeps its peace, over a pause too.
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(driver.used(), None);
    driver.stop(&mut device);
    assert_eq!(driver.state.next_avail, 0, "the buffer is to be found again");
    driver.start(&mut device);
    assert_eq!(driver.used(), None);
    // Old ones are given, and new ones asked for.
    assert_eq!(handle.statistics(Duration::ZERO), Some(stats));
    driver.wait_used();
    machine.fill(DATA, &statistics(&[(4, 500)]));
    driver.add(&[out(DATA, 10)]);
    driver.kick();
    machine.wait("the second statistics", || fresh().is_some_and(|stats| stats.free == Some(500)));
    assert_eq!(fresh().unwrap().total, None);
}

#[test]
fn a_flood_of_statistics_is_sent_back() {
    let machine = Machine::new();
    let mut device = device(&machine);
    let mut driver = driver(&machine, STATS);
    driver.start(&mut device);
    for round in 0..50 {
        driver.add(&[out(DATA, 100_000)]);
        driver.add(&[out(RAM, 100)]);
        driver.add(&[inp(DATA, 100)]);
        driver.kick();
        // One stays, of all rounds together.
        let back = if round == 0 { 2 } else { 3 };
        for _ in 0..back {
            driver.wait_used();
        }
        assert_eq!(driver.used(), None);
    }
    assert!(device.handle().counters().rejected.get() >= 50);
    assert!(!machine.needs_reset());
}

#[test]
fn the_host_says_what_it_wants_and_the_driver_what_there_is() {
    let machine = Machine::new();
    let mut device = device(&machine);
    let handle = device.handle();
    assert_eq!((handle.wanted_bytes(), handle.current_bytes()), (RAM, RAM));
    handle.set_memory(RAM - (1 << 20) + 5).unwrap();
    for bad in [RAM + 1, 0, u64::MAX] {
        assert!(handle.set_memory(bad).is_err(), "{bad}");
    }
    let mut config = [0; 16];
    device.read_config(0, &mut config);
    assert_eq!(config[..4], 255u32.to_le_bytes());
    device.write_config(0, &9u32.to_le_bytes());
    device.write_config(4, &100u32.to_le_bytes());
    device.write_config(4, &[1]);
    assert_eq!((handle.wanted_bytes(), handle.current_bytes()), (RAM - 255 * PAGE, RAM - 100 * PAGE));
    device.write_config(4, &u32::MAX.to_le_bytes());
    assert_eq!(handle.current_bytes(), 0, "a driver that lies");
    // A driver that runs is told, once.
    let driver = driver(&machine, DEFLATE);
    driver.start(&mut device);
    let before = machine.events.generation();
    handle.set_memory(RAM).unwrap();
    handle.set_memory(RAM).unwrap();
    assert_eq!(machine.events.generation(), before + 1);
    device.stop_queue(DEFLATE).unwrap();
    handle.set_memory(2 << 20).unwrap();
    device.reset();
    assert_eq!((handle.wanted_bytes(), handle.current_bytes()), (2 << 20, RAM));
}

#[test]
fn pages_taken_out_are_counted() {
    let machine = Machine::new();
    let mut device = device(&machine);
    let mut driver = driver(&machine, DEFLATE);
    driver.start(&mut device);
    assert_eq!(driver.run(&[out(DATA, 1024)]), 0);
    assert_eq!(device.handle().counters().deflated_pages.get(), 256);
}

#[test]
fn state_makes_the_round_trip() {
    let machine = Machine::new();
    let (mut one, mut other) = (device(&machine), device(&machine));
    one.handle().set_memory(1 << 20).unwrap();
    one.write_config(4, &7u32.to_le_bytes());
    assert!(other.restore(&one.save()));
    assert_eq!(other.save(), one.save());
    assert_eq!(other.handle().wanted_bytes(), 1 << 20);
    let mut state = one.save();
    if let DeviceState::Balloon(state) = &mut state {
        state.version = 9;
    }
    assert!(!other.restore(&state));
}

/// The device has a buffer for as long as nobody asks: the next process finds it.
#[test]
fn a_buffer_for_statistics_is_found_by_another_process() {
    let machine = Machine::new();
    let (mut one, mut other) = (device(&machine), device(&machine));
    let mut driver = driver(&machine, STATS);
    driver.start(&mut one);
    machine.fill(DATA, &statistics(&[(4, 1000)]));
    let head = driver.add(&[out(DATA, 10)]);
    driver.kick();
    machine.wait("the statistics", || one.handle().statistics(Duration::MAX).is_some());
    driver.stop(&mut one);
    assert!(other.restore(&one.save()));
    drop(one);
    driver.start(&mut other);
    let handle = other.handle();
    machine.wait("the same statistics", || handle.statistics(Duration::MAX).is_some());
    assert_eq!(handle.statistics(Duration::ZERO).unwrap().free, Some(1000));
    assert_eq!(driver.wait_used(), (head, 0), "the driver is asked for newer ones");
}

#[test]
fn impossible_rings_stop_the_queue() {
    let machine = Machine::new();
    for index in [INFLATE, DEFLATE] {
        rings_outside_ram_are_refused(&mut device(&machine), index);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn garbage_does_no_harm(garbage in any_garbage(), index in 0..4u16) {
        let machine = Machine::new();
        feed_garbage_with(&mut device(&machine), &machine, index, &garbage, ALL);
    }
}
