//! Has the host write what it holds of disks while their machine is copied, so that little is left to do when it stands and the other
//! side waits: a guest may have written for hours what no one has asked to be durable.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use block::{Disk, MarkedDisk};

/// How long after it was done once.
const PAUSE: Duration = Duration::from_secs(5);

/// Writes back once.
pub(super) fn write_back(images: &[Arc<MarkedDisk>]) {
    for image in images.iter().filter(|image| !image.info().read_only) {
        // What cannot be written is told when the guest stands.
        let _ = image.sync();
    }
}

/// Writes back from time to time. It is over, and nothing is on its way any more, when this is dropped.
#[derive(Debug)]
pub(super) struct WritingBack {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WritingBack {
    /// Begins with these disks. A host without a thread for it has all of that left until the guest stands.
    pub(super) fn begin(images: Vec<Arc<MarkedDisk>>) -> Self {
        Self::every(PAUSE, move || write_back(&images))
    }

    fn every(pause: Duration, work: impl Fn() + Send + 'static) -> Self {
        let (end, ended) = mpsc::channel::<()>();
        let run = move || {
            while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                work();
            }
        };
        let thread = thread::Builder::new().name("write-back".into()).stack_size(128 << 10).spawn(run).ok();
        Self { end: Some(end), thread }
    }
}

impl Drop for WritingBack {
    fn drop(&mut self) {
        self.end = None;
        // One that has panicked writes nothing either.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn it_goes_on_until_it_is_ended_and_no_longer() {
        let times = Arc::new(AtomicU32::new(0));
        let count = {
            let times = Arc::clone(&times);
            move || {
                times.fetch_add(1, Ordering::SeqCst);
            }
        };
        let writing = WritingBack::every(Duration::from_millis(1), count);
        while times.load(Ordering::SeqCst) < 3 {
            thread::sleep(Duration::from_millis(1));
        }
        drop(writing);
        assert_eq!(Arc::strong_count(&times), 1, "its thread is gone");
    }
}
