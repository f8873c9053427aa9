//! Having pages come for whoever reads them in any case, and is not to wait for them in a fault, which nothing but the page ends.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::GuestRam;
use ram::PAGE;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::lacking::Fault;
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
    /// It is over: nothing comes any more.
    #[error("the machine has ended before all of its memory had come")]
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

/// Has pages come that are not here. It keeps nothing of a memory that nobody needs any more.
#[derive(Clone)]
pub struct Fetcher(pub(super) Arc<Shared>);

impl Presence {
    /// Waits until what is touched by `bytes` bytes from `start` on is here, so that who reads it then does not wait. `is_broken_off` is
    /// asked from time to time whether to go on waiting; it must not wait for anything itself.
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

    /// The same of all of a memory.
    ///
    /// # Errors
    /// As [`Presence::fetch`].
    pub fn fetch_all(&self, ram: &GuestRam, is_broken_off: &dyn Fn() -> bool) -> Result<(), NotFetched> {
        ram.iter().try_for_each(|region| self.fetch(region.start_addr(), region.len(), is_broken_off))
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
    /// Waits until all of `run` is here. Pages are asked for one by one, as if they were touched: a guest that waits for another one is not
    /// to wait for all of these.
    pub(super) fn fetch(&self, run: PageRun, is_broken_off: &dyn Fn() -> bool) -> Result<(), NotFetched> {
        let (mut pages, mut wanted) = (self.pages(), Vec::new());
        while let Some(next) = pages.lacking.first_of(run) {
            if let Some(why) = &pages.lost {
                return Err(NotFetched::Lost(why.clone()));
            }
            if pages.end.is_some() {
                return Err(NotFetched::Ended);
            }
            if is_broken_off() {
                return Err(NotFetched::BrokenOff);
            }
            pages = match pages.lacking.fault(next.start, &mut wanted) {
                Fault::Ask => {
                    drop(pages);
                    self.ask(std::mem::take(&mut wanted));
                    self.pages()
                }
                Fault::Wait | Fault::Zero => {
                    self.wait(pages, Instant::now() + LOOK).unwrap_or_else(|| self.pages())
                }
            };
        }
        Ok(())
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
