//! Guest memory that is not all here.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use devices::{GuestRam, chain};
use ram::PAGE;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

use super::connection::{Connection, Link, send};
use super::fetch::{Fetcher, NotFetched, Presence};
use super::lacking::Lacking;
use super::shared::{End, News, Shared};
use super::{arrivals, faults, unit};
use crate::dirty::{PageRun, PageSet};
use crate::migration::wire::Message;
use crate::sys::memory::{discard, drop_huge_pages, without_huge_pages};
use crate::sys::userfault::{Userfault, UserfaultError};

/// Pages between two ranges that are registered as one.
const GAP: u64 = 512;
/// Ranges that are registered, at most: each may be a mapping more for the host's kernel to keep.
const MOST_RANGES: usize = 1024;
/// How long the other side may take to hear that nothing more is needed.
const PART: Duration = Duration::from_secs(5);

/// Memory cannot come on demand.
#[derive(Debug, thiserror::Error)]
pub enum DemandError {
    /// This process cannot serve faults.
    #[error(transparent)]
    Userfault(#[from] UserfaultError),
    /// Pages of a pool of huge pages come whole or not at all.
    #[error(
        "the machine's memory is in huge pages of 1 GiB here: its guest would wait for all of one at each touch"
    )]
    HugePages,
    /// The other side has parts of huge pages.
    #[error("the machine's memory is in huge pages here and not at the source: it cannot follow the machine")]
    Uneven,
    /// Memory of another kind.
    #[error("the machine's memory is of a kind whose pages cannot come one by one")]
    Mapping,
    /// Who has the pages cannot be reached, or has gone.
    #[error("the machine's memory cannot be had: {0}")]
    Source(String),
    /// The host has no threads, descriptors or memory left.
    #[error("the host cannot keep up the machine's memory")]
    Host(#[from] std::io::Error),
}

/// Guest memory that comes when it is needed, and by and by.
///
/// While it is not complete, dropping it leaves whoever waits for a page waiting until the process ends, rather than showing anything
/// that does not belong there.
pub struct Demand {
    shared: Arc<Shared>,
}

/// What there was before in a memory that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Untouched,
    /// Something that is not to be seen any more.
    Outdated,
}

impl Demand {
    /// Has all pages of `ram` that the other side of `link` holds come from there. Nobody touches the memory before this returns.
    ///
    /// # Errors
    /// Nobody is there, or the host cannot do it.
    pub fn begin(ram: &GuestRam, before: Before, mut link: Box<dyn Link>) -> Result<Self, DemandError> {
        let unit = unit::of(ram)?;
        let userfault = Arc::new(Userfault::open()?);
        let (connection, holds) = arrivals::meet(&mut *link, ram).map_err(DemandError::Source)?;
        let Connection { reader, mut writer, cut } = connection;
        // What is dropped of a huge page is all of it.
        if before == Before::Outdated && !holds.has_whole(unit) {
            return Err(DemandError::Uneven);
        }
        // The host may put a huge page where some pages are missing, and zeroes into it, until it knows that they are missed.
        without_huge_pages(ram, || miss(&userfault, ram, &holds, before, unit))?;
        let lost = |error| DemandError::Source(chain(&error));
        send(&mut writer, &holds, Message::Lacks).map_err(lost)?;
        let shared = Shared::new(ram.clone(), Lacking::new(holds, unit), Arc::clone(&userfault));
        let shared = Arc::new(shared.map_err(DemandError::Host)?);
        shared.connected(writer, cut);
        let this = Self { shared: Arc::clone(&shared) };
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new().name("faults".into()).stack_size(256 << 10);
        thread.spawn(move || faults::run(&of_thread, userfault)).map_err(DemandError::Host)?;
        arrivals::spawn(&shared, link, reader).map_err(DemandError::Host)?;
        // Nothing may have been missing at all.
        let mut pages = shared.pages();
        faults::finish_if_complete(&mut pages);
        drop(pages);
        // The counter cannot overflow by ones.
        let _ = shared.wake.write(1);
        Ok(this)
    }

    /// Bytes that have not come.
    pub fn lacking_bytes(&self) -> u64 {
        self.shared.pages().lacking.len().saturating_mul(PAGE as u64)
    }

    /// Pages that somebody had to wait for.
    pub fn faults(&self) -> u64 {
        self.shared.asked.load(Ordering::Relaxed)
    }

    /// Why the other side cannot be reached, if it cannot.
    pub fn lost(&self) -> Option<String> {
        self.shared.pages().lost.clone()
    }

    /// What others may see of it. It does not keep the memory.
    pub fn gauge(&self) -> Gauge {
        Gauge(Arc::downgrade(&self.shared))
    }

    /// News go to `to`, which must not block; also what was new last.
    pub fn report_to(&self, to: impl Fn(News) + Send + 'static) {
        self.shared.report_to(Box::new(to));
    }

    /// Waits until the page at `page` is here, for a thread that must not wait in a fault.
    ///
    /// # Errors
    /// The other side cannot be reached, or says nothing for as long as `limit`.
    pub fn fetch(&self, page: GuestAddress, limit: Duration) -> Result<(), DemandError> {
        let until = Instant::now() + limit;
        let presence = Presence::Coming(self.fetcher());
        presence.fetch(page, 1, &|| Instant::now() >= until).map_err(|error| match error {
            NotFetched::Lost(why) => DemandError::Source(why),
            NotFetched::Ended => DemandError::Source(error.to_string()),
            NotFetched::BrokenOff => DemandError::Source("who has it does not answer".into()),
        })
    }

    /// Has pages come for whoever copies the memory.
    pub fn fetcher(&self) -> Fetcher {
        Fetcher(Arc::clone(&self.shared))
    }

    /// Nobody touches the memory any more: its guest has ended. The other side hears that it need not keep the rest, if it can be reached.
    pub fn release(self) {
        self.shared.end(End::Released);
        // This process may end next.
        self.shared.part(PART);
    }

    /// The same for whoever learns that nobody needs it, or gives it up. It does not keep the memory: who hears the news of it may have it.
    pub fn releaser(&self) -> Releaser {
        Releaser(Arc::downgrade(&self.shared))
    }
}

/// Shows how far a memory is.
#[derive(Clone)]
pub struct Gauge(Weak<Shared>);

/// How far a memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Bytes that have not come.
    pub missing_bytes: u64,
    /// Pages that somebody had to wait for.
    pub waited_for: u64,
    /// Whether the other side cannot be reached.
    pub unreachable: bool,
}

impl Gauge {
    /// How far it is; none if all is here, or nobody needs it any more.
    pub fn read(&self) -> Option<Reading> {
        let shared = self.0.upgrade()?;
        let pages = shared.pages();
        let missing_bytes = pages.lacking.len().saturating_mul(PAGE as u64);
        let unreachable = pages.lost.is_some();
        Some(Reading { missing_bytes, waited_for: shared.asked.load(Ordering::Relaxed), unreachable })
    }
}

impl fmt::Debug for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Gauge").field(&self.read()).finish()
    }
}

/// Gives a memory up that is not complete, and that nobody needs any more: who waits for a page goes on with zeroes.
pub struct Releaser(Weak<Shared>);

impl Releaser {
    /// Gives it up, if it is still there.
    pub fn release(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.end(End::Released);
            // What is said to the other side may be waiting for it.
            shared.cut();
        }
    }
}

impl Drop for Demand {
    fn drop(&mut self) {
        self.shared.end(End::Abandoned);
        let mut pages = self.shared.pages();
        let faults = pages.faults.take();
        if pages.end == Some(End::Abandoned) {
            std::mem::forget(faults);
        }
        drop(pages);
        self.shared.cut();
    }
}

impl fmt::Debug for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demand").field("lacking", &self.lacking_bytes()).finish_non_exhaustive()
    }
}

/// Has these pages be missing, and be missed by whoever touches them.
fn miss(
    userfault: &Userfault,
    ram: &GuestRam,
    pages: &PageSet,
    before: Before,
    unit: u64,
) -> Result<(), DemandError> {
    if before == Before::Outdated {
        let drop = if unit == 1 { discard } else { drop_huge_pages };
        pages.runs(u64::MAX).try_for_each(|run| drop(ram, run.start, run.bytes()))?;
    }
    // What lies between pages of a huge page is registered with it.
    let mut whole = pages.clone();
    whole.make_whole(unit);
    for range in ranges(ram, &whole) {
        userfault.register(ram, range.start, range.bytes())?;
    }
    Ok(())
}

/// Ranges that have all these pages in them. What else is in them is zero, or is there.
fn ranges(ram: &GuestRam, pages: &PageSet) -> Vec<PageRun> {
    let mut ranges: Vec<PageRun> = Vec::new();
    for run in pages.runs(u64::MAX) {
        let near = ranges.last_mut().filter(|last| {
            let gap = run.start.0.saturating_sub(last.start.0.saturating_add(last.bytes()));
            gap <= GAP * PAGE as u64
                && ram
                    .find_region(last.start)
                    .is_some_and(|region| run.start.0.wrapping_sub(region.start_addr().0) < region.len())
        });
        match near {
            Some(last) => {
                last.pages =
                    (run.start.0.saturating_sub(last.start.0) / PAGE as u64).saturating_add(run.pages);
            }
            None => ranges.push(run),
        }
    }
    if ranges.len() <= MOST_RANGES {
        return ranges;
    }
    let whole =
        |region: &ram::RamRegion| PageRun { start: region.start_addr(), pages: region.len() / PAGE as u64 };
    ram.iter().map(whole).collect()
}
