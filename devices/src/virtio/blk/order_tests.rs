//! The order of things between driver, queue and disk, with a disk that waits for the test.

use std::io;
use std::sync::Arc;

use super::config::{CONFIG_WCE, FLUSH};
use super::fake_disk::{FakeDisk, add_request};
use super::request::kind;
use super::*;
use crate::virtio::testing::*;

struct Setup {
    machine: Machine,
    disk: FakeDisk,
    device: BlkDevice,
    driver: Driver,
}

impl Setup {
    fn new(features: u64) -> Self {
        let machine = Machine::new();
        let disk = FakeDisk::new();
        let device = BlkDevice::new(Arc::new(disk.clone()), BlkConfig::default(), machine.thread.handle());
        let mut driver = machine.driver(0, 64);
        driver.features |= features;
        Self { machine, disk, device, driver }
    }

    /// Adds a request whose status byte starts as 0xee; returns head and place of the status.
    fn add(&mut self, slot: u64, kind: u32) -> (u16, u64) {
        add_request(&self.machine, &mut self.driver, slot, kind)
    }

    fn status(&self, at: u64) -> u8 {
        self.machine.bytes(at, 1)[0]
    }

    fn wait_for(&self, waiting: &[(u64, &'static str)]) {
        self.machine.wait("the disk's requests", || self.disk.waiting() == waiting);
    }
}

fn failed() -> io::Result<u32> {
    Err(io::Error::from_raw_os_error(libc::EIO))
}

#[test]
fn a_batch_is_handed_over_at_once_and_comes_back_in_any_order() {
    let mut setup = Setup::new(FLUSH);
    let (first, first_status) = setup.add(0, kind::IN);
    let (second, second_status) = setup.add(1, kind::OUT);
    let (third, third_status) = setup.add(2, kind::FLUSH);
    setup.driver.start(&mut setup.device);
    let heads = [first, second, third].map(u64::from);
    setup.wait_for(&[(heads[0], "read"), (heads[1], "write"), (heads[2], "flush")]);
    assert_eq!(setup.disk.pushes(), 1, "one hand-over for all");
    setup.disk.end(heads[2], Ok(0));
    assert_eq!(setup.driver.wait_used(), (third, 1));
    setup.disk.end(heads[0], Ok(512));
    assert_eq!(setup.driver.wait_used(), (first, 513));
    assert_eq!(setup.status(second_status), 0xee, "not answered before it is done");
    setup.disk.end(heads[1], failed());
    assert_eq!(setup.driver.wait_used(), (second, 1));
    assert_eq!([first_status, second_status, third_status].map(|at| setup.status(at)), [0, 1, 0]);
    assert_eq!(setup.device.handle().counters().errors.get(), 1);
}

#[test]
fn a_write_through_is_flushed_before_it_is_answered() {
    for (features, writeback) in [(0, 1), (FLUSH | CONFIG_WCE, 0)] {
        let mut setup = Setup::new(features);
        setup.device.write_config(32, &[writeback]);
        let (head, status) = setup.add(0, kind::OUT);
        setup.driver.start(&mut setup.device);
        let token = u64::from(head);
        setup.wait_for(&[(token, "write")]);
        setup.disk.end(token, Ok(512));
        setup.wait_for(&[(token, "flush")]);
        assert_eq!(setup.status(status), 0xee);
        setup.disk.end(token, Ok(0));
        assert_eq!(setup.driver.wait_used(), (head, 1));
        assert_eq!(setup.status(status), 0);
        let (head, status) = setup.add(1, kind::OUT);
        setup.driver.kick();
        let token = u64::from(head);
        setup.wait_for(&[(token, "write")]);
        setup.disk.end(token, Ok(512));
        setup.wait_for(&[(token, "flush")]);
        setup.disk.end(token, failed());
        setup.driver.wait_used();
        assert_eq!(setup.status(status), 1, "a write that is not durable has failed");
    }
}

#[test]
fn a_write_through_that_cannot_be_flushed_has_failed() {
    let mut setup = Setup::new(0);
    let (head, status) = setup.add(0, kind::OUT);
    setup.driver.start(&mut setup.device);
    setup.wait_for(&[(u64::from(head), "write")]);
    setup.disk.refuse_flushes();
    setup.disk.end(u64::from(head), Ok(512));
    setup.driver.wait_used();
    assert_eq!(setup.status(status), 1);
}

#[test]
fn a_write_back_is_answered_without_a_flush() {
    let mut setup = Setup::new(FLUSH);
    let (head, _) = setup.add(0, kind::OUT);
    setup.driver.start(&mut setup.device);
    setup.wait_for(&[(u64::from(head), "write")]);
    setup.disk.end(u64::from(head), Ok(512));
    assert_eq!(setup.driver.wait_used(), (head, 1));
    assert_eq!(setup.disk.waiting(), []);
}

#[test]
fn stopping_waits_for_the_disk_even_for_the_flush_of_a_write() {
    let mut setup = Setup::new(0);
    let (head, status) = setup.add(0, kind::OUT);
    setup.driver.start(&mut setup.device);
    let (disk, token) = (setup.disk.clone(), u64::from(head));
    setup.wait_for(&[(token, "write")]);
    let ending = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(20));
        disk.end(token, Ok(512));
        while disk.waiting() != [(token, "flush")] {
            std::thread::yield_now();
        }
        disk.end(token, Ok(0));
    });
    setup.driver.stop(&mut setup.device);
    assert_eq!((setup.driver.state.next_avail, setup.driver.state.next_used), (1, 1));
    assert_eq!(setup.status(status), 0);
    ending.join().unwrap();
}
