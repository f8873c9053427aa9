//! Ending the connections of a machine that is on its way, from another thread.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::super::transport::Stream;

/// Ends the connections of a machine that is on its way. Clones end the same.
#[derive(Clone, Debug)]
pub struct Cutter(Arc<Mutex<Connections>>);

/// The same for who is still there when the machine has come: it holds no connection open.
#[derive(Clone, Debug)]
pub(super) struct WeakCutter(Weak<Mutex<Connections>>);

#[derive(Debug)]
struct Connections {
    first: Stream,
    /// The one by which memory comes that follows the machine.
    pages: Option<Stream>,
    is_cut: bool,
}

impl Cutter {
    /// One that ends this connection.
    pub(super) fn new(first: Stream) -> Self {
        Self(Arc::new(Mutex::new(Connections { first, pages: None, is_cut: false })))
    }

    /// The same, which holds no connection open.
    pub(super) fn downgrade(&self) -> WeakCutter {
        WeakCutter(Arc::downgrade(&self.0))
    }

    /// Memory comes by this connection now, which is ended as well.
    pub(super) fn pages_come_by(&self, stream: Stream) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.is_cut {
            stream.cut();
        }
        all.pages = Some(stream);
    }

    /// Ends them, and each one that comes later.
    pub fn cut(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.is_cut = true;
        all.first.cut();
        all.pages.iter().for_each(Stream::cut);
    }
}

impl WeakCutter {
    /// The cutter, unless nobody has it any more.
    pub(super) fn upgrade(&self) -> Option<Cutter> {
        self.0.upgrade().map(Cutter)
    }
}
