//! A machine: KVM's VM with memory, devices and vCPUs, from power-on to power-off.

mod address_space;
mod boot;
mod brake;
mod build;
mod chipset;
mod disk_watch;
mod disks;
mod error;
mod functions;
mod generation;
mod memory;
mod pause;
mod ports;
mod power_off;
mod processor;
mod queues;
mod state;
mod watchdog;

use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;

pub use address_space::AddressSpace;
pub use brake::Brake;
pub use build::Start;
pub use error::BuildError;
pub use memory::{map as map_memory, map_file as map_memory_file};
pub use pause::PauseError;
pub use state::{ChipsetState, ClockState, FunctionState, LoadError, MachineState, PassedTime, SaveError};

use devices::GuestRam;
use devices::pci::{Card, PciAddress};
use devices::platform::watchdog::Watchdog;
use devices::say;
use devices::virtio::balloon::BalloonHandle;
use vm_memory::GuestAddress;

use crate::console::Plugged;
use crate::dirty::DirtyLog;
use crate::kvm::{Hypervisor, StoppedClocks, inject_nmi};
use crate::open::Backend;
use crate::plan::Function;
use crate::vcpu::{Gate, VcpuThread};
use chipset::Chipset;
use disk_watch::DiskWatch;
use functions::{Functions, Parts};
use ports::Port;
use processor::Seen;
pub use processor::seen_by;
use queues::QueueStop;

/// A machine that is built. Fields are dropped in this order: who uses something goes before it.
pub struct Machine {
    vcpus: Vec<VcpuThread>,
    gate: Arc<Gate>,
    functions: Functions,
    ports: Vec<Port>,
    watchdog: Option<Arc<Watchdog>>,
    disk_watch: DiskWatch,
    /// The queues stop, or have stopped.
    queue_stop: Option<QueueStop>,
    /// Since the guest was stopped, if it is not to notice.
    clocks: Option<StoppedClocks>,
    /// The guest's clocks stand while it is paused.
    clocks_stop: bool,
    /// It was powered off.
    is_over: bool,
    /// What new functions get. The I/O threads in it outlive all that runs on them.
    parts: Parts,
    _console: Plugged,
    chipset: Chipset,
    dirty: DirtyLog,
    /// Where windows of devices are.
    space: Arc<AddressSpace>,
    hypervisor: Hypervisor,
    /// What the guest has seen of its processor.
    seen: Seen,
    /// The guest's memory outlives everything that could touch it.
    vm: Arc<kvm_ioctls::VmFd>,
    ram: GuestRam,
    /// The page of the guest's clock, which is memory as well.
    _clock_page: GuestRam,
}

impl Machine {
    /// Lets the vCPUs go.
    pub fn start(&self) {
        self.gate.open();
    }

    /// Tells the networks where the machine's cards are now, and has its guest do so, too.
    pub fn announce(&self) {
        for card in &self.functions.cards {
            card.device.announce_for_driver();
            card.device.announce();
        }
    }

    /// The log of which pages of its memory are written.
    pub fn dirty_log(&self) -> &DirtyLog {
        &self.dirty
    }

    /// The guest's memory.
    pub fn ram(&self) -> GuestRam {
        self.ram.clone()
    }

    /// Descriptor that is readable when the file of a disk was changed.
    pub fn disk_changes(&self) -> RawFd {
        self.disk_watch.changes()
    }

    /// Descriptor that is readable when it is time to look at the disks.
    pub fn disk_timer(&self) -> RawFd {
        self.disk_watch.timer()
    }

    /// The file of a disk was changed.
    pub fn disk_changed(&mut self) {
        self.disk_watch.changed();
    }

    /// Tells the guest of disks that have another size now, without waiting for them: what comes of it is an event.
    pub fn look_at_disks(&mut self) {
        self.disk_watch.look();
    }

    /// Disks were looked at; `again` if that is to be done from time to time.
    pub fn disks_looked(&mut self, again: bool) {
        self.disk_watch.looked(again);
    }

    /// Looks at the size of this disk no more.
    pub fn disk_stays_as_long(&mut self, name: &str) {
        self.disk_watch.forget(name);
    }

    /// Makes a device and puts it into the slot that it is planned for.
    pub fn plug(&mut self, planned: &Function, backend: &Backend) -> Result<(), BuildError> {
        let fail = |source| BuildError::Device { what: format!("device {}", planned.name), source };
        let port = self.ports.iter().find(|port| port.card == planned.address);
        let port = port.ok_or_else(|| fail(io::Error::other("there is no such slot")))?;
        let function = self.functions.make(planned, backend, &self.parts, false)?;
        let card = self.functions.card_at(planned.address);
        let noted = card.map_or(Ok(()), |card| card.note_writes(&self.dirty)).map_err(io::Error::other);
        let inserted =
            noted.and_then(|()| port.port.insert(function as Arc<dyn Card>).map_err(io::Error::other));
        if let Err(error) = inserted {
            self.functions.forget(planned.address);
            return Err(fail(error));
        }
        if let Some(disk) = self.functions.disk_at(planned.address) {
            self.disk_watch.add(planned, disk);
        }
        Ok(())
    }

    /// Asks the guest to let the device at `card` go; false if there is none.
    pub fn request_removal(&self, card: PciAddress) -> bool {
        let port = self.ports.iter().find(|port| port.card == card);
        port.is_some_and(|port| port.port.request_removal())
    }

    /// Whether there is a disk of this name.
    pub fn has_disk(&self, name: &str) -> bool {
        self.functions.disks.iter().any(|disk| disk.name() == name)
    }

    /// Has the guest look at the size of a disk that is longer here than where the machine was, whose state has been loaded.
    pub fn tell_size(&self, name: &str) {
        for disk in self.functions.disks.iter().filter(|disk| disk.name() == name) {
            let bytes = disk.size_bytes();
            say!("kubevmm: disk {name} has {bytes} bytes here, more than where the machine was");
            // No queue runs yet by which the disk's own handle could reach the driver.
            if let Some(function) = self.functions.at(disk.address()) {
                function.config_changed();
            }
        }
    }

    /// Plugs the cable of the network card `name` in, or pulls it; false if there is no such card.
    pub fn set_link(&self, name: &str, up: bool) -> bool {
        let card = self.functions.cards.iter().find(|card| card.name == name);
        card.map(|card| card.device.set_link(up)).is_some()
    }

    /// Forgets the device at `card`, which its guest has let go.
    pub fn forget(&mut self, card: PciAddress) {
        if let Some(disk) = self.functions.forget(card) {
            self.disk_watch.forget(disk.name());
        }
    }

    /// Where the queues lie in the guest's memory that the kernel serves, and how many bytes they have: whoever starts them waits until these
    /// are here ([`Machine::resume`]).
    pub fn kernel_rings(&self) -> Vec<(GuestAddress, u64)> {
        self.functions.kernel_rings()
    }

    /// The memory balloon, if there is one.
    pub fn balloon(&self) -> Option<&BalloonHandle> {
        self.functions.balloon.as_ref()
    }

    /// Presses the power button, as a person in front of the machine would.
    pub fn press_power_button(&self) {
        self.chipset.pm.press_power_button();
    }

    /// Interrupts all vCPUs in a way that the guest cannot mask.
    pub fn inject_nmi(&self) {
        // Who was asked is in no state to be helped if this fails.
        let _ = inject_nmi(&self.vm);
    }

    /// Descriptor that is readable when the real-time clock's timer is due.
    pub fn clock_timer(&self) -> RawFd {
        self.chipset.rtc.timer()
    }

    /// Lets the real-time clock do what its timer was set for.
    pub fn clock_timer_fired(&self) {
        self.chipset.rtc.timer_fired();
    }
}
