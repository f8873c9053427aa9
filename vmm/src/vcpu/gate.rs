//! The gate that all vCPU threads pass before they enter the guest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kvm_ioctls::VcpuFd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Closed,
    Open,
    Ended,
}

/// Something that each vCPU's thread does for others while it waits at the gate; it gets the vCPU and its number.
pub type Errand = Arc<dyn Fn(u32, &VcpuFd) + Send + Sync>;

/// Holds vCPU threads back while the machine is being built or paused, and sends them home at the end.
#[derive(Debug)]
pub struct Gate {
    open: AtomicBool,
    /// Ticks of the time stamp counter that the guest is not to see, all pauses together.
    hidden: AtomicU64,
    /// Microseconds that a vCPU rests each time it is kicked.
    rest: AtomicU64,
    state: Mutex<State>,
    /// For those who stand at the gate: it opens, or there is an errand.
    called: Condvar,
    /// For those who wait for them: one came, has done the errand, or is gone.
    came: Condvar,
}

struct State {
    phase: Phase,
    waiting: usize,
    /// Threads that will never come.
    gone: usize,
    /// What the waiting threads are to do.
    errand: Option<Errand>,
    /// Number of the errand, so that each thread does it once.
    errands: u64,
    /// Threads that have done it.
    done: usize,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("phase", &self.phase)
            .field("waiting", &self.waiting)
            .finish_non_exhaustive()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self {
            open: AtomicBool::new(false),
            hidden: AtomicU64::new(0),
            rest: AtomicU64::new(0),
            state: Mutex::new(State {
                phase: Phase::Closed,
                waiting: 0,
                gone: 0,
                errand: None,
                errands: 0,
                done: 0,
            }),
            called: Condvar::new(),
            came: Condvar::new(),
        }
    }

    /// Waits while the gate is closed, and does the errands that come by `serve`; false if the thread is to end.
    pub fn pass(&self, mut serve: impl FnMut(&Errand)) -> bool {
        if self.open.load(Ordering::Acquire) {
            return true;
        }
        let mut state = self.state();
        // An errand that is under way is for those who were here before.
        let mut seen = state.errands;
        state.waiting += 1;
        self.came.notify_all();
        while state.phase == Phase::Closed {
            let errand = state.errand.clone().filter(|_| state.errands != seen);
            seen = state.errands;
            state = match errand {
                Some(errand) => {
                    drop(state);
                    serve(&errand);
                    let mut state = self.state();
                    state.done += usize::from(state.errands == seen);
                    self.came.notify_all();
                    state
                }
                None => self.called.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        state.waiting -= 1;
        state.phase == Phase::Open
    }

    /// Has all threads that wait at the closed gate do an errand, for `limit` at most. False if fewer than `count`
    /// have done it by then.
    pub fn send(&self, count: usize, errand: Errand, limit: Duration) -> bool {
        let mut state = self.state();
        if state.phase != Phase::Closed || state.waiting < count {
            return false;
        }
        state.errand = Some(errand);
        state.errands += 1;
        state.done = 0;
        self.called.notify_all();
        let left = |state: &mut State| state.done < count;
        let waited = self.came.wait_timeout_while(state, limit, left);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.errand = None;
        state.done >= count
    }

    /// Hides so many more ticks from the guest, to be called before the gate opens again.
    pub fn hide(&self, ticks: u64) {
        self.hidden.fetch_add(ticks, Ordering::AcqRel);
    }

    /// Ticks that are hidden from the guest. Each vCPU's thread has to see to its own counter.
    pub fn hidden(&self) -> u64 {
        self.hidden.load(Ordering::Acquire)
    }

    /// Has vCPUs rest for so long each time they are kicked.
    pub fn set_rest(&self, rest: Duration) {
        self.rest.store(u64::try_from(rest.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How long a vCPU that was kicked rests.
    pub fn rest(&self) -> Duration {
        Duration::from_micros(self.rest.load(Ordering::Relaxed))
    }

    /// Lets threads pass.
    pub fn open(&self) {
        self.set(Phase::Open);
    }

    /// Holds threads back that come from now on; threads inside the guest have to be kicked.
    pub fn close(&self) {
        self.set(Phase::Closed);
    }

    /// Sends all threads home.
    pub fn end(&self) {
        self.set(Phase::Ended);
    }

    /// Notes that one thread will never come.
    pub fn leave(&self) {
        self.state().gone += 1;
        self.came.notify_all();
    }

    /// Waits until `count` threads stand at the closed gate or will never come.
    pub fn wait_for(&self, count: usize) {
        let mut state = self.state();
        while state.phase == Phase::Closed && state.waiting + state.gone < count {
            state = self.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The same for `limit` at most; false if some had not come by then.
    pub fn wait_for_at_most(&self, count: usize, limit: Duration) -> bool {
        let late = |state: &mut State| state.phase == Phase::Closed && state.waiting + state.gone < count;
        let waited = self.came.wait_timeout_while(self.state(), limit, late);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    /// Waits until `count` threads have left for good, for `limit` at most; false if some had not by then.
    pub fn wait_until_gone(&self, count: usize, limit: Duration) -> bool {
        let waited = self.came.wait_timeout_while(self.state(), limit, |state| state.gone < count);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn set(&self, phase: Phase) {
        let mut state = self.state();
        if state.phase != Phase::Ended {
            state.phase = phase;
            self.open.store(phase == Phase::Open, Ordering::Release);
        }
        self.called.notify_all();
        self.came.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn threads_wait_pass_and_end() {
        let gate = Arc::new(Gate::new());
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let gate = Arc::clone(&gate);
                thread::spawn(move || {
                    let mut rounds = 0u32;
                    while gate.pass(|_| ()) {
                        rounds += 1;
                        thread::yield_now();
                    }
                    rounds
                })
            })
            .collect();
        gate.wait_for(3);
        assert!(gate.wait_for_at_most(3, Duration::ZERO));
        assert!(!gate.wait_for_at_most(4, Duration::from_millis(20)));
        gate.open();
        assert!(gate.pass(|_| ()));
        gate.close();
        gate.leave();
        assert!(
            gate.wait_until_gone(1, Duration::ZERO) && !gate.wait_until_gone(2, Duration::from_millis(20))
        );
        gate.wait_for(4);
        gate.end();
        gate.open();
        assert!(!gate.pass(|_| ()), "the end is final");
        for thread in threads {
            thread.join().unwrap();
        }
    }
}
