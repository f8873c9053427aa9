//! What a driver does, step by step, through configuration space and window.

use super::machine::{FIRST_GSI, Rig, WINDOW};
use crate::virtio::testing::{DATA, Driver};

/// Offsets in the window, as the capabilities give them.
pub(super) const COMMON: u64 = 0;
pub(super) const NOTIFY: u64 = 0x3000;
pub(super) const ISR: u64 = 0x1000;
pub(super) const MSIX: u64 = 0x4000;
pub(super) const PENDING: u64 = 0x7000;

pub(super) const STATUS: u64 = COMMON + 0x14;
pub(super) const GENERATION: u64 = COMMON + 0x15;
pub(super) const QUEUE_SIZE: u64 = COMMON + 0x18;
pub(super) const QUEUE_VECTOR: u64 = COMMON + 0x1a;
pub(super) const QUEUE_ENABLE: u64 = COMMON + 0x1c;
pub(super) const QUEUE_DESC: u64 = COMMON + 0x20;
pub(super) const QUEUE_RESET: u64 = COMMON + 0x3a;

pub(super) const ACKNOWLEDGE: u64 = 1;
pub(super) const DRIVER: u64 = 2;
pub(super) const DRIVER_OK: u64 = 4;
pub(super) const FEATURES_OK: u64 = 8;
pub(super) const NEEDS_RESET: u64 = 0x40;

/// Ring and transport features: VERSION_1 and RING_RESET.
pub(super) const FEATURES: u64 = 1 << 32 | 1 << 40;

impl Rig {
    /// The capability with this identifier and, for virtio's own, this type.
    pub(super) fn capability(&self, id: u64, kind: Option<u64>) -> u16 {
        let mut at = self.config(0x34, 1);
        while at != 0 {
            let offset = u16::try_from(at).unwrap();
            if self.config(offset, 1) == id && kind.is_none_or(|kind| self.config(offset + 3, 1) == kind) {
                return offset;
            }
            at = self.config(offset + 1, 1);
        }
        panic!("no capability {id} {kind:?}");
    }

    /// Puts the window in its place and switches memory on.
    pub(super) fn place(&self, window: u64) {
        self.set_config(0x10, 4, window & 0xffff_ffff);
        self.set_config(0x14, 4, window >> 32);
        self.set_config(4, 2, 6);
    }

    /// Programs all vectors as Linux does: with the function masked.
    pub(super) fn enable_msix(&self) {
        let control = self.capability(0x11, None) + 2;
        self.set_config(control, 2, 0xc000);
        for vector in 0..self.vectors() as u64 {
            let entry = MSIX + vector * 16;
            self.write(entry, 4, 0xfee0_0000);
            self.write(entry + 4, 4, 0);
            self.write(entry + 8, 4, 0x40 + vector);
            self.write(entry + 12, 4, 0);
        }
        self.set_config(control, 2, 0x8000);
    }

    pub(super) fn status(&self) -> u64 {
        self.read(STATUS, 1)
    }

    pub(super) fn add_status(&self, bits: u64) {
        self.write(STATUS, 1, self.status() | bits);
    }

    pub(super) fn reset(&self) {
        self.write(STATUS, 1, 0);
        assert_eq!(self.status(), 0);
    }

    pub(super) fn offered(&self) -> u64 {
        let half = |select| {
            self.write(COMMON, 4, select);
            self.read(COMMON + 4, 4)
        };
        half(0) | half(1) << 32
    }

    pub(super) fn accept(&self, features: u64) {
        for (select, half) in [(0, features & 0xffff_ffff), (1, features >> 32)] {
            self.write(COMMON + 8, 4, select);
            self.write(COMMON + 12, 4, half);
        }
    }

    pub(super) fn select(&self, queue: u16) {
        self.write(COMMON + 0x16, 2, queue.into());
    }

    /// Describes and enables the selected queue.
    pub(super) fn describe(&self, driver: &Driver) {
        let state = driver.state;
        self.write(QUEUE_SIZE, 2, state.size.into());
        for (at, address) in (0..).zip([state.desc_table, state.avail_ring, state.used_ring]) {
            self.write(QUEUE_DESC + at * 8, 4, address & 0xffff_ffff);
            self.write(QUEUE_DESC + at * 8 + 4, 4, address >> 32);
        }
        self.write(QUEUE_ENABLE, 2, 1);
    }

    /// The driver's side of a queue, with nothing in it.
    pub(super) fn fresh_ring(&self, queue: u16) -> Driver {
        self.machine.fill(u64::from(queue) << 16, &[0; 1 << 16]);
        self.machine.driver(queue, 16)
    }

    /// Brings a device that may be in any state to life, and gives back the queue for requests.
    pub(super) fn start(&self) -> Driver {
        self.set_config(4, 2, 0);
        self.place(WINDOW);
        self.reset();
        self.enable_msix();
        self.add_status(ACKNOWLEDGE);
        self.add_status(DRIVER);
        self.accept(self.offered() & FEATURES);
        self.add_status(FEATURES_OK);
        assert_eq!(self.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK);
        self.write(COMMON + 0x10, 2, 0);
        let queue = self.kind.queue();
        self.select(queue);
        self.write(QUEUE_VECTOR, 2, 1);
        let driver = self.fresh_ring(queue);
        self.describe(&driver);
        self.add_status(DRIVER_OK);
        assert_eq!(self.status(), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
        driver
    }

    /// Where the queue's notifications go.
    pub(super) fn doorbell(&self) -> u64 {
        NOTIFY + 4 * u64::from(self.kind.queue())
    }

    /// Runs a request through a live queue.
    pub(super) fn request(&self, driver: &mut Driver) {
        self.machine.fill(DATA, &[0; 16]);
        let head = driver.add(&self.kind.request());
        self.write(self.doorbell(), 2, self.kind.queue().into());
        assert_eq!(driver.wait_used(), (head, self.kind.answer()));
    }

    pub(super) fn gsi(vector: u32) -> u32 {
        FIRST_GSI + vector
    }
}
