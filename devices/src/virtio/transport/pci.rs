//! The PCI function of a virtio device.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::capabilities::{self, Offsets};
use super::layout::{self, NOTIFY_STRIDE, WINDOW_BAR, WINDOW_SIZE};
use super::registers::Registers;
use super::snapshot::TransportState;
use crate::bus::{Action, BusDevice, Remap, Space, Window};
use crate::doorbell::Doorbells;
use crate::irq::{MsiRoutes, MsiSlot};
use crate::pci::msix::{MsixTable, NO_VECTOR};
use crate::pci::{Bar, BarChange, BarKind, Card, ConfigSpace, Identity, PciFunction};
use crate::virtio::{DeviceEvents, VirtioDevice, VirtioId};
use crate::{GuestRam, LimitedLog};

/// Header type register, and its bit that sends the guest looking for functions 1 to 7.
const HEADER_TYPE: usize = 0x0e;
const MULTI_FUNCTION: u8 = 0x80;
const BAR: Bar = Bar { index: WINDOW_BAR, kind: BarKind::Mem64, size: WINDOW_SIZE };

/// What a virtio function gets of the machine.
pub struct PciParts {
    /// Name in messages, such as `disk rootdisk`.
    pub name: String,
    /// Guest RAM.
    pub mem: GuestRam,
    /// Doorbell registry.
    pub doorbells: Arc<dyn Doorbells>,
    /// Interrupt routes.
    pub routes: Arc<dyn MsiRoutes>,
    /// One slot a vector, 1 to 768; one vector a queue and one for the configuration is what drivers like best.
    pub msi_slots: Vec<MsiSlot>,
    /// Where the window is at power-on (not decoded until the guest enables it); a multiple of its size.
    pub window: u64,
    /// Other functions share the slot with this one, which is function 0.
    pub multifunction: bool,
}

/// The shared, unlocked part of a function.
pub(super) struct Machine {
    pub(super) log: Arc<LimitedLog>,
    pub(super) mem: GuestRam,
    pub(super) msix: Arc<MsixTable>,
    pub(super) events: DeviceEvents,
    /// One for each queue, signalled by its doorbell.
    pub(super) kicks: Vec<EventFd>,
    doorbells: Arc<dyn Doorbells>,
}

impl Machine {
    /// The vector the driver asked for, or none if there is no such vector.
    pub(super) fn valid_vector(&self, vector: u16) -> u16 {
        if usize::from(vector) < self.msix.len() { vector } else { NO_VECTOR }
    }

    pub(super) fn kick(&self, queue: usize) {
        // The counter of an eventfd can only overflow while it is readable, so a failed write loses nothing.
        let _ = self.kicks.get(queue).map(|kick| kick.write(1));
    }

    pub(super) fn attach_doorbell(&self, window: Option<u64>, queue: usize) {
        if let Some((address, kick)) = self.doorbell(window, queue)
            && let Err(error) = self.doorbells.attach(address, kick)
        {
            self.log.say(format_args!("queue {queue} has no fast doorbell: {error}"));
        }
    }

    pub(super) fn detach_doorbell(&self, window: Option<u64>, queue: usize) {
        if let Some((address, kick)) = self.doorbell(window, queue) {
            // Nothing is there to detach when attaching failed.
            let _ = self.doorbells.detach(address, kick);
        }
    }

    fn doorbell(&self, window: Option<u64>, queue: usize) -> Option<(u64, &EventFd)> {
        let offset = u64::from(layout::NOTIFY.offset) + queue as u64 * u64::from(NOTIFY_STRIDE);
        Some((window?.checked_add(offset)?, self.kicks.get(queue)?))
    }
}

/// A virtio device on the PCI bus.
pub struct VirtioPci {
    machine: Arc<Machine>,
    offsets: Offsets,
    window: Arc<Window>,
    inner: Mutex<Inner>,
    this: Weak<Self>,
}

struct Inner {
    config: ConfigSpace,
    registers: Registers,
}

impl VirtioPci {
    /// Puts `device` behind a PCI function.
    ///
    /// # Errors
    /// The process is out of descriptors, or the device has more queues or vectors than a function can have.
    pub fn new(device: Box<dyn VirtioDevice>, parts: PciParts) -> io::Result<Arc<Self>> {
        let queues = device.queue_sizes().len();
        if queues > layout::MAX_QUEUES {
            return Err(io::Error::other(format!("{queues} queues are more than {}", layout::MAX_QUEUES)));
        }
        let vectors = u16::try_from(parts.msi_slots.len()).unwrap_or(u16::MAX);
        if !(1..=layout::MAX_VECTORS).contains(&vectors) {
            let message = format!("{vectors} vectors are not 1 to {}", layout::MAX_VECTORS);
            return Err(io::Error::other(message));
        }
        let mut config = ConfigSpace::new(identity(device.id()));
        config.add_bar(BAR, parts.window);
        if parts.multifunction {
            config.put(HEADER_TYPE, &[MULTI_FUNCTION]);
        }
        let offsets = capabilities::add(&mut config, vectors);
        let log = Arc::new(LimitedLog::new(parts.name));
        let msix = Arc::new(MsixTable::new(parts.msi_slots, parts.routes, Arc::clone(&log)));
        let kicks = (0..queues).map(|_| EventFd::new(EFD_NONBLOCK)).collect::<Result<_, _>>()?;
        let machine = Arc::new(Machine {
            events: DeviceEvents::new(Arc::clone(&msix), Arc::clone(&log)),
            log,
            mem: parts.mem,
            msix,
            kicks,
            doorbells: parts.doorbells,
        });
        let registers = Registers::new(device, Arc::clone(&machine));
        Ok(Arc::new_cyclic(|this| Self {
            machine,
            offsets,
            window: Arc::new(Window::new(Space::Mmio, WINDOW_SIZE)),
            inner: Mutex::new(Inner { config, registers }),
            this: Weak::clone(this),
        }))
    }

    /// Stops all queues where they are, after their work in flight.
    pub fn pause(&self) {
        self.inner().registers.pause();
    }

    /// Starts the queues again that ran before [`VirtioPci::pause`].
    pub fn resume(&self) {
        self.inner().registers.resume();
    }

    /// State for a snapshot; the device is to be paused.
    pub fn save(&self) -> TransportState {
        let inner = self.inner();
        inner.registers.save(inner.config.save())
    }

    /// Takes over a saved state, and leaves the device paused. Gives back the window's move, or `None` if the state
    /// does not fit this device, which then is of no further use.
    pub fn restore(&self, state: &TransportState) -> Option<Action> {
        let mut inner = self.inner();
        inner.registers.pause();
        if !self.machine.msix.restore(&state.msix) || !inner.registers.restore(state) {
            return None;
        }
        let changes = inner.config.restore(&state.config);
        self.update_msix_control(&inner);
        Some(self.remap(&mut inner, &changes))
    }

    /// Tells the driver, if there is one, that the configuration space reads otherwise than where the state came from. It hears of it when it
    /// goes on: until then that is a part of the device's state.
    pub fn config_changed(&self) {
        self.machine.events.config_changed();
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the window follow its register. There is only one.
    fn remap(&self, inner: &mut Inner, changes: &[BarChange]) -> Action {
        let (Some(change), Some(device)) = (changes.last(), self.this.upgrade()) else { return Action::None };
        inner.registers.move_window(change.to);
        self.window.want(change.to);
        Action::Remap(vec![Remap { device, window: Arc::clone(&self.window) }])
    }

    /// The access that the configuration window (virtio 1.3 §4.1.4.9) is set to, if it is one into our BAR.
    fn pci_cfg_target(&self, inner: &Inner) -> Option<(u64, usize)> {
        let at = usize::from(self.offsets.pci_cfg);
        let bar = inner.config.word(at + 4) & 0xff;
        let offset = inner.config.dword(at + 8);
        let length = inner.config.dword(at + 12);
        let ours = bar == u16::from(WINDOW_BAR) && matches!(length, 1 | 2 | 4);
        ours.then_some((u64::from(offset), usize::try_from(length).ok()?))
    }

    fn touches_pci_cfg_data(&self, offset: u16, len: usize) -> bool {
        let data = usize::from(self.offsets.pci_cfg_data());
        let start = usize::from(offset);
        start < data + 4 && start.saturating_add(len) > data
    }

    /// Carries out the read that the configuration window is set to and leaves its result in the data register.
    fn read_pci_cfg(&self) {
        let target = self.pci_cfg_target(&self.inner());
        if let Some((address, length)) = target {
            let mut value = [0; 4];
            let value = value.get_mut(..length).unwrap_or_default();
            // The window's own lock is free: what is read may need it.
            self.read(address, value);
            self.inner().config.put(usize::from(self.offsets.pci_cfg_data()), value);
        }
    }

    /// A write into the window, which never asks anything of the machine.
    fn write_window(&self, offset: u64, data: &[u8]) {
        let len = data.len();
        if let Some(at) = layout::NOTIFY.inner(offset, len) {
            if let Ok(queue) = usize::try_from(at / u64::from(NOTIFY_STRIDE)) {
                self.machine.kick(queue);
            }
        } else if let Some(at) = layout::COMMON.inner(offset, len) {
            self.inner().registers.write(at, data);
        } else if let Some(at) = layout::DEVICE.inner(offset, len) {
            self.inner().registers.write_device(at, data);
        } else if let Some(at) = layout::MSIX_TABLE.inner(offset, len) {
            self.machine.msix.write_table(at, data);
        }
    }

    fn update_msix_control(&self, inner: &Inner) {
        let control = inner.config.word(usize::from(self.offsets.msix_control()));
        self.machine.msix.set_control(control & 1 << 15 != 0, control & 1 << 14 != 0);
    }
}

impl PciFunction for VirtioPci {
    fn read_config(&self, offset: u16, data: &mut [u8]) {
        if self.touches_pci_cfg_data(offset, data.len()) {
            self.read_pci_cfg();
        }
        self.inner().config.read(offset, data);
    }

    fn write_config(&self, offset: u16, data: &[u8]) -> Action {
        let mut inner = self.inner();
        let changes = inner.config.write(offset, data);
        self.update_msix_control(&inner);
        let action = self.remap(&mut inner, &changes);
        if self.touches_pci_cfg_data(offset, data.len())
            && let Some((address, length)) = self.pci_cfg_target(&inner)
        {
            let value = inner.config.dword(usize::from(self.offsets.pci_cfg_data())).to_le_bytes();
            drop(inner);
            self.write_window(address, value.get(..length).unwrap_or_default());
        }
        action
    }
}

impl Card for VirtioPci {
    /// Whatever the guest writes afterwards, no queue starts again.
    fn power_off(&self) -> Action {
        let mut inner = self.inner();
        inner.registers.pause();
        let gone = BarChange { bar: BAR, from: inner.config.bar_address(WINDOW_BAR), to: None };
        self.remap(&mut inner, &[gone])
    }
}

impl BusDevice for VirtioPci {
    fn read(&self, offset: u64, data: &mut [u8]) {
        let len = data.len();
        data.fill(0);
        if layout::ISR.inner(offset, len).is_some() {
            data.fill(self.machine.events.take_isr());
        } else if let Some(at) = layout::COMMON.inner(offset, len) {
            self.inner().registers.read(at, data);
        } else if let Some(at) = layout::DEVICE.inner(offset, len) {
            self.inner().registers.read_device(at, data);
        } else if let Some(at) = layout::MSIX_TABLE.inner(offset, len) {
            self.machine.msix.read_table(at, data);
        } else if let Some(at) = layout::MSIX_PENDING.inner(offset, len) {
            self.machine.msix.read_pending(at, data);
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        self.write_window(offset, data);
        Action::None
    }
}

impl fmt::Debug for VirtioPci {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VirtioPci").field("log", &self.machine.log).finish_non_exhaustive()
    }
}

/// IDs and class of a modern virtio function (virtio 1.3 §4.1.2).
fn identity(id: VirtioId) -> Identity {
    let class = match id {
        VirtioId::Net => 0x02_00_00,
        VirtioId::Blk => 0x01_80_00,
        VirtioId::Console => 0x07_80_00,
        VirtioId::Rng | VirtioId::Balloon => 0x00_ff_00,
    };
    Identity {
        vendor: 0x1af4,
        device: 0x1040 + id as u16,
        revision: 1,
        class,
        subsystem_vendor: 0x1af4,
        subsystem: 0x1100,
    }
}
