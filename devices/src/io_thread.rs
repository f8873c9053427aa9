//! Threads that move data between queues and backends.
//!
//! A device hands each of its queues to an I/O thread as a [`Worker`] and gets the worker back when the queue stops.
//! The worker owns everything it needs, so nothing is locked on the data path.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use event_manager::{EventManager, MutEventSubscriber, RemoteEndpoint, SubscriberId};
use virtio_queue::QueueState;

/// One running queue: reacts to its events on the I/O thread until it is stopped.
pub trait Worker: MutEventSubscriber + Send {
    /// Ends all work in flight and gives back where the queue stands. Called on the I/O thread, after the
    /// worker's events were taken off it.
    fn stop(self: Box<Self>) -> QueueState;
}

type Loop = EventManager<Box<dyn Worker>>;

/// Why an I/O thread could not be started or did not take a worker.
#[derive(Debug, thiserror::Error)]
pub enum IoThreadError {
    /// epoll or its wake-up descriptor failed.
    #[error("the event loop of an I/O thread failed: {0}")]
    Events(#[from] event_manager::Error),
    /// The thread itself could not be started.
    #[error("an I/O thread could not be started")]
    Spawn(#[source] io::Error),
}

/// A running I/O thread; dropping it ends the thread.
#[derive(Debug)]
pub struct IoThread {
    handle: IoHandle,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl IoThread {
    /// Starts a thread called `name` (15 bytes are visible to the host) that first calls `prepare` (signal masks,
    /// confinement) and then serves workers.
    pub fn spawn(name: &str, prepare: impl FnOnce() + Send + 'static) -> Result<Self, IoThreadError> {
        let mut events = Loop::new_with_capacity(64)?;
        let handle = IoHandle(events.remote_endpoint());
        let ending = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&ending);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(256 << 10)
            .spawn(move || {
                prepare();
                while !seen.load(Ordering::Acquire) {
                    if let Err(error) = events.run() {
                        crate::say!("kubevmm: I/O thread: waiting for events failed: {error}");
                        break;
                    }
                }
            })
            .map_err(IoThreadError::Spawn)?;
        Ok(Self { handle, ending, thread: Some(thread) })
    }

    /// A handle for devices.
    pub fn handle(&self) -> IoHandle {
        self.handle.clone()
    }
}

impl Drop for IoThread {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        if self.handle.0.kick().is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

/// Puts workers on an I/O thread.
#[derive(Clone)]
pub struct IoHandle(RemoteEndpoint<Box<dyn Worker>>);

impl std::fmt::Debug for IoHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IoHandle")
    }
}

impl IoHandle {
    /// Lets the thread serve `worker` until the returned handle is stopped. It is not waited for: a worker may find work at once, in memory
    /// of a guest that is not here yet, and whoever starts it is the one who hears that it never comes.
    pub fn start(&self, worker: Box<dyn Worker>) -> Result<RunningWorker, IoThreadError> {
        let id = Arc::new(OnceLock::new());
        let of_thread = Arc::clone(&id);
        self.0.fire(move |events| {
            // It is set here alone.
            let _ = of_thread.set(events.add_subscriber(worker));
        })?;
        Ok(RunningWorker { thread: self.clone(), id })
    }
}

/// A worker on its thread.
#[derive(Debug)]
pub struct RunningWorker {
    thread: IoHandle,
    /// Set as soon as the thread has it.
    id: Arc<OnceLock<SubscriberId>>,
}

impl RunningWorker {
    /// Takes the worker off its thread and gives back where its queue stands. Waits until the thread has done so, which a worker must not.
    pub fn stop(self) -> Result<QueueState, IoThreadError> {
        let id = self.id;
        self.thread.0.call_blocking(move |events| {
            // What was asked for first is done first.
            let id = id.get().ok_or(event_manager::Error::InvalidId)?;
            Ok(events.remove_subscriber(*id)?.stop())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use event_manager::{EventOps, Events};
    use vmm_sys_util::epoll::EventSet;
    use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

    use super::*;

    struct Counter {
        kick: EventFd,
        seen: mpsc::Sender<u64>,
        total: u16,
    }

    impl MutEventSubscriber for Counter {
        fn init(&mut self, ops: &mut EventOps) {
            ops.add(Events::new(&self.kick, EventSet::IN)).unwrap();
        }
        fn process(&mut self, _events: Events, _ops: &mut EventOps) {
            let count = self.kick.read().unwrap();
            self.total += u16::try_from(count).unwrap();
            self.seen.send(count).unwrap();
        }
    }

    impl Worker for Counter {
        fn stop(self: Box<Self>) -> QueueState {
            QueueState { next_avail: self.total, ..QueueState::default() }
        }
    }

    #[test]
    fn a_worker_runs_until_it_is_stopped_and_gives_its_state_back() {
        let thread = IoThread::spawn("test-io", || ()).unwrap();
        let kick = EventFd::new(EFD_NONBLOCK).unwrap();
        let (seen, events) = mpsc::channel();
        let worker = Counter { kick: kick.try_clone().unwrap(), seen, total: 0 };
        let running = thread.handle().start(Box::new(worker)).unwrap();
        kick.write(3).unwrap();
        assert_eq!(events.recv().unwrap(), 3);
        assert_eq!(running.stop().unwrap().next_avail, 3);
        kick.write(1).unwrap();
        assert!(events.recv().is_err(), "a stopped worker sees nothing more");
    }

    /// A worker that finds work at once, in memory that is not there.
    struct Waiting {
        begun: mpsc::Sender<()>,
        memory: mpsc::Receiver<()>,
    }

    impl MutEventSubscriber for Waiting {
        fn init(&mut self, _ops: &mut EventOps) {
            self.begun.send(()).unwrap();
            let _ = self.memory.recv();
        }
        fn process(&mut self, _events: Events, _ops: &mut EventOps) {}
    }

    impl Worker for Waiting {
        fn stop(self: Box<Self>) -> QueueState {
            QueueState { next_avail: 7, ..QueueState::default() }
        }
    }

    #[test]
    fn whoever_starts_a_worker_does_not_wait_for_what_it_waits_for() {
        let thread = IoThread::spawn("test-io", || ()).unwrap();
        let ((begun, has_begun), (comes, memory)) = (mpsc::channel(), mpsc::channel());
        let first = thread.handle().start(Box::new(Waiting { begun, memory })).unwrap();
        has_begun.recv().unwrap();
        let (seen, _events) = mpsc::channel();
        let kick = EventFd::new(EFD_NONBLOCK).unwrap();
        let second = thread.handle().start(Box::new(Counter { kick, seen, total: 5 })).unwrap();
        comes.send(()).unwrap();
        assert_eq!(first.stop().unwrap().next_avail, 7);
        assert_eq!(second.stop().unwrap().next_avail, 5);
    }
}
