//! Connections that have not said yet what they are for.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Stream;

/// Most of them at once.
const MOST: usize = 8;
/// Most threads that look at them: those that were cut take a moment to go.
const MOST_THREADS: usize = 2 * MOST;

/// Those who call. Whoever comes when there are too many has the one go that has been there for longest: somebody who says
/// nothing does not keep others out.
#[derive(Clone, Debug, Default)]
pub struct Callers(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    heard: VecDeque<(u64, Stream)>,
    threads: usize,
}

/// One of them, until it is dropped.
#[derive(Debug)]
pub struct Place {
    callers: Callers,
    number: u64,
}

impl Callers {
    /// Takes a connection in; `stream` ends it. `None` if there are too many.
    pub fn enter(&self, stream: Stream) -> Option<Place> {
        let mut state = self.state();
        if state.threads >= MOST_THREADS {
            return None;
        }
        if state.heard.len() >= MOST
            && let Some((_, oldest)) = state.heard.pop_front()
        {
            oldest.cut();
        }
        let number = state.next;
        state.next += 1;
        state.threads += 1;
        state.heard.push_back((number, stream));
        drop(state);
        Some(Place { callers: self.clone(), number })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.callers.state();
        state.heard.retain(|(number, _)| *number != self.number);
        state.threads -= 1;
    }
}
