//! Having pages come for whoever reads them in any case, and is not to wait for them in a fault, which nothing but the page ends.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ram::PAGE;
use vm_memory::GuestAddress;

use super::handle::Demand;
use super::lacking::Lacking;
use super::shared::Shared;
use crate::dirty::PageRun;

/// How often it is looked whether a wait was broken off.
const LOOK: Duration = Duration::from_millis(50);

/// A page that somebody needs does not come.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFetched {
    /// Who has it is gone, and is looked for.
    #[error("a part of the machine's own memory has not come yet, and cannot be had: {0}")]
    Lost(String),
    /// Nobody needs that memory any more, and nothing of it comes.
    #[error("the guest was reset, or has ended, before all of its memory had come")]
    Ended,
    /// Whoever needs it does not want it any more.
    #[error("it was broken off")]
    BrokenOff,
}

/// Whether all of a guest's memory is here.
#[derive(Clone, Debug)]
pub enum Presence {
    /// It is.
    Here,
    /// Some of it comes when it is touched.
    Coming(Fetcher),
}

/// Has pages come that are not here. It keeps the memory.
#[derive(Clone)]
pub struct Fetcher(pub(super) Arc<Shared>);

impl Presence {
    /// That of a memory which comes by `demand`, if it does.
    pub fn of(demand: Option<&Demand>) -> Self {
        demand.map_or(Self::Here, |demand| Self::Coming(demand.fetcher()))
    }

    /// Waits until what is touched by `bytes` bytes from `start` on is here, so that who reads it then does not wait. They are asked for as if
    /// they were touched, before what nobody waits for. `is_broken_off` is asked from time to time whether to go on waiting; it must not wait
    /// for anything itself.
    ///
    /// # Errors
    /// It does not come, or the wait was broken off.
    pub fn fetch(
        &self,
        start: GuestAddress,
        bytes: u64,
        is_broken_off: &dyn Fn() -> bool,
    ) -> Result<(), NotFetched> {
        match self {
            Self::Here => Ok(()),
            Self::Coming(Fetcher(shared)) => shared.fetch(pages_of(start, bytes), is_broken_off),
        }
    }

    /// Waits until all of the memory is here. Nothing of it is asked for: it comes by itself, at the rate and in the order that suit who has it,
    /// who would take what is asked for as what the guest needs. `is_broken_off` is as above, and hears how many bytes are missing.
    ///
    /// # Errors
    /// As [`Presence::fetch`].
    pub fn await_all(&self, is_broken_off: &mut dyn FnMut(u64) -> bool) -> Result<(), NotFetched> {
        match self {
            Self::Here => Ok(()),
            Self::Coming(Fetcher(shared)) => shared.await_all(is_broken_off),
        }
    }
}

/// The pages that these bytes are in.
fn pages_of(start: GuestAddress, bytes: u64) -> PageRun {
    let page = PAGE as u64;
    let first = start.0 - start.0 % page;
    let end = start.0.saturating_add(bytes);
    PageRun { start: GuestAddress(first), pages: (end - first).div_ceil(page) }
}

impl Shared {
    /// Waits until all of `run` is here, which is asked for.
    fn fetch(&self, run: PageRun, is_broken_off: &dyn Fn() -> bool) -> Result<(), NotFetched> {
        let mut pages = self.pages();
        // What was asked for counts as waited for until it comes: what cannot be had is not to.
        if pages.lacking.first_of(run).is_some() && pages.lost.is_none() && pages.end.is_none() {
            let wanted = pages.lacking.faults(run);
            drop(pages);
            self.ask(wanted);
        } else {
            drop(pages);
        }
        self.await_pages(|lacking| lacking.left_in(run), &mut |_| is_broken_off())
    }

    /// Waits until all is here.
    fn await_all(&self, is_broken_off: &mut dyn FnMut(u64) -> bool) -> Result<(), NotFetched> {
        self.await_pages(Lacking::len, &mut |left| is_broken_off(left.saturating_mul(PAGE as u64)))
    }

    /// Waits until none are left of those that `left` counts, which is asked at each change and has to be quick: the threads by which pages come
    /// wait for it.
    fn await_pages(
        &self,
        left: impl Fn(&Lacking) -> u64,
        is_broken_off: &mut dyn FnMut(u64) -> bool,
    ) -> Result<(), NotFetched> {
        let mut pages = self.pages();
        loop {
            let left = left(&pages.lacking);
            if left == 0 {
                return Ok(());
            }
            if let Some(why) = &pages.lost {
                return Err(NotFetched::Lost(why.clone()));
            }
            if pages.end.is_some() {
                return Err(NotFetched::Ended);
            }
            if is_broken_off(left) {
                return Err(NotFetched::BrokenOff);
            }
            pages = self.wait(pages, Instant::now() + LOOK).unwrap_or_else(|| self.pages());
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fetcher")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pages_are_waited_for_that_bytes_are_in() {
        let pages = |start, bytes| {
            let run = pages_of(GuestAddress(start), bytes);
            (run.start.0, run.pages)
        };
        assert_eq!(pages(0x1000, 0x1000), (0x1000, 1));
        assert_eq!(pages(0x1fff, 2), (0x1000, 2));
        assert_eq!(pages(0x1234, 0), (0x1000, 1));
        assert_eq!(pages(u64::MAX - 1, u64::MAX), (u64::MAX - 0xfff, 1));
    }
}
