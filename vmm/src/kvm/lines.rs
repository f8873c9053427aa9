//! Interrupt lines of the in-kernel controllers.

use std::sync::Arc;

use devices::irq::IrqLine;
use kvm_ioctls::VmFd;

/// One input of the interrupt controllers.
#[derive(Debug)]
pub struct GsiLine {
    vm: Arc<VmFd>,
    gsi: u32,
}

impl GsiLine {
    /// Input `gsi` (0 to 23) of the interrupt controllers of `vm`.
    pub fn new(vm: Arc<VmFd>, gsi: u32) -> Arc<Self> {
        Arc::new(Self { vm, gsi })
    }
}

impl IrqLine for GsiLine {
    fn set_level(&self, high: bool) {
        if let Err(error) = self.vm.set_irq_line(self.gsi, high) {
            devices::say!("kubevmm: interrupt line {} could not be driven: {error}", self.gsi);
        }
    }
}
