//! What a function gets of a machine, recorded.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::super::{PciParts, TransportState, VirtioPci};
use super::devices::Kind;
use crate::bus::{Action, Bus, BusDevice};
use crate::doorbell::Doorbells;
use crate::irq::{MsiMessage, MsiRoutes, MsiSlot};
use crate::pci::PciFunction;
use crate::virtio::testing::Machine;

/// Where drivers put the window.
pub(super) const WINDOW: u64 = 0x8_0000_0000;
pub(super) const FIRST_GSI: u32 = 24;

/// Routes and doorbells.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) routes: Mutex<BTreeMap<u32, MsiMessage>>,
    pub(super) commits: Mutex<u32>,
    doorbells: Mutex<BTreeMap<u64, u64>>,
}

impl Board {
    /// Where doorbells are at present.
    pub(super) fn doorbells(&self) -> Vec<u64> {
        self.doorbells.lock().unwrap().keys().copied().collect()
    }

    pub(super) fn commits(&self) -> u32 {
        *self.commits.lock().unwrap()
    }
}

impl MsiRoutes for Board {
    fn set(&self, gsi: u32, message: Option<MsiMessage>) {
        let mut routes = self.routes.lock().unwrap();
        match message {
            Some(message) => routes.insert(gsi, message),
            None => routes.remove(&gsi),
        };
    }

    fn commit(&self) -> io::Result<()> {
        *self.commits.lock().unwrap() += 1;
        let possible = self.routes.lock().unwrap().values().all(|route| route.address >> 32 == 0);
        possible.then_some(()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }
}

impl Doorbells for Board {
    fn attach(&self, address: u64, _event: &EventFd) -> io::Result<()> {
        let taken = self.doorbells.lock().unwrap().insert(address, address).is_some();
        assert!(!taken, "a doorbell at {address:#x} is attached twice");
        Ok(())
    }

    fn detach(&self, address: u64, _event: &EventFd) -> io::Result<()> {
        let known = self.doorbells.lock().unwrap().remove(&address).is_some();
        assert!(known, "no doorbell at {address:#x} can be detached");
        Ok(())
    }
}

/// A function in a machine.
pub(super) struct Rig {
    pub(super) machine: Machine,
    pub(super) board: Arc<Board>,
    pub(super) function: Arc<VirtioPci>,
    pub(super) kind: Kind,
    irqs: Vec<EventFd>,
    mmio: Bus,
}

impl Rig {
    pub(super) fn new(kind: Kind) -> Self {
        Self::on(Machine::new(), kind)
    }

    fn on(machine: Machine, kind: Kind) -> Self {
        let board = Arc::new(Board::default());
        let device = kind.device(machine.thread.handle());
        let vectors = device.queue_sizes().len() + 1;
        let irqs: Vec<_> = (0..vectors).map(|_| EventFd::new(EFD_NONBLOCK).unwrap()).collect();
        let slots = (FIRST_GSI..).zip(&irqs);
        let parts = PciParts {
            name: "test".to_owned(),
            mem: machine.mem.clone(),
            doorbells: board.clone(),
            routes: board.clone(),
            msi_slots: slots.map(|(gsi, fd)| MsiSlot { gsi, irqfd: fd.try_clone().unwrap() }).collect(),
            window: 0,
            multifunction: false,
        };
        let function = VirtioPci::new(device, parts).unwrap();
        Self { machine, board, function, kind, irqs, mmio: Bus::new() }
    }

    /// The same machine in another process, with a state saved here; the device is paused.
    pub(super) fn reborn(self, state: &TransportState) -> Self {
        let rig = Self::on(self.machine, self.kind);
        let action = rig.function.restore(state).expect("the state fits");
        rig.carry_out(action);
        rig
    }

    pub(super) fn carry_out(&self, action: Action) {
        match action {
            Action::None => {}
            Action::Remap(remaps) => {
                for remap in remaps {
                    let device = Arc::clone(&remap.device);
                    let unmap = |from| assert!(self.mmio.remove(from, &remap.device));
                    let map = |to| self.mmio.insert(to, remap.window.size(), device);
                    // Nothing else is there, but the end of the address space.
                    let _ = remap.window.follow(unmap, map);
                }
            }
            other => panic!("a function asked for {other:?}"),
        }
    }

    pub(super) fn config(&self, offset: u16, len: usize) -> u64 {
        let mut data = [0; 8];
        self.function.read_config(offset, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    pub(super) fn set_config(&self, offset: u16, len: usize, value: u64) {
        self.carry_out(self.function.write_config(offset, &value.to_le_bytes()[..len]));
    }

    /// Reads where the window should be; all ones if it is not there.
    pub(super) fn read(&self, offset: u64, len: usize) -> u64 {
        let mut data = [0; 8];
        self.mmio.read(WINDOW + offset, &mut data[..len]);
        u64::from_le_bytes(data)
    }

    pub(super) fn write(&self, offset: u64, len: usize, value: u64) {
        let action = self.mmio.write(WINDOW + offset, &value.to_le_bytes()[..len]);
        self.carry_out(action.expect("the window is there"));
    }

    /// An access past the bus, such as one whose window has just moved away.
    pub(super) fn poke(&self, offset: u64, data: &[u8]) {
        self.carry_out(self.function.write(offset, data));
    }

    /// How often vector `vector` fired since the last look.
    pub(super) fn fired(&self, vector: usize) -> u64 {
        self.irqs[vector].read().unwrap_or(0)
    }

    pub(super) fn wait_fired(&self, vector: usize) {
        self.machine.wait("an interrupt", || self.fired(vector) != 0);
    }

    pub(super) fn vectors(&self) -> usize {
        self.irqs.len()
    }
}
