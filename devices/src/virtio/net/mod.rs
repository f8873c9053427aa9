//! virtio-net: a network card for the guest (virtio 1.3 §5.1).

#[cfg(test)]
mod answered_tests;
mod config;
mod counters;
mod ctrl;
mod ports;
#[cfg(test)]
mod restart_tests;
mod rx;
mod rx_chain;
mod state;
#[cfg(test)]
mod tap_tests;
#[cfg(test)]
mod test_link;
#[cfg(test)]
mod tests;
mod tx;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use ::net::{Link, Offloads};
use virtio_queue::QueueState;

pub use self::config::NetConfig;
pub use self::counters::{NetCounters, Traffic};
pub use self::state::NetState;

use self::ctrl::Commands;
use self::rx::RxQueue;
use self::tx::TxQueue;
use super::notice::ConfigNotice;
use super::responder::responder;
use super::worker::QueueWorker;
use super::{DeviceState, Ring, StartError, Threads, VirtioDevice, VirtioId};
use crate::io_thread::{RunningWorker, Worker};

/// What front, queues and handles have in common.
#[derive(Debug)]
struct NetShared {
    config: NetConfig,
    link: Arc<dyn Link>,
    counters: NetCounters,
    notice: ConfigNotice,
    mac: AtomicU64,
    active_pairs: AtomicU16,
    link_up: AtomicBool,
}

impl NetShared {
    fn mac(&self) -> [u8; 6] {
        let [a, b, c, d, e, f, _, _] = self.mac.load(Ordering::Acquire).to_le_bytes();
        [a, b, c, d, e, f]
    }

    fn set_mac(&self, [a, b, c, d, e, f]: [u8; 6]) {
        self.mac.store(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), Ordering::Release);
    }

    /// Spreads frames over the first `pairs` queue pairs; false if there are not so many or the host refuses.
    fn activate(&self, pairs: u16) -> bool {
        let possible = (1..=self.config.pairs(self.link.as_ref())).contains(&pairs);
        let done = possible && self.link.set_active_pairs(pairs).is_ok();
        if done {
            self.active_pairs.store(pairs, Ordering::Release);
        }
        done
    }
}

/// What a queue is for. The control queue comes after the pairs that the driver knows of (virtio 1.3 §5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Receive(u16),
    Transmit(u16),
    Control,
}

/// A network card.
#[derive(Debug)]
pub struct NetDevice {
    shared: Arc<NetShared>,
    threads: Threads,
    sizes: Vec<u16>,
    workers: Vec<Option<RunningWorker>>,
}

/// What others may ask of a network card while it runs.
#[derive(Clone, Debug)]
pub struct NetHandle(Arc<NetShared>);

impl NetHandle {
    /// Plugs the cable in or pulls it, and tells the driver. While it is out, frames are lost both ways.
    pub fn set_link(&self, up: bool) {
        if self.0.link_up.swap(up, Ordering::AcqRel) != up {
            self.0.notice.config_changed();
        }
    }

    /// Hardware address in use, which the driver may have changed.
    pub fn mac(&self) -> [u8; 6] {
        self.0.mac()
    }

    /// Queue pairs in use.
    pub fn active_pairs(&self) -> u16 {
        self.0.active_pairs.load(Ordering::Acquire)
    }

    /// What the card did so far.
    pub fn counters(&self) -> &NetCounters {
        &self.0.counters
    }
}

impl NetDevice {
    /// A card on `link` that appears as `config` says; its queue pairs take turns over `threads`.
    pub fn new(link: Arc<dyn Link>, config: NetConfig, threads: impl Into<Threads>) -> Self {
        let sizes = config.queue_sizes(link.as_ref());
        let workers = sizes.iter().map(|_| None).collect();
        let mac = config.mac;
        let shared = NetShared {
            config,
            link,
            counters: NetCounters::default(),
            notice: ConfigNotice::default(),
            mac: AtomicU64::new(0),
            active_pairs: AtomicU16::new(1),
            link_up: AtomicBool::new(true),
        };
        shared.set_mac(mac);
        // A link that cannot leave queues out has one queue, or its other queues lose what they get.
        shared.activate(1);
        Self { shared: Arc::new(shared), threads: threads.into(), sizes, workers }
    }

    /// A handle that outlives the device's move into its transport.
    pub fn handle(&self) -> NetHandle {
        NetHandle(Arc::clone(&self.shared))
    }

    fn role(&self, index: u16, features: u64) -> Role {
        let pairs =
            if features & config::MQ == 0 { 1 } else { self.shared.config.pairs(self.shared.link.as_ref()) };
        let pair = index / 2;
        match index % 2 {
            _ if pair >= pairs => Role::Control,
            0 => Role::Receive(pair),
            _ => Role::Transmit(pair),
        }
    }

    fn worker(&self, index: u16, ring: Ring) -> Result<Box<dyn Worker>, StartError> {
        let failed = |source| StartError::Backend { queue: index, source };
        let shared = Arc::clone(&self.shared);
        let link = &self.shared.link;
        Ok(match self.role(index, ring.features()) {
            Role::Receive(pair) => {
                if pair == 0 {
                    link.set_offloads(config::guest_offloads(ring.features())).map_err(failed)?;
                }
                let queue = link.open_queue(pair).map_err(failed)?;
                QueueWorker::boxed(RxQueue::new(ring, queue, shared))
            }
            Role::Transmit(pair) => {
                let queue = link.open_queue(pair).map_err(failed)?;
                QueueWorker::boxed(TxQueue::new(ring, queue, shared))
            }
            Role::Control => responder(ring, Commands(shared)),
        })
    }
}

impl VirtioDevice for NetDevice {
    fn id(&self) -> VirtioId {
        VirtioId::Net
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.sizes
    }

    fn features(&self) -> u64 {
        self.shared.config.features(self.shared.link.as_ref())
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let up = self.shared.link_up.load(Ordering::Acquire);
        self.shared.config.space(self.shared.link.as_ref(), self.shared.mac(), up).read(offset, data);
    }

    /// The hardware address is set through the control queue (virtio 1.3 §5.1.4).
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn start_queue(&mut self, index: u16, ring: Ring) -> Result<(), StartError> {
        if self.workers.get(usize::from(index)).is_none_or(Option::is_some) {
            return Err(StartError::NoSuchQueue(index));
        }
        self.shared.notice.connect(&ring);
        let worker = self.worker(index, ring)?;
        let running = self.threads.of(index / 2).start(worker)?;
        if let Some(slot) = self.workers.get_mut(usize::from(index)) {
            *slot = Some(running);
        }
        Ok(())
    }

    fn stop_queue(&mut self, index: u16) -> Option<QueueState> {
        self.workers.get_mut(usize::from(index))?.take()?.stop().ok()
    }

    fn reset(&mut self) {
        self.shared.notice.disconnect();
        self.shared.set_mac(self.shared.config.mac);
        self.shared.activate(1);
        // What fails here fails again, and is reported, when the driver starts the first queue.
        let _ = self.shared.link.set_offloads(Offloads::NONE);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Net(NetState {
            version: state::VERSION,
            mac: self.shared.mac(),
            active_pairs: self.shared.active_pairs.load(Ordering::Acquire),
            link_up: self.shared.link_up.load(Ordering::Acquire),
        })
    }

    fn restore(&mut self, state: &DeviceState) -> bool {
        let DeviceState::Net(NetState { version: state::VERSION, mac, active_pairs, link_up }) = state else {
            return false;
        };
        if !self.shared.activate(*active_pairs) {
            return false;
        }
        self.shared.set_mac(*mac);
        self.shared.link_up.store(*link_up, Ordering::Release);
        true
    }
}
