//! What a running device may tell its driver: used buffers, a changed configuration, a failure.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};

use crate::LimitedLog;
use vmm_sys_util::eventfd::EventFd;

use crate::pci::msix::{MsixTable, Recall};

/// ISR status bit: used buffers (virtio 1.3 §4.1.4.5).
pub(crate) const ISR_QUEUE: u8 = 1;
/// ISR status bit: configuration changed.
pub(crate) const ISR_CONFIG: u8 = 2;
/// Device status bit: the device cannot go on (virtio 1.3 §2.1).
pub(crate) const STATUS_NEEDS_RESET: u8 = 0x40;

/// Interrupt of one queue, as its worker holds it.
#[derive(Clone)]
pub struct QueueInterrupt {
    shared: Arc<Shared>,
    vector: u16,
}

/// Handle by which a device or its workers report what concerns the whole device.
#[derive(Clone)]
pub struct DeviceEvents(Arc<Shared>);

struct Shared {
    msix: Arc<MsixTable>,
    log: Arc<LimitedLog>,
    isr: AtomicU8,
    /// Status bits that the device itself sets.
    failed: AtomicU8,
    config_vector: AtomicU16,
    config_generation: AtomicU8,
}

impl DeviceEvents {
    /// Events of a device whose interrupts go through `msix`, and whose complaints about its driver go to `log`.
    pub fn new(msix: Arc<MsixTable>, log: Arc<LimitedLog>) -> Self {
        Self(Arc::new(Shared {
            msix,
            log,
            isr: AtomicU8::new(0),
            failed: AtomicU8::new(0),
            config_vector: AtomicU16::new(crate::pci::msix::NO_VECTOR),
            config_generation: AtomicU8::new(0),
        }))
    }

    /// The configuration space reads differently from now on; tells the driver.
    pub fn config_changed(&self) {
        self.0.config_generation.fetch_add(1, Ordering::AcqRel);
        self.signal_config();
    }

    /// The device cannot go on until the driver resets it (bad ring, failed backend); tells the driver once.
    pub fn needs_reset(&self) {
        if self.0.failed.fetch_or(STATUS_NEEDS_RESET, Ordering::AcqRel) == 0 {
            self.signal_config();
        }
    }

    /// Where to say what the driver did wrong.
    pub fn log(&self) -> &LimitedLog {
        &self.0.log
    }

    /// Interrupt for a queue whose driver chose `vector`.
    pub fn queue_interrupt(&self, vector: u16) -> QueueInterrupt {
        QueueInterrupt { shared: Arc::clone(&self.0), vector }
    }

    fn signal_config(&self) {
        self.0.isr.fetch_or(ISR_CONFIG, Ordering::AcqRel);
        self.0.msix.signal(self.0.config_vector.load(Ordering::Acquire));
    }

    /// Status bits that the device added to the driver's.
    pub(crate) fn status(&self) -> u8 {
        self.0.failed.load(Ordering::Acquire)
    }

    pub(crate) fn generation(&self) -> u8 {
        self.0.config_generation.load(Ordering::Acquire)
    }

    pub(crate) fn set_generation(&self, generation: u8) {
        self.0.config_generation.store(generation, Ordering::Release);
    }

    /// Reads and clears the ISR byte.
    pub(crate) fn take_isr(&self) -> u8 {
        self.0.isr.swap(0, Ordering::AcqRel)
    }

    pub(crate) fn isr(&self) -> u8 {
        self.0.isr.load(Ordering::Acquire)
    }

    pub(crate) fn set_isr(&self, isr: u8) {
        self.0.isr.store(isr, Ordering::Release);
    }

    pub(crate) fn config_vector(&self) -> u16 {
        self.0.config_vector.load(Ordering::Acquire)
    }

    pub(crate) fn set_config_vector(&self, vector: u16) {
        self.0.config_vector.store(vector, Ordering::Release);
    }

    /// Forgets everything, as at power-on.
    pub(crate) fn reset(&self) {
        self.0.failed.store(0, Ordering::Release);
        self.set_isr(0);
        self.set_config_vector(crate::pci::msix::NO_VECTOR);
    }
}

impl QueueInterrupt {
    /// Tells the driver that the queue has used buffers.
    pub fn signal(&self) {
        self.shared.isr.fetch_or(ISR_QUEUE, Ordering::AcqRel);
        self.shared.msix.signal(self.vector);
    }

    /// Lends what sends the interrupt, as [`MsixTable::lend`] does. With MSI-X no driver looks at the ISR bit.
    pub(crate) fn lend(&self, take: impl FnOnce(&EventFd) -> bool, recall: Recall) -> bool {
        self.shared.msix.lend(self.vector, take, recall)
    }

    /// Recalls what was lent.
    pub(crate) fn recall(&self) {
        self.shared.msix.recall(self.vector);
    }
}

impl fmt::Debug for QueueInterrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueInterrupt").field("vector", &self.vector).finish_non_exhaustive()
    }
}

impl fmt::Debug for DeviceEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceEvents").field("failed", &self.0.failed).finish_non_exhaustive()
    }
}
