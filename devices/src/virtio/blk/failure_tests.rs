//! Requests that the host fails, under each policy.

use std::io;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use super::config::FLUSH;
use super::fake_disk::{FakeDisk, add_request};
use super::request::kind;
use super::*;
use crate::virtio::testing::*;

struct Setup {
    machine: Machine,
    disk: FakeDisk,
    device: BlkDevice,
    driver: Driver,
    faults: Receiver<DiskFault>,
}

impl Setup {
    fn new(error_policy: ErrorPolicy) -> Self {
        let machine = Machine::new();
        let disk = FakeDisk::new();
        let (sender, faults) = channel();
        let sender = Mutex::new(sender);
        let on_fault: OnFault = Arc::new(move |fault| sender.lock().unwrap().send(fault).unwrap());
        let config = BlkConfig { error_policy, ..BlkConfig::default() };
        let thread = machine.thread.handle();
        let mut device = BlkDevice::with_faults(Arc::new(disk.clone()), config, thread, Some(on_fault));
        let mut driver = machine.driver(0, 64);
        driver.features |= FLUSH;
        driver.start(&mut device);
        Self { machine, disk, device, driver, faults }
    }

    /// Starts a request and waits until the disk has it; returns its head and the place of its status.
    fn start(&mut self, slot: u64, kind: u32) -> (u16, u64) {
        let (head, status) = add_request(&self.machine, &mut self.driver, slot, kind);
        self.driver.kick();
        self.machine.wait("the request", || self.has(head));
        (head, status)
    }

    fn has(&self, head: u16) -> bool {
        self.disk.waiting().iter().any(|(token, _)| *token == u64::from(head))
    }

    fn fail(&self, head: u16, errno: i32) {
        self.disk.end(head.into(), Err(io::Error::from_raw_os_error(errno)));
    }

    fn status(&self, at: u64) -> u8 {
        self.machine.bytes(at, 1)[0]
    }
}

#[test]
fn a_request_is_held_back_and_tried_until_it_succeeds() {
    let mut setup = Setup::new(ErrorPolicy::Stop);
    let (head, status) = setup.start(0, kind::OUT);
    let (other, _) = setup.start(1, kind::IN);
    for errno in [libc::ENOSPC, libc::EIO, libc::EIO] {
        setup.fail(head, errno);
        let fault = setup.faults.recv().unwrap();
        assert_eq!(fault.doing, "write 512 bytes at 0");
        assert_eq!(fault.error, io::Error::from_raw_os_error(errno).to_string());
        assert!(setup.driver.used().is_none() && !setup.has(head));
        setup.device.handle().retry();
        setup.machine.wait("the retry", || setup.has(head));
    }
    setup.disk.end(head.into(), Ok(512));
    assert_eq!(setup.driver.wait_used(), (head, 1));
    assert_eq!(setup.status(status), 0);
    setup.disk.end(other.into(), Ok(512));
    assert_eq!(setup.driver.wait_used(), (other, 513), "others are not held up");
}

#[test]
fn a_device_that_holds_requests_back_can_be_reset() {
    let mut setup = Setup::new(ErrorPolicy::Stop);
    let (head, _) = setup.start(0, kind::FLUSH);
    setup.fail(head, libc::EIO);
    assert_eq!(setup.faults.recv().unwrap().doing, "flush");
    setup.driver.stop(&mut setup.device);
    setup.device.reset();
    setup.device.handle().retry();
    setup.driver.start(&mut setup.device);
    assert!(setup.disk.waiting().is_empty());
}

#[test]
fn what_is_held_back_outlives_a_pause_but_not_a_reset_of_its_queue() {
    let mut setup = Setup::new(ErrorPolicy::Stop);
    let (head, status) = setup.start(0, kind::OUT);
    setup.fail(head, libc::ENOSPC);
    setup.faults.recv().unwrap();
    for _ in 0..3 {
        setup.driver.stop(&mut setup.device);
        assert!(!setup.has(head));
        setup.driver.start(&mut setup.device);
        setup.machine.wait("the retry", || setup.has(head));
        setup.fail(head, libc::ENOSPC);
        assert_eq!(setup.faults.recv().unwrap().doing, "write 512 bytes at 0");
    }
    setup.driver.stop(&mut setup.device);
    setup.driver.start(&mut setup.device);
    setup.machine.wait("the last retry", || setup.has(head));
    setup.disk.end(head.into(), Ok(512));
    assert_eq!(setup.driver.wait_used(), (head, 1));
    assert_eq!(setup.status(status), 0);

    let (head, _) = setup.start(1, kind::OUT);
    setup.fail(head, libc::EIO);
    setup.faults.recv().unwrap();
    setup.driver.stop(&mut setup.device);
    setup.device.forget_queue(0);
    setup.driver.start(&mut setup.device);
    assert!(setup.disk.waiting().is_empty(), "the chain of a queue that was reset came back");
}

#[test]
fn each_policy_answers_as_its_name_says() {
    let rows = [
        (ErrorPolicy::Report, kind::OUT, libc::ENOSPC, Some(1)),
        (ErrorPolicy::Ignore, kind::OUT, libc::EIO, Some(0)),
        (ErrorPolicy::Ignore, kind::IN, libc::EIO, Some(0)),
        (ErrorPolicy::Enospace, kind::OUT, libc::EIO, Some(1)),
        (ErrorPolicy::Enospace, kind::OUT, libc::ENOSPC, None),
        (ErrorPolicy::Enospace, kind::FLUSH, libc::EDQUOT, None),
        (ErrorPolicy::Enospace, kind::IN, libc::ENOSPC, Some(1)),
        (ErrorPolicy::Stop, kind::IN, libc::EIO, None),
    ];
    for (policy, kind, errno, answer) in rows {
        let mut setup = Setup::new(policy);
        let (head, status) = setup.start(0, kind);
        setup.fail(head, errno);
        match answer {
            Some(answer) => {
                assert_eq!(setup.driver.wait_used().0, head);
                assert_eq!(setup.status(status), answer, "{policy:?} {kind} {errno}");
                assert!(setup.faults.try_recv().is_err());
            }
            None => {
                setup.faults.recv().unwrap();
                assert_eq!(setup.status(status), 0xee, "{policy:?} {kind} {errno}");
            }
        }
    }
}

#[test]
fn what_is_held_back_goes_on_in_another_device() {
    let mut setup = Setup::new(ErrorPolicy::Stop);
    let (head, status) = setup.start(0, kind::OUT);
    setup.fail(head, libc::ENOSPC);
    setup.faults.recv().unwrap();
    setup.driver.stop(&mut setup.device);
    let saved = setup.device.save();
    // The device forgets it, as another one that was just made would not know of it.
    setup.device.forget_queue(0);
    assert!(setup.device.restore(&saved));
    setup.driver.start(&mut setup.device);
    setup.machine.wait("the retry", || setup.has(head));
    setup.disk.end(head.into(), Ok(512));
    assert_eq!(setup.driver.wait_used(), (head, 1));
    assert_eq!(setup.status(status), 0);
}

#[test]
fn a_state_of_the_version_before_is_read_and_one_with_impossible_chains_is_not() {
    use crate::virtio::DeviceState;
    let mut setup = Setup::new(ErrorPolicy::Stop);
    let read = |text: &str| serde_json::from_str::<DeviceState>(text).unwrap();
    assert!(setup.device.restore(&read(r#"{"Blk":{"version":1,"writeback":true}}"#)));
    for held in [r#"{"9":[0]}"#, r#"{"0":[40000]}"#] {
        let text = format!(r#"{{"Blk":{{"version":2,"writeback":true,"held":{held}}}}}"#);
        assert!(!setup.device.restore(&read(&text)), "{held}");
    }
    assert!(!setup.device.restore(&read(r#"{"Blk":{"version":3,"writeback":true}}"#)));
}
