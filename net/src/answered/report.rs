//! What was answered so far.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::Shared;
use crate::dhcp::Leased;

/// What others may know of an [`Answered`](super::Answered) link while it is in use.
#[derive(Clone, Debug)]
pub struct AnswersHandle(pub(super) Arc<Shared>);

impl AnswersHandle {
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
            leased4: tally.leased4.since(),
            leased6: tally.leased6.since(),
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
    /// When the guest last took, or renewed, its IPv4 lease; none if it has not, or gave it back.
    pub leased4: Option<SystemTime>,
    /// The same for IPv6.
    pub leased6: Option<SystemTime>,
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
    pub(super) leased4: LeaseTime,
    pub(super) leased6: LeaseTime,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// When a lease was taken.
#[derive(Debug, Default)]
pub(super) struct LeaseTime(Mutex<Option<SystemTime>>);

impl LeaseTime {
    pub(super) fn note(&self, leased: Option<Leased>) {
        let mut time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match leased {
            Some(Leased::Taken) => *time = Some(SystemTime::now()),
            Some(Leased::Ended) => *time = None,
            None => {}
        }
    }

    fn since(&self) -> Option<SystemTime> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
