//! virtio-console: consoles and named channels between guest and host (virtio 1.3 §5.3).

mod control;
mod control_queues;
#[cfg(test)]
mod control_tests;
mod counters;
mod input;
mod message;
mod output;
mod port;
mod state;
mod sys;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use virtio_queue::QueueState;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub use self::counters::ConsoleCounters;
pub use self::port::{PortBackend, PortConfig, PortWatcher};
pub use self::state::{ConsoleState, PortState};

use self::control::Control;
use self::control_queues::{FromDriverMessages, ToDriverQueue};
use self::input::InputQueue;
use self::output::OutputQueue;
use self::port::{Port, wake};
use super::config_space::ConfigSpace;
use super::notice::ConfigNotice;
use super::responder::responder;
use super::worker::QueueWorker;
use super::{DeviceState, Ring, StartError, Threads, VirtioDevice, VirtioId, feature};
use crate::io_thread::{RunningWorker, Worker};
use crate::lock;

const SIZE: u64 = 1 << 0;
const MULTIPORT: u64 = 1 << 1;

/// Greatest number of ports, as in QEMU.
pub const MAX_PORTS: usize = 31;
/// Longest name of a port that fits a driver's buffer with room to spare.
const MAX_NAME: usize = 256;
/// Drivers fill receive queues with a page for each descriptor, of every port.
const QUEUE_SIZE: u16 = 32;

/// Why there is no console.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Too many ports.
    #[error("a console has 1 to {MAX_PORTS} ports, not {0}; spread them over several consoles")]
    Ports(usize),
    /// A name is too long.
    #[error("the name of a console's port is longer than {MAX_NAME} bytes: {0:?}")]
    Name(String),
    /// A port's host side cannot be set up.
    #[error("cannot set up the host side of console port {port}")]
    Backend {
        /// Number of the port.
        port: usize,
        /// What the host said.
        #[source]
        source: io::Error,
    },
}

/// What front, queues and handles have in common.
#[derive(Debug)]
struct ConsoleShared {
    ports: Vec<Port>,
    control: Mutex<Control>,
    /// Wakes the queue that sends control messages.
    outbox: EventFd,
    counters: ConsoleCounters,
    notice: ConfigNotice,
}

impl ConsoleShared {
    /// Somebody on the host has opened or closed a port.
    fn host_open(&self, port: usize, open: bool) {
        lock(&self.control).host_open(port, open);
        wake(&self.outbox);
    }
}

/// What a queue is for (virtio 1.3 §5.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Input(usize),
    Output(usize),
    ToDriver,
    FromDriver,
}

impl Role {
    fn of(index: u16) -> Self {
        let pair = usize::from(index / 2);
        match (pair, index % 2) {
            (1, 0) => Self::ToDriver,
            (1, _) => Self::FromDriver,
            (0, 0) => Self::Input(0),
            (0, _) => Self::Output(0),
            (_, 0) => Self::Input(pair - 1),
            (_, _) => Self::Output(pair - 1),
        }
    }
}

/// A console.
#[derive(Debug)]
pub struct ConsoleDevice {
    shared: Arc<ConsoleShared>,
    threads: Threads,
    sizes: Vec<u16>,
    workers: Vec<Option<RunningWorker>>,
}

/// What others may ask of a console while it runs.
#[derive(Clone, Debug)]
pub struct ConsoleHandle(Arc<ConsoleShared>);

impl ConsoleHandle {
    /// The terminal that shows the console has this many columns and rows.
    pub fn resize(&self, columns: u16, rows: u16) {
        lock(&self.0.control).resize((columns, rows));
        wake(&self.0.outbox);
        self.0.notice.config_changed();
    }

    /// Whether a process in the guest has the port open.
    pub fn is_open_in_guest(&self, port: usize) -> bool {
        self.0.ports.get(port).is_some_and(Port::is_open_in_guest)
    }

    /// What the console did so far.
    pub fn counters(&self) -> &ConsoleCounters {
        &self.0.counters
    }
}

impl ConsoleDevice {
    /// A console with these ports; port 0 is the one that a driver without support for several ports sees. Its queues
    /// run on `threads`, those of one port together.
    ///
    /// # Errors
    /// Too many ports or none, or a host side that cannot be used.
    pub fn new(ports: Vec<PortConfig>, threads: impl Into<Threads>) -> Result<Self, ConsoleError> {
        if !(1..=MAX_PORTS).contains(&ports.len()) {
            return Err(ConsoleError::Ports(ports.len()));
        }
        let names = ports.iter().filter_map(|port| port.name.as_ref());
        if let Some(name) = names.into_iter().find(|name| name.len() > MAX_NAME) {
            return Err(ConsoleError::Name(name.clone()));
        }
        let control = ports.iter().map(|port| (port.name.clone(), port.console));
        let mut control = Control::new((0, 0), control);
        let failed = |port| move |source| ConsoleError::Backend { port, source };
        let mut made = Vec::with_capacity(ports.len());
        for (index, config) in ports.into_iter().enumerate() {
            let port = Port::new(config.backend, config.watcher).map_err(failed(index))?;
            control.host_open(index, port.is_always_open());
            made.push(port);
        }
        let sizes = vec![QUEUE_SIZE; made.len() * 2 + 2];
        let workers = sizes.iter().map(|_| None).collect();
        let shared = Arc::new(ConsoleShared {
            ports: made,
            control: Mutex::new(control),
            outbox: EventFd::new(EFD_NONBLOCK).map_err(failed(0))?,
            counters: ConsoleCounters::default(),
            notice: ConfigNotice::default(),
        });
        Ok(Self { shared, threads: threads.into(), sizes, workers })
    }

    /// A handle that outlives the device's move into its transport.
    pub fn handle(&self) -> ConsoleHandle {
        ConsoleHandle(Arc::clone(&self.shared))
    }
}

impl VirtioDevice for ConsoleDevice {
    fn id(&self) -> VirtioId {
        VirtioId::Console
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn features(&self) -> u64 {
        SIZE | MULTIPORT | feature::RING_EVENT_IDX | feature::RING_INDIRECT_DESC
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let (columns, rows) = lock(&self.shared.control).size();
        let ports = u32::try_from(self.shared.ports.len()).unwrap_or(0);
        let mut space = ConfigSpace::default();
        space.put(0, &columns.to_le_bytes()).put(2, &rows.to_le_bytes()).put(4, &ports.to_le_bytes());
        space.read(offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn start_queue(&mut self, index: u16, ring: Ring) -> Result<(), StartError> {
        let slot = self.workers.get_mut(usize::from(index)).filter(|slot| slot.is_none());
        let slot = slot.ok_or(StartError::NoSuchQueue(index))?;
        self.shared.notice.connect(&ring);
        let shared = Arc::clone(&self.shared);
        let worker: Box<dyn Worker> = match Role::of(index) {
            Role::Input(port) => QueueWorker::boxed(InputQueue::new(ring, shared, port)),
            Role::Output(port) => QueueWorker::boxed(OutputQueue::new(ring, shared, port)),
            Role::ToDriver => QueueWorker::boxed(ToDriverQueue::new(ring, shared)),
            Role::FromDriver => responder(ring, FromDriverMessages(shared)),
        };
        *slot = Some(self.threads.of(index / 2).start(worker)?);
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        self.workers.get_mut(usize::from(index))?.take()?.stop().ok()
    }

    fn reset(&mut self) {
        self.shared.notice.disconnect();
        lock(&self.shared.control).reset();
        for port in &self.shared.ports {
            port.set_open_in_guest(false);
            port.output_skip.store(0, Ordering::Release);
        }
    }

    fn save(&self) -> DeviceState {
        let mut state = lock(&self.shared.control).save();
        for (saved, port) in state.ports.iter_mut().zip(&self.shared.ports) {
            saved.output_skip = port.output_skip.load(Ordering::Acquire);
        }
        DeviceState::Console(state)
    }

    fn restore(&mut self, state: &DeviceState) -> bool {
        let DeviceState::Console(state) = state else { return false };
        if !lock(&self.shared.control).restore(state) {
            return false;
        }
        for (saved, port) in state.ports.iter().zip(&self.shared.ports) {
            port.set_open_in_guest(saved.guest_open);
            port.output_skip.store(saved.output_skip, Ordering::Release);
        }
        true
    }
}
