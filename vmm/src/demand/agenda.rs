//! In which order pages are sent.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ram::PAGE;
use vm_memory::GuestAddress;

use super::serve::{Rest, Service};
use crate::dirty::{PageRun, PageSet};

/// Pages of a run that nobody waits for, at most: who begins to wait meanwhile waits for so many.
const RUN: u64 = 64;
/// Pages that may be waited for at a time. vCPUs and threads of devices are far fewer, also where each waits for all of a huge page.
const MOST_WANTED: usize = 256 << 10;
/// Runs that are remembered, at most.
const MOST_TOUCHED: usize = 64 << 10;
/// A guest that is never quiet is not waited for longer than so many times as long as it is to be.
const NEVER_QUIET: u32 = 20;
const PAGE_BYTES: u64 = PAGE as u64;

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send these pages.
    Send(PageRun),
    /// There was nothing to do for the time given.
    Quiet,
    /// It is over: all has come, or else why not.
    Over(Result<(), String>),
}

/// Pages that are to be sent, and who waits for which.
#[derive(Debug)]
pub(super) struct Agenda {
    inner: Mutex<Inner>,
    changed: Condvar,
    rest: Rest,
    window: u64,
    begun: Instant,
}

#[derive(Debug)]
struct Inner {
    left: PageSet,
    wanted: VecDeque<u64>,
    first: VecDeque<PageRun>,
    /// Where to go on with what nobody waits for.
    cursor: GuestAddress,
    /// Nothing was asked for since then.
    quiet_since: Instant,
    touched: Vec<PageRun>,
    over: Option<Result<(), String>>,
}

impl Agenda {
    /// Sends `left`, as `service` has it.
    pub(super) fn new(left: PageSet, service: &Service) -> Self {
        let inner = Inner {
            left,
            wanted: VecDeque::new(),
            first: service.first.iter().copied().collect(),
            cursor: GuestAddress(0),
            quiet_since: Instant::now(),
            touched: Vec::new(),
            over: None,
        };
        Self {
            inner: Mutex::new(inner),
            changed: Condvar::new(),
            rest: service.rest,
            window: service.window.max(1),
            begun: Instant::now(),
        }
    }

    /// Somebody waits for the pages at these addresses.
    pub(super) fn want(&self, pages: &[u64]) {
        let mut inner = self.inner();
        if inner.wanted.len().saturating_add(pages.len()) > MOST_WANTED {
            inner.over.get_or_insert(Err("the other side asks for too many pages at a time".into()));
        } else {
            inner.wanted.extend(pages);
        }
        inner.quiet_since = Instant::now();
        drop(inner);
        self.changed.notify_all();
    }

    /// It is over.
    pub(super) fn end(&self, how: Result<(), String>) {
        self.inner().over.get_or_insert(how);
        self.changed.notify_all();
    }

    /// What is to be done next; waits for that at most `limit`. What nobody waits for is not sent before `rest_from`.
    pub(super) fn next(&self, limit: Duration, rest_from: Instant) -> Next {
        let until = Instant::now() + limit;
        let mut inner = self.inner();
        loop {
            if let Some(over) = &inner.over {
                return Next::Over(over.clone());
            }
            let now = Instant::now();
            let quiet = match self.rest {
                Rest::AtOnce => Duration::ZERO,
                Rest::AfterQuiet(time) => {
                    let since = |then| time.saturating_sub(now.saturating_duration_since(then));
                    let most = time.saturating_mul(NEVER_QUIET);
                    since(inner.quiet_since).min(most.saturating_sub(self.begun.elapsed()))
                }
            };
            let held = quiet.max(rest_from.saturating_duration_since(now));
            if let Some(run) = inner.take_wanted(self.window) {
                return Next::Send(run);
            }
            if held.is_zero()
                && let Some(run) = inner.take_other()
            {
                return Next::Send(run);
            }
            let mut left = until.saturating_duration_since(now);
            if left.is_zero() {
                return Next::Quiet;
            }
            if !held.is_zero() {
                left = left.min(held);
            }
            inner = match self.changed.wait_timeout(inner, left) {
                Ok((inner, _)) => inner,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// What was asked for, in that order.
    pub(super) fn touched(&self) -> Vec<PageRun> {
        std::mem::take(&mut self.inner().touched)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Pages of which somebody waits for one, and its neighbours in a window of so many.
    fn take_wanted(&mut self, window: u64) -> Option<PageRun> {
        while let Some(page) = self.wanted.pop_front() {
            // It may have been sent before that was known.
            if !self.left.contains(GuestAddress(page)) {
                continue;
            }
            let bytes = window.saturating_mul(PAGE_BYTES);
            let around = PageRun { start: GuestAddress(page - page % bytes), pages: window };
            let is_it = |run: &PageRun| run.start.0 <= page && page - run.start.0 < run.bytes();
            let run = self.left.within(around).find(is_it);
            if let Some(run) = run {
                let run = self.with_next_wanted(run);
                // What lies behind it will be touched next, as likely as anything.
                self.take(run);
                self.note(run);
                return Some(run);
            }
        }
        None
    }

    /// The same, and what is waited for behind it: of a huge page, all is asked for in a row.
    fn with_next_wanted(&mut self, run: PageRun) -> PageRun {
        let mut run = run;
        while let Some(next) = self.wanted.front().copied() {
            let end = run.start.0.saturating_add(run.bytes());
            let is_in = run.start.0 <= next && next < end;
            if !is_in {
                if next != end || run.pages >= RUN || !self.left.contains(GuestAddress(next)) {
                    break;
                }
                run.pages += 1;
            }
            self.wanted.pop_front();
        }
        run
    }

    /// Pages that nobody waits for.
    fn take_other(&mut self) -> Option<PageRun> {
        while let Some(favourite) = self.first.front().copied() {
            let run = self.left.within(favourite).next();
            match run {
                Some(run) => {
                    let run = PageRun { pages: run.pages.min(RUN), ..run };
                    self.left.take_out(run);
                    return Some(run);
                }
                None => drop(self.first.pop_front()),
            }
        }
        let run =
            self.left.first_from(self.cursor, RUN).or_else(|| self.left.first_from(GuestAddress(0), RUN))?;
        self.take(run);
        Some(run)
    }

    fn take(&mut self, run: PageRun) {
        self.left.take_out(run);
        self.cursor = GuestAddress(run.start.0.saturating_add(run.bytes()));
    }

    fn note(&mut self, run: PageRun) {
        let is_next = |last: &&mut PageRun| last.start.0.saturating_add(last.bytes()) == run.start.0;
        if let Some(last) = self.touched.last_mut().filter(is_next) {
            last.pages += run.pages;
        } else if self.touched.len() < MOST_TOUCHED {
            self.touched.push(run);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn run(page: u64, pages: u64) -> PageRun {
        PageRun { start: GuestAddress(page << 12), pages }
    }

    fn agenda(service: &Service) -> Agenda {
        let mut left = PageSet::of_regions([(GuestAddress(0), 256 << 12)].into_iter());
        left.insert(run(0, 100));
        left.insert(run(200, 10));
        Agenda::new(left, service)
    }

    fn send(page: u64, pages: u64) -> Next {
        Next::Send(run(page, pages))
    }

    fn next(agenda: &Agenda) -> Next {
        agenda.next(NOW, agenda.begun)
    }

    #[test]
    fn what_is_waited_for_comes_first_then_favourites_then_all() {
        let service = Service { first: vec![run(90, 20), run(250, 1)], ..Service::default() };
        let agenda = agenda(&service);
        agenda.want(&[205 << 12, 5 << 12, 5 << 12, 150 << 12, 300 << 12]);
        assert_eq!(next(&agenda), send(200, 8), "its window");
        assert_eq!(next(&agenda), send(0, 16));
        assert_eq!(next(&agenda), send(90, 10));
        assert_eq!(next(&agenda), send(16, 64), "goes on where somebody waited");
        assert_eq!(next(&agenda), send(80, 10));
        agenda.want(&[209 << 12]);
        assert_eq!(next(&agenda), send(208, 2));
        assert_eq!(next(&agenda), Next::Quiet);
        assert_eq!(agenda.touched(), [run(200, 8), run(0, 16), run(208, 2)]);
        agenda.end(Ok(()));
        agenda.end(Err("late".into()));
        assert_eq!(next(&agenda), Next::Over(Ok(())));
    }

    #[test]
    fn what_is_asked_for_in_a_row_goes_together() {
        let agenda = agenda(&Service { window: 1, ..Service::default() });
        let pages: Vec<u64> = (3..90).chain([95]).map(|page| page << 12).collect();
        agenda.want(&pages);
        let sent: Vec<_> = (0..3).map(|_| next(&agenda)).collect();
        assert_eq!(sent, [send(3, 64), send(67, 23), send(95, 1)]);
    }

    #[test]
    fn nobody_is_disturbed_until_it_is_quiet() {
        let resting = |quiet| agenda(&Service { rest: Rest::AfterQuiet(quiet), ..Service::default() });
        assert_eq!(next(&resting(Duration::from_secs(3600))), Next::Quiet);
        let (quiet, begun) = (Duration::from_millis(30), Instant::now());
        assert_eq!(resting(quiet).next(Duration::from_secs(60), begun), send(0, 64));
        assert!(begun.elapsed() >= quiet);
    }

    #[test]
    fn what_nobody_waits_for_is_held_back_alone() {
        let agenda = agenda(&Service::default());
        let later = Instant::now() + Duration::from_secs(3600);
        assert_eq!(agenda.next(NOW, later), Next::Quiet);
        agenda.want(&[205 << 12]);
        assert_eq!(agenda.next(NOW, later), send(200, 8));
        let soon = Instant::now() + Duration::from_millis(30);
        assert_eq!(agenda.next(Duration::from_secs(60), soon), send(208, 2));
        assert!(Instant::now() >= soon);
    }

    #[test]
    fn who_asks_for_too_much_is_sent_away() {
        let agenda = agenda(&Service::default());
        agenda.want(&vec![0; MOST_WANTED]);
        agenda.want(&[0]);
        assert!(matches!(next(&agenda), Next::Over(Err(_))));
    }
}
