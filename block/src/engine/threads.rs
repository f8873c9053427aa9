//! The engine for `io: threads`: a few threads that make plain system calls, so that the submitting
//! thread never waits for the host.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{Done, Event, Op, run};
use crate::target::Target;

/// Most threads of one queue.
const MAX_THREADS: usize = 16;
/// What a thread's calls need, and room to spare.
const STACK: usize = 64 << 10;

pub(crate) struct Threads {
    shared: Arc<Shared>,
    /// Submitted, and not handed to the threads yet.
    batch: Vec<(Op, u64)>,
    workers: Vec<JoinHandle<()>>,
    most: usize,
    /// Pushed, and not returned by `next`.
    held: usize,
}

struct Shared {
    files: Vec<Arc<Target>>,
    work: Mutex<Work>,
    more: Condvar,
    done: Mutex<VecDeque<Done>>,
    finished: Condvar,
    event: Event,
}

#[derive(Default)]
struct Work {
    jobs: VecDeque<(Op, u64)>,
    idle: usize,
    closed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads")
            .field("files", &self.shared.files)
            .field("held", &self.held)
            .finish_non_exhaustive()
    }
}

impl Threads {
    pub(super) fn open(depth: u16, files: Vec<Arc<Target>>) -> io::Result<Threads> {
        let shared = Arc::new(Shared {
            files,
            work: Mutex::default(),
            more: Condvar::new(),
            done: Mutex::default(),
            finished: Condvar::new(),
            event: Event::new()?,
        });
        let most = usize::from(depth).clamp(1, MAX_THREADS);
        let mut engine = Threads { shared, batch: Vec::new(), workers: Vec::new(), most, held: 0 };
        // One at least: without it nothing would ever be done.
        engine.start_worker()?;
        Ok(engine)
    }

    fn start_worker(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let builder = std::thread::Builder::new().name("disk".into()).stack_size(STACK);
        self.workers.push(builder.spawn(move || shared.work())?);
        Ok(())
    }

    pub(super) fn push(&mut self, op: Op, user: u64) {
        self.held += 1;
        self.batch.push((op, user));
    }

    pub(super) fn flush(&mut self) {
        let count = self.batch.len();
        if count == 0 {
            return;
        }
        let short = {
            let mut work = lock(&self.shared.work);
            work.jobs.extend(self.batch.drain(..));
            work.jobs.len().saturating_sub(work.idle)
        };
        for _ in 0..short.min(self.most.saturating_sub(self.workers.len())) {
            // Fewer threads only take longer.
            if self.start_worker().is_err() {
                break;
            }
        }
        for _ in 0..count.min(self.workers.len()) {
            self.shared.more.notify_one();
        }
    }

    pub(super) fn next(&mut self) -> Option<Done> {
        let done = lock(&self.shared.done).pop_front()?;
        self.held -= 1;
        Some(done)
    }

    pub(super) fn wait(&mut self) {
        self.flush();
        let mut done = lock(&self.shared.done);
        while done.is_empty() && self.held > 0 {
            done = self.shared.finished.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn event(&self) -> &Event {
        &self.shared.event
    }
}

impl Shared {
    /// What a thread does until the engine goes.
    fn work(&self) {
        while let Some((op, user)) = self.take() {
            let result = run(&self.files, &op);
            drop(op);
            lock(&self.done).push_back(Done { user, result });
            self.finished.notify_one();
            self.event.signal();
        }
    }

    fn take(&self) -> Option<(Op, u64)> {
        let mut work = lock(&self.work);
        loop {
            if let Some(job) = work.jobs.pop_front() {
                return Some(job);
            }
            if work.closed {
                return None;
            }
            work.idle += 1;
            work = self.more.wait(work).unwrap_or_else(PoisonError::into_inner);
            work.idle -= 1;
        }
    }
}

impl Drop for Threads {
    /// The threads must be done with all memory before the buffers' owner takes it back.
    fn drop(&mut self) {
        self.flush();
        lock(&self.shared.work).closed = true;
        self.shared.more.notify_all();
        for worker in self.workers.drain(..) {
            // A thread that panicked is gone just as well.
            let _ = worker.join();
        }
    }
}
