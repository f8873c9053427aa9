//! virtio-net: a network card for the guest (virtio 1.3 §5.1).
//!
//! Frames go between the guest's buffers and a [`Link`] without a copy here. Several queue pairs are steered by flow, in
//! the link: a tap remembers which queue a flow's frames came from and sends its answers there, which is the automatic
//! steering of §5.1.6.5.5. Receive-side scaling (`VIRTIO_NET_F_RSS`) and hash reports are not offered: the tap has spread
//! the frames before they can be looked at here, so that either each would be handed from one queue's thread to
//! another's, which costs more than it gains, or a program for `TUNSETSTEERINGEBPF` would have to be loaded, which takes
//! `CAP_BPF` that a pod does not have. Linux drivers use automatic steering where the others are not offered.

mod announce;
#[cfg(test)]
mod answered_tests;
#[cfg(test)]
mod burst_tests;
mod config;
mod counters;
mod ctrl;
#[cfg(test)]
mod ctrl_tests;
mod features;
mod filter;
mod handle;
mod header;
mod lull;
mod noted;
mod ports;
#[cfg(test)]
mod restart_tests;
mod rx;
mod rx_chain;
mod settings;
mod shared;
mod state;
#[cfg(test)]
mod tap_tests;
#[cfg(test)]
mod test_link;
#[cfg(test)]
mod tests;
mod tx;
mod vhost;
mod window;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::net::{Link, Offloads, Side, VhostNet};
use virtio_queue::QueueState;

pub use self::config::NetConfig;
pub use self::counters::{NetCounters, QueueCounters, sum};
pub use self::handle::NetHandle;
pub use self::noted::NotedWrites;
pub use self::state::NetState;

use self::ctrl::Commands;
use self::features::guest_offloads;
use self::rx::RxQueue;
use self::shared::NetShared;
use self::tx::TxQueue;
use self::vhost::{VhostQueue, Vhosts};
use super::responder::responder;
use super::worker::QueueWorker;
use super::{DeviceState, Ring, StartError, Threads, VirtioDevice, VirtioId};
use crate::io_thread::{RunningWorker, Worker};

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

impl NetDevice {
    /// A card on `link` that appears as `config` says; its queue pairs take turns over `threads`.
    pub fn new(link: Arc<dyn Link>, config: NetConfig, threads: impl Into<Threads>) -> Self {
        Self::assemble(link, config, threads.into(), None)
    }

    /// The same with queues that the kernel serves, one worker a queue pair: it has no more pairs than workers, and
    /// neither filters, limits nor counts frames.
    pub fn with_vhost(
        link: Arc<dyn Link>,
        config: NetConfig,
        threads: impl Into<Threads>,
        workers: Vec<Arc<VhostNet>>,
    ) -> Self {
        Self::assemble(link, config, threads.into(), Some(Vhosts::new(workers)))
    }

    fn assemble(
        link: Arc<dyn Link>,
        mut config: NetConfig,
        threads: Threads,
        vhosts: Option<Vhosts>,
    ) -> Self {
        if let Some(vhosts) = &vhosts {
            config.queue_pairs = config.queue_pairs.min(u16::try_from(vhosts.len()).unwrap_or(u16::MAX));
        }
        let sizes = config.queue_sizes(link.as_ref());
        let workers = sizes.iter().map(|_| None).collect();
        let shared = NetShared::new(link, config, vhosts);
        // A link that cannot leave queues out has one queue, or its other queues lose what they get.
        shared.activate(1);
        Self { shared: Arc::new(shared), threads, sizes, workers }
    }

    /// A handle that outlives the device's move into its transport.
    pub fn handle(&self) -> NetHandle {
        NetHandle(Arc::clone(&self.shared))
    }

    fn role(&self, index: u16, negotiated: u64) -> Role {
        let pairs = if negotiated & features::MQ == 0 {
            1
        } else {
            self.shared.config.pairs(self.shared.link.as_ref())
        };
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
                    let wanted = shared.settings.get().offloads.unwrap_or(ring.features());
                    link.set_offloads(guest_offloads(wanted & ring.features())).map_err(failed)?;
                }
                if shared.vhosts.is_some() {
                    return VhostQueue::start(ring, pair, Side::Receive, shared).map_err(failed);
                }
                let queue = link.open_queue(pair).map_err(failed)?;
                QueueWorker::boxed(RxQueue::new(ring, queue, pair, shared))
            }
            Role::Transmit(pair) if shared.vhosts.is_some() => {
                VhostQueue::start(ring, pair, Side::Transmit, shared).map_err(failed)?
            }
            Role::Transmit(pair) => {
                let queue = link.open_queue(pair).map_err(failed)?;
                QueueWorker::boxed(TxQueue::new(ring, queue, pair, shared))
            }
            Role::Control => {
                let features = ring.features();
                responder(ring, Commands { shared, features })
            }
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
        let offered = self.shared.config.features(self.shared.link.as_ref());
        offered & !self.shared.vhosts.as_ref().map_or(0, Vhosts::unknown)
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let NetShared { config, link, settings, .. } = &*self.shared;
        config.space(link.as_ref(), settings.get().mac, self.shared.status()).read(offset, data);
    }

    /// The hardware address is set through the control queue (virtio 1.3 §5.1.4).
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn start_queue(&mut self, index: u16, ring: Ring) -> Result<(), StartError> {
        if self.workers.get(usize::from(index)).is_none_or(Option::is_some) {
            return Err(StartError::NoSuchQueue(index));
        }
        self.shared.connect(&ring);
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
        self.shared.disconnect();
        // What fails here fails again, and is reported, when the driver starts the first queue.
        let _ = self.shared.link.set_offloads(Offloads::NONE);
    }

    fn save(&self) -> DeviceState {
        DeviceState::Net(NetState {
            version: state::VERSION,
            link_up: self.shared.link_up.load(Ordering::Acquire),
            announcing: self.shared.announcing.load(Ordering::Acquire),
            settings: (*self.shared.settings.get()).clone(),
        })
    }

    fn restore(&mut self, state: &DeviceState) -> bool {
        let DeviceState::Net(NetState { version: state::VERSION, link_up, announcing, settings }) = state
        else {
            return false;
        };
        if !settings.filter.is_valid() || !self.shared.activate(settings.active_pairs) {
            return false;
        }
        self.shared.settings.change(|current| current.clone_from(settings));
        self.shared.link_up.store(*link_up, Ordering::Release);
        self.shared.announcing.store(*announcing, Ordering::Release);
        true
    }
}
