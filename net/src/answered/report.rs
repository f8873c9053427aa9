//! What was answered so far.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::Shared;
use crate::dhcp::Leased;

/// What others may know of an [`Answered`](super::Answered) link while it is in use.
#[derive(Clone, Debug)]
pub struct AnswersHandle(pub(super) Arc<Shared>);

impl AnswersHandle {
    /// Has `told` called with the address when the guest takes a lease of it, once for IPv4 and once for IPv6: renewals,
    /// which a guest can make as often as it likes, are only counted. Takes the place of whom it told before.
    pub fn on_lease(&self, told: impl Fn(IpAddr) + Send + Sync + 'static) {
        let tally = &self.0.responder.tally;
        let told: Arc<dyn Fn(IpAddr) + Send + Sync> = Arc::new(told);
        tally.leased4.tell(Arc::clone(&told));
        tally.leased6.tell(told);
    }

    /// The state of affairs.
    pub fn report(&self) -> AnswersReport {
        let tally = &self.0.responder.tally;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AnswersReport {
            dhcp4: count(&tally.dhcp4),
            dhcp6: count(&tally.dhcp6),
            adverts: count(&tally.adverts),
            neighbours: count(&tally.neighbours),
            malformed: count(&tally.malformed),
            options_left_out: count(&tally.left_out),
            lost: self.0.outbox.lost(),
            leased4: tally.leased4.current(),
            leased6: tally.leased6.current(),
        }
    }
}

/// What was answered, and to what effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswersReport {
    /// Answers by DHCPv4.
    pub dhcp4: u64,
    /// Answers by DHCPv6.
    pub dhcp6: u64,
    /// Router advertisements, asked for or not.
    pub adverts: u64,
    /// Answers to ARP and neighbour solicitations.
    pub neighbours: u64,
    /// Messages for us that were dropped, because they contradict their own format.
    pub malformed: u64,
    /// DHCPv4 options that were left out of an answer, which has only so much room.
    pub options_left_out: u64,
    /// Answers that the guest did not fetch in time.
    pub lost: u64,
    /// The IPv4 lease that the guest has; none if it has taken none, or gave it back.
    pub leased4: Option<Lease>,
    /// The same for IPv6.
    pub leased6: Option<Lease>,
}

/// A lease that the guest has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub address: IpAddr,
    /// When the guest last took or renewed it.
    pub since: SystemTime,
}

/// Counters in the making.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) dhcp4: AtomicU64,
    pub(super) dhcp6: AtomicU64,
    pub(super) adverts: AtomicU64,
    pub(super) neighbours: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) left_out: AtomicU64,
    pub(super) leased4: LeaseKept,
    pub(super) leased6: LeaseKept,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Who is told of a lease.
type Told = Arc<dyn Fn(IpAddr) + Send + Sync>;

/// What became of a lease.
#[derive(Default)]
pub(super) struct LeaseKept(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    current: Option<Lease>,
    /// Whoever is to be told of the first time.
    told: Option<Told>,
}

impl LeaseKept {
    /// Takes note of what an exchange meant for the lease of `address`.
    pub(super) fn note(&self, address: IpAddr, leased: Option<Leased>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let told = match leased {
            Some(Leased::Taken) => {
                kept.current = Some(Lease { address, since: SystemTime::now() });
                kept.told.take()
            }
            Some(Leased::Ended) => {
                kept.current = None;
                None
            }
            None => None,
        };
        drop(kept);
        if let Some(told) = told {
            told(address);
        }
    }

    fn tell(&self, told: Told) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).told = Some(told);
    }

    fn current(&self) -> Option<Lease> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).current
    }
}

impl fmt::Debug for LeaseKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LeaseKept").field(&self.current()).finish()
    }
}
