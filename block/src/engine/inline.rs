//! The engine without io_uring: everything happens in `push`.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use super::{Done, Event, Op, run};
use crate::target::Target;

#[derive(Debug)]
pub(crate) struct Inline {
    files: Vec<Arc<Target>>,
    ready: VecDeque<Done>,
    pub(super) event: Event,
}

impl Inline {
    pub(super) fn open(files: Vec<Arc<Target>>) -> io::Result<Inline> {
        Ok(Inline { files, ready: VecDeque::new(), event: Event::new()? })
    }

    pub(super) fn push(&mut self, op: &Op, user: u64) {
        let result = run(&self.files, op);
        self.ready.push_back(Done { user, result });
    }

    pub(super) fn flush(&mut self) {
        if !self.ready.is_empty() {
            self.event.signal();
        }
    }

    pub(super) fn next(&mut self) -> Option<Done> {
        self.ready.pop_front()
    }
}
