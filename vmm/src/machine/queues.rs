//! Stopping the queues of a machine without waiting for ever for a host that does not answer.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devices::virtio::transport::VirtioPci;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The thread stops one function after the other.
    Stopping,
    /// All have stopped; the thread has ended.
    Stopped,
    /// They are to go on. The thread sees to the one that it waits for, and ends.
    Unwanted,
    /// They go on; the thread has ended.
    Undone,
}

/// Queues that are being stopped by a thread of their own.
pub(super) struct QueueStop(Arc<Shared>);

struct Shared {
    functions: Vec<Arc<VirtioPci>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    progress: Progress,
    /// So many functions have stopped, from the first on.
    stopped: usize,
}

impl QueueStop {
    /// Has all queues stop.
    pub(super) fn begin(functions: Vec<Arc<VirtioPci>>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            functions,
            state: Mutex::new(State { progress: Progress::Stopping, stopped: 0 }),
            changed: Condvar::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("pause".into()).stack_size(128 << 10);
        thread.spawn(move || of_thread.stop_all())?;
        Ok(Self(shared))
    }

    /// Has them stop again after [`QueueStop::undo`].
    pub(super) fn again(self) -> io::Result<Self> {
        let mut state = self.0.state();
        match state.progress {
            Progress::Undone => {
                drop(state);
                Self::begin(self.0.functions.clone())
            }
            Progress::Unwanted => {
                *state = State { progress: Progress::Stopping, stopped: 0 };
                drop(state);
                Ok(self)
            }
            Progress::Stopping | Progress::Stopped => {
                drop(state);
                Ok(self)
            }
        }
    }

    /// Waits until they have stopped, for `limit` at most; false if some have not by then.
    pub(super) fn wait(&self, limit: Duration) -> bool {
        let stopping = |state: &mut State| state.progress == Progress::Stopping;
        let waited = self.0.changed.wait_timeout_while(self.0.state(), limit, stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.progress == Progress::Stopped
    }

    /// Lets them go on. Gives itself back while there is one that has not stopped yet.
    pub(super) fn undo(self) -> Option<Self> {
        let mut state = self.0.state();
        let stopped = std::mem::take(&mut state.stopped);
        self.0.functions.iter().take(stopped).for_each(|function| function.resume());
        if state.progress == Progress::Stopping {
            state.progress = Progress::Unwanted;
        }
        let goes_on = state.progress == Progress::Unwanted;
        drop(state);
        goes_on.then_some(self)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_all(&self) {
        while let Some((at, function)) = self.next() {
            function.pause();
            let mut state = self.state();
            if state.progress == Progress::Unwanted {
                // Under the lock, so that nobody wants it stopped again meanwhile.
                function.resume();
            } else if state.stopped == at {
                // Else all are to be stopped anew, which costs nothing where one has stopped already.
                state.stopped = at + 1;
            }
        }
        self.changed.notify_all();
    }

    /// The next function to stop, and its place; none if that is all.
    fn next(&self) -> Option<(usize, &VirtioPci)> {
        let mut state = self.state();
        if state.progress == Progress::Unwanted {
            state.progress = Progress::Undone;
            return None;
        }
        let next = self.functions.get(state.stopped);
        if next.is_none() {
            state.progress = Progress::Stopped;
        }
        Some((state.stopped, next?.as_ref()))
    }
}
