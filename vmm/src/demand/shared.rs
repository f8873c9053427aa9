//! What the threads of a memory that is not all here share.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use devices::GuestRam;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::lacking::Lacking;
use super::parts::Parts;
use crate::migration::transport::Stream;
use crate::migration::wire::{Message, Writer};
use crate::sys::userfault::Userfault;

/// What becomes of a memory that is not all here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// Who has the rest cannot be reached: whoever needs it waits.
    Lost(String),
    /// It is there again.
    Back,
    /// All has come.
    Complete,
}

/// Why the threads end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// All has come.
    Complete,
    /// Nobody touches the memory any more.
    Released,
    /// Somebody may still wait for a page that will never come, and is to wait until the process ends.
    Abandoned,
}

/// The memory itself.
#[derive(Debug)]
pub(super) struct Pages {
    pub(super) lacking: Lacking,
    /// What has come and is not in place.
    pub(super) parts: Parts,
    /// Taken when it is over.
    pub(super) faults: Option<Arc<Userfault>>,
    /// Why the other side cannot be reached, if it cannot.
    pub(super) lost: Option<String>,
    pub(super) end: Option<End>,
    /// The other side has heard of the end, or there is none.
    pub(super) parted: bool,
}

pub(super) struct Shared {
    pub(super) ram: GuestRam,
    pages: Mutex<Pages>,
    /// Pages have come, the other side is gone or back, or it is over.
    pub(super) changed: Condvar,
    writer: Mutex<Option<Writer<Stream>>>,
    cut: Mutex<Option<Stream>>,
    /// Has the thread of faults look whether it is over.
    pub(super) wake: EventFd,
    desk: Mutex<Desk>,
    /// Pages that somebody had to wait for.
    pub(super) asked: AtomicU64,
}

/// Who is to hear of news, and what that was last.
#[derive(Default)]
struct Desk {
    last: Option<News>,
    to: Option<Box<dyn Fn(News) + Send>>,
}

impl Shared {
    pub(super) fn new(ram: GuestRam, lacking: Lacking, faults: Arc<Userfault>) -> io::Result<Self> {
        Ok(Self {
            ram,
            pages: Mutex::new(Pages {
                lacking,
                parts: Parts::default(),
                faults: Some(faults),
                lost: None,
                end: None,
                parted: false,
            }),
            changed: Condvar::new(),
            writer: Mutex::default(),
            cut: Mutex::default(),
            wake: EventFd::new(EFD_NONBLOCK)?,
            desk: Mutex::default(),
            asked: AtomicU64::new(0),
        })
    }

    pub(super) fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something changes, but no longer than until `until`; `None` when that is over.
    pub(super) fn wait<'a>(
        &'a self,
        pages: MutexGuard<'a, Pages>,
        until: Instant,
    ) -> Option<MutexGuard<'a, Pages>> {
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        Some(match self.changed.wait_timeout(pages, left) {
            Ok((pages, _)) => pages,
            Err(poisoned) => poisoned.into_inner().0,
        })
    }

    /// Waits for so long, unless it is over before. Whether it is.
    pub(super) fn is_over_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut pages = self.pages();
        while pages.end.is_none() {
            match self.wait(pages, until) {
                Some(again) => pages = again,
                None => return false,
            }
        }
        true
    }

    /// It is over, unless it was before.
    pub(super) fn end(&self, end: End) {
        let mut pages = self.pages();
        pages.end.get_or_insert(end);
        drop(pages);
        self.changed.notify_all();
        // The counter cannot overflow by ones.
        let _ = self.wake.write(1);
    }

    /// Waits until the other side has heard of the end, but not if it cannot be reached, and no longer than `limit`.
    pub(super) fn part(&self, limit: Duration) {
        let until = Instant::now() + limit;
        let mut pages = self.pages();
        while !pages.parted && pages.lost.is_none() {
            match self.wait(pages, until) {
                Some(again) => pages = again,
                None => return,
            }
        }
    }

    /// From now on, what is to be said goes here.
    pub(super) fn connected(&self, writer: Writer<Stream>, cut: Stream) {
        *self.cut.lock().unwrap_or_else(PoisonError::into_inner) = Some(cut);
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
    }

    /// Ends the connection, if there is one.
    pub(super) fn cut(&self) {
        if let Some(stream) = self.cut.lock().unwrap_or_else(PoisonError::into_inner).take() {
            stream.cut();
        }
    }

    /// Says something to the other side. If that does not go, whoever reads hears of the connection's end.
    pub(super) fn say(&self, message: &Message) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(to) = writer.as_mut()
            && to.write(message).is_err()
        {
            *writer = None;
            drop(writer);
            self.cut();
        }
    }

    /// Asks for the pages at these addresses.
    pub(super) fn ask(&self, pages: Vec<u64>) {
        /// A message has room for twice as many.
        const MOST: usize = 4096;
        self.asked.fetch_add(u64::try_from(pages.len()).unwrap_or(0), Ordering::Relaxed);
        for some in pages.chunks(MOST) {
            self.say(&Message::Want(some.to_vec()));
        }
    }

    /// Tells whoever wants to hear.
    pub(super) fn report(&self, news: News) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        desk.last = Some(news.clone());
        if let Some(to) = &desk.to {
            to(news);
        }
    }

    /// From now on, this wants to hear; also what was last.
    pub(super) fn report_to(&self, to: Box<dyn Fn(News) + Send>) {
        let mut desk = self.desk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = desk.last.clone() {
            to(last);
        }
        desk.to = Some(to);
    }
}
