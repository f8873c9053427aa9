use std::os::unix::fs::FileExt;

use block::{RawDisk, RawOptions};
use proptest::prelude::*;
use tempfile::NamedTempFile;

use super::config::{CONFIG_WCE, FLUSH};
use super::request::kind;
use super::*;
use crate::virtio::feature;
use crate::virtio::testing::*;

const SIZE: u64 = 1 << 20;
const HEADER: u64 = DATA;
const STATUS: u64 = DATA + 0x100;
const BODY: u64 = DATA + 0x1000;

struct Setup {
    machine: Machine,
    file: NamedTempFile,
    device: BlkDevice,
    driver: Driver,
}

fn open(file: &NamedTempFile) -> Arc<dyn Disk> {
    Arc::new(RawDisk::open(file.path(), RawOptions::default()).unwrap())
}

impl Setup {
    fn with(config: BlkConfig, features: u64) -> Self {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(SIZE).unwrap();
        let machine = Machine::new();
        let mut device = BlkDevice::new(open(&file), config, machine.thread.handle());
        let mut driver = machine.driver(0, 16);
        driver.features |= features;
        driver.start(&mut device);
        Self { machine, file, device, driver }
    }

    fn new() -> Self {
        Self::with(BlkConfig::default(), FLUSH | feature::RING_EVENT_IDX)
    }

    /// Runs a request; returns the status byte and how much was written.
    fn request(&mut self, kind: u32, sector: u64, body: &[Desc]) -> (u8, u32) {
        self.machine.fill(HEADER, &header(kind, sector));
        self.machine.fill(STATUS, &[0xee]);
        let chain = [&[out(HEADER, 16)], body, &[inp(STATUS, 1)]].concat();
        let written = self.driver.run(&chain);
        (self.machine.bytes(STATUS, 1)[0], written)
    }

    fn range(&mut self, kind: u32, sector: u64, count: u32, flags: u32) -> u8 {
        let bytes = [&sector.to_le_bytes()[..], &count.to_le_bytes(), &flags.to_le_bytes()].concat();
        self.machine.fill(BODY, &bytes);
        self.request(kind, 0, &[out(BODY, 16)]).0
    }

    fn on_disk(&self, offset: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.as_file().read_exact_at(&mut bytes, offset).unwrap();
        bytes
    }

    fn config(&self, offset: u64, len: usize) -> u64 {
        let mut bytes = [0; 8];
        self.device.read_config(offset, &mut bytes[..len]);
        u64::from_le_bytes(bytes)
    }
}

fn header(kind: u32, sector: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes()].concat()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 7 + i / 256) % 251).unwrap()).collect()
}

#[test]
fn data_goes_to_the_disk_and_back_through_scattered_buffers() {
    let mut setup = Setup::new();
    let data = pattern(4096);
    setup.machine.fill(BODY, &data);
    let body = [out(BODY, 1), out(BODY + 1, 1000), out(BODY + 1001, 3095)];
    assert_eq!(setup.request(kind::OUT, 8, &body), (0, 1));
    assert_eq!(setup.request(kind::FLUSH, 0, &[]), (0, 1));
    assert_eq!(setup.on_disk(4096, 4096), data);
    let to = BODY + 0x4000;
    let body = [inp(to, 4000), inp(to + 4000, 0), inp(to + 4000, 96)];
    assert_eq!(setup.request(kind::IN, 8, &body), (0, 4097));
    assert_eq!(setup.machine.bytes(to, 4096), data);
    let handle = setup.device.handle();
    let counters = handle.counters();
    assert_eq!((counters.reads.get(), counters.read_bytes.get()), (1, 4096));
    assert_eq!((counters.writes.get(), counters.written_bytes.get(), counters.flushes.get()), (1, 4096, 1));
    assert_eq!((counters.errors.get(), counters.malformed.get()), (0, 0));
}

#[test]
fn a_header_split_byte_by_byte_and_a_status_glued_to_the_data_are_understood() {
    let mut setup = Setup::with(BlkConfig::default(), feature::RING_INDIRECT_DESC);
    setup.machine.fill(HEADER, &header(kind::OUT, 1));
    setup.machine.fill(BODY, &pattern(512));
    // The header's last bytes lie in the data's first buffer.
    setup.machine.fill(BODY - 4, &header(kind::OUT, 1)[12..]);
    let mut chain = (0..12).map(|i| out(HEADER + i, 1)).collect::<Vec<_>>();
    chain.extend([out(BODY - 4, 516), inp(STATUS, 1)]);
    setup.driver.add_indirect(DATA + 0x8000, &chain);
    setup.driver.kick();
    assert_eq!(setup.driver.wait_used().1, 1);
    assert_eq!(setup.on_disk(512, 512), pattern(512));
    setup.machine.fill(HEADER, &header(kind::IN, 1));
    assert_eq!(setup.driver.run(&[out(HEADER, 16), inp(BODY, 513)]), 513);
    assert_eq!(setup.machine.bytes(BODY + 512, 1), [0]);
    assert_eq!(setup.machine.bytes(BODY, 512), pattern(512));
}

#[test]
fn ranges_are_checked() {
    let mut setup = Setup::new();
    let sectors = SIZE / 512;
    for (sector, len, status) in [
        (sectors - 1, 512, 0),
        (sectors, 512, 1),
        (sectors - 1, 1024, 1),
        (u64::MAX, 512, 1),
        (u64::MAX / 512, 512, 1),
        (1 << 55, 512, 1),
        (0, 511, 1),
        (0, 513, 1),
        (0, 0, 1),
    ] {
        assert_eq!(setup.request(kind::IN, sector, &[inp(BODY, len)]).0, status, "read {sector}+{len}");
        assert_eq!(setup.request(kind::OUT, sector, &[out(BODY, len)]).0, status, "write {sector}+{len}");
    }
    assert_eq!(setup.request(kind::IN, 0, &[inp(RAM - 256, 512)]).0, 1, "half outside RAM");
    assert_eq!(setup.request(99, 0, &[]), (2, 1));
    assert!(!setup.machine.needs_reset());
}

#[test]
fn chains_that_are_no_requests_come_back_empty() {
    let mut setup = Setup::new();
    setup.machine.fill(HEADER, &header(kind::IN, 0));
    assert_eq!(setup.driver.run(&[out(HEADER, 16), out(BODY, 512)]), 0, "no place for the status");
    assert_eq!(setup.driver.run(&[out(HEADER, 15), inp(STATUS, 1)]), 1, "a short header is an error");
    assert_eq!(setup.driver.run(&[out(HEADER, 16), inp(BODY, 512), inp(RAM, 1)]), 0, "status outside RAM");
    assert_eq!(setup.driver.run(&[inp(BODY, 513), out(HEADER, 16)]), 0, "wrong order");
    let table = Desc { address: RAM - 16, len: 64, flags: INDIRECT, next: 0 };
    assert_eq!(setup.driver.run(&[table]), 0, "a table that leaves RAM");
    assert_eq!(setup.driver.run(&[Desc { len: 17, ..table }]), 0, "half a descriptor");
    let head = setup.driver.add(&[out(HEADER, 16), inp(STATUS, 1)]);
    setup.driver.set(head + 1, Desc { address: STATUS, len: 1, flags: WRITE | NEXT, next: head + 1 });
    setup.driver.kick();
    assert_eq!(setup.driver.wait_used(), (head, 0), "a loop");
    assert!(!setup.machine.needs_reset());
    assert_eq!(setup.request(kind::FLUSH, 0, &[]).0, 0, "it still works");
}

#[test]
fn the_serial_number_is_twenty_bytes() {
    let config = BlkConfig { serial: "a-serial-number-of-many-letters".into(), ..BlkConfig::default() };
    let mut setup = Setup::with(config, 0);
    assert_eq!(setup.request(kind::GET_ID, 0, &[inp(BODY, 20)]), (0, 21));
    assert_eq!(setup.machine.bytes(BODY, 20), b"a-serial-number-of-m");
    setup.machine.fill(BODY, &[7; 8]);
    assert_eq!(setup.request(kind::GET_ID, 0, &[inp(BODY, 4)]), (0, 5));
    assert_eq!(setup.machine.bytes(BODY, 8), b"a-se\x07\x07\x07\x07");
}

#[test]
fn ranges_are_discarded_and_zeroed() {
    let mut setup = Setup::new();
    setup.file.as_file().write_all_at(&pattern(8192), 0).unwrap();
    assert_eq!(setup.range(kind::WRITE_ZEROES, 1, 2, 0), 0);
    assert_eq!(setup.on_disk(512, 1024), vec![0; 1024]);
    assert_eq!(setup.range(kind::WRITE_ZEROES, 4, 1, 1), 0);
    assert_eq!(setup.on_disk(2048, 512), vec![0; 512]);
    assert_eq!(setup.on_disk(2560, 512), pattern(8192)[2560..3072]);
    assert_eq!(setup.range(kind::WRITE_ZEROES, 4, 1, 2), 2);
    assert_eq!(setup.range(kind::DISCARD, 0, 1, 1), 2, "discard has no flags");
    assert_eq!(setup.range(kind::DISCARD, SIZE / 512, 1, 0), 1);
    assert_eq!(setup.range(kind::DISCARD, u64::MAX, u32::MAX, 0), 1);
    assert_eq!(setup.request(kind::DISCARD, 0, &[out(BODY, 8)]).0, 1, "half a range");
    assert_eq!(setup.request(kind::DISCARD, 0, &[out(BODY, 32)]).0, 1, "more ranges than allowed");
    if setup.device.features() & (1 << 13) != 0 {
        assert_eq!(setup.range(kind::DISCARD, 0, 8, 0), 0);
    }
}

#[test]
fn a_read_only_disk_is_never_changed() {
    let config = BlkConfig { read_only: true, ..BlkConfig::default() };
    let mut setup = Setup::with(config, FLUSH);
    setup.file.as_file().write_all_at(&pattern(4096), 0).unwrap();
    assert_ne!(setup.device.features() & (1 << 5), 0);
    assert_eq!(setup.request(kind::OUT, 0, &[out(BODY, 512)]).0, 1);
    assert_eq!(setup.range(kind::DISCARD, 0, 8, 0), 1);
    assert_eq!(setup.range(kind::WRITE_ZEROES, 0, 8, 1), 1);
    assert_eq!(setup.request(kind::FLUSH, 0, &[]).0, 0);
    assert_eq!(setup.request(kind::IN, 0, &[inp(BODY, 4096)]).0, 0);
    assert_eq!(setup.on_disk(0, 4096), pattern(4096));
}

#[test]
fn a_driver_that_cannot_flush_gets_durable_writes() {
    for features in [0, FLUSH | CONFIG_WCE] {
        let mut setup = Setup::with(BlkConfig::default(), features);
        setup.device.write_config(32, &[0]);
        setup.machine.fill(BODY, &pattern(512));
        assert_eq!(setup.request(kind::OUT, 2, &[out(BODY, 512)]), (0, 1));
        assert_eq!(setup.on_disk(1024, 512), pattern(512));
        assert_eq!(setup.device.handle().counters().writes.get(), 1);
    }
}

#[test]
fn the_configuration_says_what_the_disk_is() {
    let config =
        BlkConfig { queues: 4, queue_size: 100, logical_block_size: Some(4096), ..BlkConfig::default() };
    let mut setup = Setup::with(config, 0);
    assert_eq!(setup.device.queue_sizes(), [128; 4]);
    assert_eq!(setup.config(0, 8), SIZE / 512);
    assert_eq!(setup.config(12, 4), 126);
    assert_eq!(setup.config(20, 4), 4096);
    assert_eq!(setup.config(34, 2), 4);
    let writeback = setup.config(32, 1);
    for (offset, data) in [(0, &[1u8; 8][..]), (31, &[9; 2]), (32, &[9; 4]), (1 << 40, &[1])] {
        setup.device.write_config(offset, data);
    }
    assert_eq!((setup.config(0, 8), setup.config(32, 1)), (SIZE / 512, writeback));
    setup.device.write_config(32, &[1 - u8::try_from(writeback).unwrap()]);
    assert_eq!(setup.config(32, 1), 1 - writeback);
    setup.device.reset();
    assert_eq!(setup.config(32, 1), writeback);
}

#[test]
fn a_grown_disk_is_announced() {
    let setup = Setup::new();
    let handle = setup.device.handle();
    let generation = setup.machine.events.generation();
    handle.resized().unwrap();
    assert_eq!(setup.machine.events.generation(), generation, "nothing changed");
    setup.file.as_file().set_len(SIZE * 2).unwrap();
    assert_eq!(handle.resized().unwrap().size_bytes, SIZE * 2);
    assert_ne!(setup.machine.events.generation(), generation);
    assert_eq!(setup.config(0, 8), SIZE * 2 / 512);
}

#[test]
fn stopping_waits_for_everything_and_a_restart_goes_on() {
    let mut setup = Setup::new();
    for round in 0..20 {
        setup.machine.fill(HEADER, &header(kind::OUT, round));
        setup.machine.fill(BODY, &pattern(512));
        for _ in 0..4 {
            setup.driver.add(&[out(HEADER, 16), out(BODY, 512), inp(STATUS, 1)]);
        }
        setup.driver.kick();
        setup.driver.stop(&mut setup.device);
        let state = setup.driver.state;
        assert_eq!(state.next_avail, state.next_used, "nothing is left in flight");
        setup.driver.start(&mut setup.device);
        for _ in 0..4 {
            setup.driver.wait_used();
        }
    }
    assert_eq!(setup.device.handle().counters().writes.get(), 80);
}

#[test]
fn a_chain_offered_twice_at_once_breaks_the_queue() {
    let mut setup = Setup::new();
    setup.driver.stop(&mut setup.device);
    setup.machine.fill(HEADER, &header(kind::OUT, 0));
    let head = setup.driver.add(&[out(HEADER, 16), out(BODY, 512), inp(STATUS, 1)]);
    setup.driver.offer(head);
    setup.driver.start(&mut setup.device);
    setup.machine.wait("the need of a reset", || setup.machine.needs_reset());
    setup.driver.stop(&mut setup.device);
}

#[test]
fn state_makes_the_round_trip() {
    let mut setup = Setup::new();
    setup.device.write_config(32, &[0]);
    let saved = setup.device.save();
    setup.device.reset();
    let other = Setup::new();
    setup.device = other.device;
    assert!(setup.device.restore(&saved));
    assert_eq!(setup.device.save(), saved);
    assert!(!setup.device.restore(&DeviceState::Blk(BlkState {
        version: 0,
        writeback: true,
        held: std::collections::BTreeMap::new()
    })));
}

#[test]
fn impossible_rings_stop_the_queue() {
    let mut setup = Setup::new();
    setup.driver.stop(&mut setup.device);
    rings_outside_ram_are_refused(&mut setup.device, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn garbage_does_no_harm(garbage in any_garbage(), kind in 0..14u32, sector in 0..4096u64) {
        let mut setup = Setup::new();
        setup.driver.stop(&mut setup.device);
        let mut garbage = garbage;
        // Often a header that means something.
        garbage.2.splice(..16, header(kind, sector));
        feed_garbage(&mut setup.device, &setup.machine, 0, &garbage);
    }
}

#[test]
fn a_limited_disk_makes_requests_wait_and_loses_none() {
    let rate_limit = RateLimit { operations: std::num::NonZeroU64::new(100), bytes: None };
    let mut setup = Setup::with(BlkConfig { rate_limit, ..BlkConfig::default() }, FLUSH);
    let begin = std::time::Instant::now();
    for _ in 0..30 {
        assert_eq!(setup.request(kind::IN, 0, &[inp(BODY, 512)]), (0, 513));
    }
    // Ten at once, and twenty at 10 ms each, give or take the first.
    let taken = begin.elapsed();
    assert!(taken > std::time::Duration::from_millis(180), "{taken:?}");
}

#[test]
fn what_a_disk_and_its_queue_write_is_marked_after_it_is_written() {
    use ram::RegionMarks;
    use vm_memory::GuestMemoryBackend;

    let mut setup = Setup::new();
    let mem = setup.machine.mem.clone();
    let region = mem.iter().next().unwrap();
    let is_marked = |words: &[u64], address: u64| {
        let page = usize::try_from(address >> 12).unwrap();
        words[page / 64] >> (page % 64) & 1 == 1
    };
    ram::log_writes(&mem, true);
    let used_ring = setup.driver.state.used_ring;
    assert_eq!(setup.request(kind::IN, 0, &[inp(BODY, 512), inp(BODY + 0x2000, 0x1800)]).0, 0);
    let words = region.bitmap_of().take();
    for written in [BODY, BODY + 0x2000, BODY + 0x3000, used_ring, STATUS] {
        assert!(is_marked(&words, written), "{written:#x}");
    }
    assert!(!is_marked(&words, BODY + 0x1000));
    assert_eq!(setup.request(kind::OUT, 0, &[out(BODY, 512)]).0, 0);
    assert!(!is_marked(&region.bitmap_of().take(), BODY), "it was only read");
}
