//! A device that fails, or takes its time, when a test wants it to; and how its transport bears it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use virtio_queue::QueueState;

use super::devices::Kind;
use super::driver::*;
use super::machine::Rig;
use crate::virtio::rng::RngState;
use crate::virtio::{DeviceState, Ring, StartError, VirtioDevice, VirtioId};

#[derive(Debug, Default)]
pub(super) struct Stub {
    /// Queues do not start.
    refuses: AtomicBool,
    /// Nobody knows where a stopped queue stands.
    forgets: AtomicBool,
    /// Whoever holds it keeps queues from stopping.
    gate: Mutex<()>,
}

#[derive(Debug)]
pub(super) struct StubDevice(pub(super) Arc<Stub>);

impl VirtioDevice for StubDevice {
    fn id(&self) -> VirtioId {
        VirtioId::Rng
    }
    fn queue_sizes(&self) -> &[u16] {
        &[16]
    }
    fn features(&self) -> u64 {
        0
    }
    fn read_config(&self, _: u64, data: &mut [u8]) {
        data.fill(0);
    }
    fn write_config(&mut self, _: u64, _: &[u8]) {}
    fn start_queue(&mut self, index: u16, _: Ring) -> Result<(), StartError> {
        let refuses = self.0.refuses.load(Ordering::SeqCst);
        if refuses { Err(StartError::NoSuchQueue(index)) } else { Ok(()) }
    }
    fn stop_queue(&mut self, _: u16) -> Option<QueueState> {
        drop(self.0.gate.lock().unwrap());
        (!self.0.forgets.load(Ordering::SeqCst)).then(QueueState::default)
    }
    fn reset(&mut self) {}
    fn save(&self) -> DeviceState {
        DeviceState::Rng(RngState { version: 1 })
    }
    fn restore(&mut self, _: &DeviceState) -> bool {
        true
    }
}

fn rig() -> (Rig, Arc<Stub>) {
    let stub = Arc::new(Stub::default());
    (Rig::new(Kind::Stub(Arc::clone(&stub))), stub)
}

#[test]
fn a_device_that_does_not_start_needs_a_reset() {
    let (rig, stub) = rig();
    let driver = rig.start();
    rig.write(QUEUE_RESET, 2, 1);
    stub.refuses.store(true, Ordering::SeqCst);
    rig.describe(&driver);
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);
    assert_eq!((rig.fired(0), rig.board.doorbells()), (1, vec![]));
    stub.refuses.store(false, Ordering::SeqCst);
    rig.start();
    assert_eq!(rig.board.doorbells().len(), 1);
}

#[test]
fn a_queue_whose_place_is_lost_needs_a_reset() {
    let (rig, stub) = rig();
    rig.start();
    stub.forgets.store(true, Ordering::SeqCst);
    rig.function.pause();
    rig.function.resume();
    assert_eq!(rig.status() & NEEDS_RESET, NEEDS_RESET);
    rig.start();
}

/// While one vCPU waits for requests in flight, workers and other vCPUs go on with all that needs no register.
#[test]
fn a_slow_stop_blocks_neither_interrupts_nor_notifications() {
    let (rig, stub) = rig();
    rig.start();
    let held = stub.gate.lock().unwrap();
    let (done, wait) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| rig.reset());
        scope.spawn(|| {
            // Give the reset time to get stuck.
            std::thread::sleep(Duration::from_millis(20));
            rig.read(ISR, 1);
            rig.write(NOTIFY, 2, 0);
            rig.write(MSIX + 12, 4, 1);
            rig.read(PENDING, 8);
            done.send(()).unwrap();
        });
        let others = wait.recv_timeout(Duration::from_secs(100));
        drop(held);
        others.expect("others are blocked");
    });
    assert_eq!(rig.status(), 0);
}
