//! A port's transmit queue: bytes of the guest for the host.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use vmm_sys_util::epoll::EventSet;

use super::ConsoleShared;
use super::port::Port;
use crate::virtio::buffers::{Buffers, read_at, total};
use crate::virtio::worker::{KICK, QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Ring, RingError, Taken};

/// Tokens of what is waited on.
const WAKE: u32 = 1;
const SINK: u32 = 2;

/// Bytes moved at a time.
const CHUNK: usize = 4096;
/// Chunks and chains moved before other queues of the thread have their turn.
const TURN: usize = 64;

pub(super) struct OutputQueue {
    ring: Ring,
    shared: Arc<ConsoleShared>,
    index: usize,
    buffers: Buffers,
    sink: Option<File>,
    /// Bytes of the oldest chain that the sink has already.
    skip: u64,
    /// The sink has no room; it is being waited for.
    blocked: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Block,
    Idle,
}

/// What became of a chain.
enum Moved {
    All,
    Part,
    Blocked,
}

impl OutputQueue {
    pub(super) fn new(ring: Ring, shared: Arc<ConsoleShared>, index: usize) -> Self {
        let skip = shared.ports.get(index).map_or(0, |port| port.output_skip.swap(0, Ordering::AcqRel));
        let buffers = Buffers::default();
        Self { ring, shared, index, buffers, sink: None, skip: u64::from(skip), blocked: false }
    }

    fn serve(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        for _ in 0..TURN {
            match self.step()? {
                Next::Again => {}
                Next::Block => {
                    self.ring.notify()?;
                    return self.wait_for_room(watch);
                }
                Next::Idle => {
                    self.ring.notify()?;
                    if !self.ring.enable_notification()? {
                        return Ok(());
                    }
                }
            }
        }
        yield_turn(&self.ring);
        self.ring.notify()
    }

    /// Moves a chunk of the oldest chain.
    fn step(&mut self) -> Result<Next, RingError> {
        let Some(Taken { head, form }) = self.ring.take(&mut self.buffers)? else { return Ok(Next::Idle) };
        if form.is_err() || self.buffers.readable.is_empty() {
            self.shared.counters.malformed.bump();
            return self.finish(head);
        }
        match self.write() {
            Moved::All => self.finish(head),
            Moved::Part => {
                self.ring.put_back();
                Ok(Next::Again)
            }
            Moved::Blocked => {
                self.ring.put_back();
                Ok(Next::Block)
            }
        }
    }

    /// Returns a chain to the driver.
    fn finish(&mut self, head: u16) -> Result<Next, RingError> {
        self.skip = 0;
        self.ring.push_used(head, 0)?;
        Ok(Next::Again)
    }

    fn write(&mut self) -> Moved {
        let left = total(&self.buffers.readable).saturating_sub(self.skip);
        let Some(sink) = &mut self.sink else {
            self.shared.counters.discarded.add(left);
            return Moved::All;
        };
        let mut chunk = [0; CHUNK];
        let count = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let chunk = chunk.get_mut(..count).unwrap_or_default();
        if read_at(self.ring.mem(), &self.buffers.readable, self.skip, chunk).is_err() {
            self.shared.counters.malformed.bump();
            return Moved::All;
        }
        match sink.write(chunk) {
            Ok(count @ 1..) => {
                let count = count as u64;
                self.shared.counters.to_host.add(count);
                self.skip = self.skip.saturating_add(count);
                if count == left { Moved::All } else { Moved::Part }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Moved::Blocked,
            Err(error) if error.kind() == ErrorKind::Interrupted => Moved::Part,
            // Nobody is there any more. A listener's client is seen off by the input queue.
            Ok(0) | Err(_) => {
                self.sink = None;
                Moved::Part
            }
        }
    }

    fn wait_for_room(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        let Some(sink) = &self.sink else { return Ok(()) };
        self.blocked = true;
        if watch.add(sink.as_raw_fd(), SINK, EventSet::OUT) { Ok(()) } else { Err(RingError::Unwatched) }
    }

    /// A client has come or gone: a chain of which the last one got a part is not for the next one.
    fn change_sink(&mut self) -> Result<(), RingError> {
        self.sink = self.shared.ports.get(self.index).and_then(Port::sink);
        if self.skip > 0
            && let Some(Taken { head, .. }) = self.ring.take(&mut self.buffers)?
        {
            self.finish(head)?;
        }
        Ok(())
    }
}

impl QueueHandler for OutputQueue {
    const NAME: &'static str = "virtio-console output queue";

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        let shared = Arc::clone(&self.shared);
        let Some(port) = shared.ports.get(self.index) else { return Ok(()) };
        // Old wake-ups are for old clients.
        let _ = port.output_wake.read();
        self.sink = port.sink();
        let edges = EventSet::IN | EventSet::EDGE_TRIGGERED;
        if !watch.add(port.output_wake.as_raw_fd(), WAKE, edges) {
            return Err(RingError::Unwatched);
        }
        self.serve(watch)
    }

    fn wake(&mut self, ready: Ready, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        if ready.token == KICK && self.blocked {
            return Ok(());
        }
        if std::mem::take(&mut self.blocked)
            && let Some(sink) = &self.sink
        {
            watch.remove(sink.as_raw_fd());
        }
        if ready.token == WAKE {
            self.change_sink()?;
        }
        self.serve(watch)
    }

    fn end(&mut self) {
        if let Some(port) = self.shared.ports.get(self.index) {
            port.output_skip.store(u32::try_from(self.skip).unwrap_or(0), Ordering::Release);
        }
    }
}
