//! What device and driver know of each other's ports.
//!
//! Messages to the driver are kept as bits of what it has still to be told, never as a list: however often the driver
//! asks or the host opens and closes, there is at most one message of a kind for a port.

use super::message::{FromDriver, ToDriver};
use super::state::{ConsoleState, PortState, VERSION};

/// Messages in the order in which they are sent.
const ADD: u8 = 1 << 0;
const CONSOLE: u8 = 1 << 1;
const RESIZE: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const OPEN: u8 = 1 << 4;

/// The ports as control messages see them.
#[derive(Debug)]
pub(super) struct Control {
    size: (u16, u16),
    driver_ready: bool,
    ports: Vec<Port>,
}

#[derive(Debug)]
struct Port {
    name: Option<String>,
    console: bool,
    host_open: bool,
    state: PortState,
}

/// What a message of the driver changes for the data queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// The guest has opened or closed a port.
    GuestOpen(usize, bool),
}

/// A message that makes no sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Control {
    /// `ports` in order: name, and whether it is a console.
    pub(super) fn new(size: (u16, u16), ports: impl Iterator<Item = (Option<String>, bool)>) -> Self {
        let ports = ports.map(|(name, console)| {
            // A console is always open to the host, which may look at it whenever it likes.
            Port { name, console, host_open: console, state: PortState::default() }
        });
        Self { size, driver_ready: false, ports: ports.collect() }
    }

    pub(super) fn size(&self) -> (u16, u16) {
        self.size
    }

    /// The terminal has another size.
    pub(super) fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        for port in self.ports.iter_mut().filter(|port| port.console && port.state.ready) {
            port.state.pending |= RESIZE;
        }
    }

    /// Somebody on the host has opened or closed a port.
    pub(super) fn host_open(&mut self, port: usize, open: bool) {
        if let Some(port) = self.ports.get_mut(port) {
            port.host_open = open || port.console;
            port.update_open();
        }
    }

    /// Takes a message of the driver.
    pub(super) fn handle(&mut self, message: FromDriver) -> Result<Effect, Refused> {
        match message {
            FromDriver::DeviceReady(ready) => {
                if ready && !self.driver_ready {
                    self.ports.iter_mut().for_each(|port| port.state.pending |= ADD);
                }
                self.driver_ready = ready;
                Ok(Effect::None)
            }
            FromDriver::PortReady(id, ready) => {
                let size = self.size;
                let (_, port) = self.port(id)?;
                port.state.ready = ready;
                port.state.told_open = false;
                port.state.pending &= ADD;
                if ready {
                    port.introduce(size);
                }
                Ok(Effect::None)
            }
            FromDriver::Open(id, open) => {
                let (index, port) = self.port(id)?;
                port.state.guest_open = open;
                Ok(Effect::GuestOpen(index, open))
            }
        }
    }

    fn port(&mut self, id: u32) -> Result<(usize, &mut Port), Refused> {
        if !self.driver_ready {
            return Err(Refused);
        }
        let index = usize::try_from(id).map_err(|_| Refused)?;
        self.ports.get_mut(index).map(|port| (index, port)).ok_or(Refused)
    }

    /// The next thing to tell the driver, as it is sent.
    pub(super) fn next_message(&self) -> Option<Vec<u8>> {
        let (id, port) = (0u32..).zip(&self.ports).find(|(_, port)| port.state.pending != 0)?;
        Some(port.next_message(self.size)?.encode(id))
    }

    /// The driver has been told what [`Control::next_message`] said.
    pub(super) fn told(&mut self) {
        if let Some(port) = self.ports.iter_mut().find(|port| port.state.pending != 0) {
            let first = port.state.pending & port.state.pending.wrapping_neg();
            port.state.pending &= !first;
            if first == OPEN {
                port.state.told_open = port.host_open;
            }
        }
    }

    /// Forgets the driver.
    pub(super) fn reset(&mut self) {
        self.driver_ready = false;
        self.ports.iter_mut().for_each(|port| port.state = PortState::default());
    }

    /// State for a snapshot, but for what the data queues keep.
    pub(super) fn save(&self) -> ConsoleState {
        ConsoleState {
            version: VERSION,
            size: self.size,
            driver_ready: self.driver_ready,
            ports: self.ports.iter().map(|port| port.state.clone()).collect(),
        }
    }

    /// Takes over a saved state; false if it is another console's.
    pub(super) fn restore(&mut self, state: &ConsoleState) -> bool {
        if state.version != VERSION || state.ports.len() != self.ports.len() {
            return false;
        }
        self.size = state.size;
        self.driver_ready = state.driver_ready;
        for (port, saved) in self.ports.iter_mut().zip(&state.ports) {
            port.state = saved.clone();
            port.state.pending &= ADD | CONSOLE | RESIZE | NAME | OPEN;
            // Whoever was connected then is not now.
            port.update_open();
        }
        true
    }
}

impl Port {
    /// Everything that the driver wants to know of a port it is ready for.
    fn introduce(&mut self, size: (u16, u16)) {
        if self.console {
            self.state.pending |= CONSOLE;
            if size != (0, 0) {
                self.state.pending |= RESIZE;
            }
        }
        if self.name.is_some() {
            self.state.pending |= NAME;
        }
        self.update_open();
    }

    fn update_open(&mut self) {
        if self.state.ready && self.host_open != self.state.told_open {
            self.state.pending |= OPEN;
        } else {
            self.state.pending &= !OPEN;
        }
    }

    fn next_message(&self, (columns, rows): (u16, u16)) -> Option<ToDriver> {
        match self.state.pending & self.state.pending.wrapping_neg() {
            ADD => Some(ToDriver::Add),
            CONSOLE => Some(ToDriver::Console),
            RESIZE => Some(ToDriver::Resize(columns, rows)),
            NAME => Some(ToDriver::Name(self.name.clone().unwrap_or_default())),
            OPEN => Some(ToDriver::Open(self.host_open)),
            _ => None,
        }
    }
}
