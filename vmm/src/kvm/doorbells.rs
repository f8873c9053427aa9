//! Doorbells by ioeventfd.

use std::io;
use std::sync::Arc;

use devices::doorbell::Doorbells;
use kvm_ioctls::{IoEventAddress, NoDatamatch, VmFd};
use vmm_sys_util::eventfd::EventFd;

/// ioeventfds of one VM.
#[derive(Debug)]
pub struct KvmDoorbells(pub Arc<VmFd>);

impl Doorbells for KvmDoorbells {
    fn attach(&self, address: u64, event: &EventFd) -> io::Result<()> {
        Ok(self.0.register_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch)?)
    }

    fn detach(&self, address: u64, event: &EventFd) -> io::Result<()> {
        Ok(self.0.unregister_ioevent(event, &IoEventAddress::Mmio(address), NoDatamatch)?)
    }
}
