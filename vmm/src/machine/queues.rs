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

/// A function whose queues can be stopped.
pub(super) trait Stop: Send + Sync + 'static {
    /// Stops its queues; waits for their work in flight, however long that takes.
    fn stop(&self);
    /// Starts those again that it stopped.
    fn go_on(&self);
}

impl Stop for VirtioPci {
    fn stop(&self) {
        self.pause();
    }

    fn go_on(&self) {
        self.resume();
    }
}

/// Queues that are being stopped by a thread of their own.
pub(super) struct QueueStop<F = VirtioPci>(Arc<Shared<F>>);

struct Shared<F> {
    functions: Vec<Arc<F>>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    progress: Progress,
    /// So many functions have stopped, from the first on.
    stopped: usize,
}

impl<F: Stop> QueueStop<F> {
    /// Has all queues stop.
    pub(super) fn begin(functions: Vec<Arc<F>>) -> io::Result<Self> {
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

    /// Queues that have all been stopped already.
    pub(super) fn stopped(functions: Vec<Arc<F>>) -> Self {
        let state = State { progress: Progress::Stopped, stopped: functions.len() };
        Self(Arc::new(Shared { functions, state: Mutex::new(state), changed: Condvar::new() }))
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
        self.0.functions.iter().take(stopped).for_each(|function| function.go_on());
        if state.progress == Progress::Stopping {
            state.progress = Progress::Unwanted;
        }
        let goes_on = state.progress == Progress::Unwanted;
        drop(state);
        goes_on.then_some(self)
    }
}

impl<F: Stop> Shared<F> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stop_all(&self) {
        while let Some((at, function)) = self.next() {
            function.stop();
            let mut state = self.state();
            if state.progress == Progress::Unwanted {
                // Under the lock, so that nobody wants it stopped again meanwhile.
                function.go_on();
            } else if state.stopped == at {
                // Else all are to be stopped anew, which costs nothing where one has stopped already.
                state.stopped = at + 1;
            }
        }
        self.changed.notify_all();
    }

    /// The next function to stop, and its place; none if that is all.
    fn next(&self) -> Option<(usize, &F)> {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(60);

    /// A function that hangs until it is let go.
    #[derive(Default)]
    struct Fake {
        hangs: Mutex<bool>,
        changed: Condvar,
        stopped: Mutex<bool>,
        stops: AtomicU32,
    }

    impl Fake {
        fn let_go(&self) {
            *self.hangs.lock().unwrap() = false;
            self.changed.notify_all();
        }

        fn is_stopped(&self) -> bool {
            *self.stopped.lock().unwrap()
        }
    }

    impl Stop for Fake {
        fn stop(&self) {
            self.stops.fetch_add(1, Ordering::SeqCst);
            drop(self.changed.wait_while(self.hangs.lock().unwrap(), |hangs| *hangs).unwrap());
            *self.stopped.lock().unwrap() = true;
        }

        fn go_on(&self) {
            *self.stopped.lock().unwrap() = false;
        }
    }

    fn fakes(hanging: Option<usize>) -> Vec<Arc<Fake>> {
        let make = |at| Arc::new(Fake { hangs: Mutex::new(Some(at) == hanging), ..Fake::default() });
        (0..3).map(make).collect()
    }

    fn stopped(all: &[Arc<Fake>]) -> Vec<bool> {
        all.iter().map(|fake| fake.is_stopped()).collect()
    }

    fn wait_until(what: impl Fn() -> bool) {
        for _ in 0..6000 {
            if what() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it did not come so");
    }

    #[test]
    fn all_stop_and_go_on() {
        let all = fakes(None);
        let stop = QueueStop::begin(all.clone()).unwrap();
        assert!(stop.wait(LONG));
        assert_eq!(stopped(&all), [true; 3]);
        assert!(stop.undo().is_none());
        assert_eq!(stopped(&all), [false; 3]);
    }

    #[test]
    fn those_that_were_stopped_before_go_on() {
        let all = fakes(None);
        all.iter().for_each(|fake| fake.stop());
        let stop = QueueStop::stopped(all.clone());
        assert!(stop.wait(Duration::ZERO));
        assert!(stop.undo().is_none());
        assert_eq!(stopped(&all), [false; 3]);
    }

    #[test]
    fn one_that_hangs_keeps_the_others_from_nothing() {
        let all = fakes(Some(1));
        let stop = QueueStop::begin(all.clone()).unwrap();
        assert!(!stop.wait(SHORT));
        let stop = stop.undo().unwrap();
        assert!(!all[0].is_stopped(), "the first one goes on at once");
        all[1].let_go();
        wait_until(|| stop.0.state().progress == Progress::Undone);
        assert_eq!(stopped(&all), [false; 3]);
        assert_eq!(all[2].stops.load(Ordering::SeqCst), 0);
        let stop = stop.again().unwrap();
        assert!(stop.wait(LONG));
        assert_eq!(stopped(&all), [true; 3]);
    }

    #[test]
    fn a_stop_that_is_wanted_again_while_one_hangs_stops_all() {
        let all = fakes(Some(1));
        let stop = QueueStop::begin(all.clone()).unwrap();
        wait_until(|| all[1].stops.load(Ordering::SeqCst) == 1);
        let stop = stop.undo().unwrap().again().unwrap();
        assert!(!stop.wait(SHORT));
        all[1].let_go();
        assert!(stop.wait(LONG));
        assert_eq!(stopped(&all), [true; 3]);
        assert!(stop.undo().is_none());
        assert_eq!(stopped(&all), [false; 3]);
    }
}
