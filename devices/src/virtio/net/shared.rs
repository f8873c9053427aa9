//! What front, queues and handles of a network card have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ::net::Link;

use super::config::{self, NetConfig};
use super::counters::NetCounters;
use super::features::{GUEST_ANNOUNCE, guest_offloads};
use super::settings::{Settings, Shared};
use super::vhost::Vhosts;
use crate::virtio::Ring;
use crate::virtio::limit::Buckets;
use crate::virtio::notice::ConfigNotice;

#[derive(Debug)]
pub(super) struct NetShared {
    pub(super) config: NetConfig,
    pub(super) link: Arc<dyn Link>,
    pub(super) counters: NetCounters,
    pub(super) settings: Shared<Settings>,
    /// What is left of the rate limits.
    pub(super) rx_limit: Buckets,
    pub(super) tx_limit: Buckets,
    pub(super) link_up: AtomicBool,
    pub(super) announcing: AtomicBool,
    pub(super) notice: ConfigNotice,
    /// The kernel serves the queues, if these are there.
    pub(super) vhosts: Option<Vhosts>,
    /// Features of the driver that started the queues.
    features: AtomicU64,
}

impl NetShared {
    pub(super) fn new(link: Arc<dyn Link>, config: NetConfig, vhosts: Option<Vhosts>) -> Self {
        Self {
            counters: NetCounters::new(config.pairs(link.as_ref())),
            settings: Shared::new(Settings::new(config.mac)),
            rx_limit: Buckets::new(config.limit),
            tx_limit: Buckets::new(config.limit),
            link_up: AtomicBool::new(config.link_up),
            announcing: AtomicBool::new(false),
            notice: ConfigNotice::default(),
            vhosts,
            features: AtomicU64::new(0),
            config,
            link,
        }
    }

    /// Gets to know the driver, by a queue that it starts.
    pub(super) fn connect(&self, ring: &Ring) {
        self.features.store(ring.features(), Ordering::Release);
        self.notice.connect(ring);
    }

    /// Forgets the driver and all that it set.
    pub(super) fn disconnect(&self) {
        self.notice.disconnect();
        self.features.store(0, Ordering::Release);
        self.announcing.store(false, Ordering::Release);
        self.settings.change(|settings| *settings = Settings::new(self.config.mac));
        self.activate(1);
    }

    /// Spreads frames over the first `pairs` queue pairs; false if there are not so many or the host refuses.
    pub(super) fn activate(&self, pairs: u16) -> bool {
        let possible = (1..=self.config.pairs(self.link.as_ref())).contains(&pairs);
        let done = possible && self.link.set_active_pairs(pairs).is_ok();
        if done {
            self.settings.change(|settings| settings.active_pairs = pairs);
        }
        done
    }

    /// Has the link deliver such unfinished frames as these feature bits stand for; false if the host refuses.
    pub(super) fn take_offloads(&self, bits: u64) -> bool {
        let done = self.link.set_offloads(guest_offloads(bits)).is_ok();
        if done {
            self.settings.change(|settings| settings.offloads = Some(bits));
        }
        done
    }

    /// Plugs the cable in or pulls it.
    pub(super) fn set_link(&self, up: bool) {
        if self.link_up.swap(up, Ordering::AcqRel) != up {
            if let Some(vhosts) = &self.vhosts {
                vhosts.set_link(self);
            }
            self.notice.config_changed();
        }
    }

    /// The configuration's `status`.
    pub(super) fn status(&self) -> u16 {
        let up = if self.link_up.load(Ordering::Acquire) { config::LINK_UP } else { 0 };
        let announce = if self.announcing.load(Ordering::Acquire) { config::ANNOUNCE } else { 0 };
        up | announce
    }

    /// Asks the driver to tell the network where it is; false if there is no driver that can.
    pub(super) fn announce(&self) -> bool {
        let able = self.features.load(Ordering::Acquire) & GUEST_ANNOUNCE != 0;
        if able {
            self.announcing.store(true, Ordering::Release);
            self.notice.config_changed();
        }
        able
    }

    /// The driver did as it was asked.
    pub(super) fn has_announced(&self) {
        self.announcing.store(false, Ordering::Release);
    }
}
