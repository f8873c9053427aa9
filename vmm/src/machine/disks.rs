//! The machine's hold on its disks while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use devices::pci::PciAddress;
use devices::virtio::blk::{BlkHandle, ErrorPolicy, OnFault, RateLimit};
use devices::{chain, say};

use crate::plan::{DiskLimit, Function, OnError};
use crate::state::{Event, Mailbox};

/// A disk's device.
#[derive(Clone, Debug)]
pub(super) struct DiskHandle {
    name: String,
    address: PciAddress,
    device: BlkHandle,
    /// It cannot be looked at, which was said already; of all clones.
    lost: Arc<AtomicBool>,
}

impl DiskHandle {
    pub(super) fn new(planned: &Function, device: BlkHandle) -> Self {
        Self { name: planned.name.clone(), address: planned.address, device, lost: Arc::default() }
    }

    /// Where the device is.
    pub(super) fn address(&self) -> PciAddress {
        self.address
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Tells the guest of a file or device that has another size now.
    pub(super) fn look(&self) {
        let before = self.device.size_bytes();
        match self.device.resized() {
            Ok(now) if now.size_bytes != before => {
                say!("kubevmm: disk {} has {} bytes now, {before} before", self.name, now.size_bytes);
            }
            Ok(_) => self.lost.store(false, Ordering::Relaxed),
            Err(_) if self.lost.swap(true, Ordering::Relaxed) => {}
            Err(error) => {
                say!("kubevmm: disk {} cannot be looked at: {}", self.name, chain(&error));
            }
        }
    }

    /// The disk's length.
    pub(super) fn size_bytes(&self) -> u64 {
        self.device.size_bytes()
    }

    /// Has requests tried again that were held back.
    pub(super) fn retry(&self) {
        self.device.retry();
    }
}

/// Posts what a disk holds back.
pub(super) fn on_fault(name: &str, mailbox: &Mailbox) -> OnFault {
    let (name, mailbox) = (name.to_owned(), mailbox.clone());
    Arc::new(move |fault| mailbox.post(Event::DiskFault { disk: name.clone(), fault: fault.to_string() }))
}

/// The command line's limit as the device has it.
pub(super) fn rate_limit(limit: Option<DiskLimit>) -> RateLimit {
    limit
        .map_or_else(RateLimit::default, |limit| RateLimit { operations: limit.requests, bytes: limit.bytes })
}

/// The manifest's word as the device has it.
pub(super) fn policy(on_error: OnError) -> ErrorPolicy {
    match on_error {
        OnError::Stop => ErrorPolicy::Stop,
        OnError::Report => ErrorPolicy::Report,
        OnError::Ignore => ErrorPolicy::Ignore,
        OnError::Enospace => ErrorPolicy::Enospace,
    }
}
