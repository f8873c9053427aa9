//! A port's receive queue: bytes of the host for the guest.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use vmm_sys_util::epoll::EventSet;

use super::port::{Port, wake};
use super::{ConsoleShared, MULTIPORT};
use crate::virtio::buffers::{Buffers, total, write_at};
use crate::virtio::worker::{KICK, QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Ring, RingError, Taken};

/// Tokens of what is waited on.
const WAKE: u32 = 1;
const LISTENER: u32 = 2;
const SOURCE: u32 = 3;

/// Bytes moved at a time.
const CHUNK: usize = 4096;
/// Steps taken before other queues of the thread have their turn.
const TURN: usize = 64;

pub(super) struct InputQueue {
    ring: Ring,
    shared: Arc<ConsoleShared>,
    index: usize,
    buffers: Buffers,
    source: Option<Source>,
    /// The driver's buffers ran out; its notification is being waited for.
    starving: bool,
    yielded: bool,
}

/// Where bytes come from.
struct Source {
    file: File,
    /// There may be something to read. Descriptors are watched for edges, so that it is remembered here.
    readable: bool,
    /// The other side has gone.
    hung_up: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Starve,
    Idle,
}

impl InputQueue {
    pub(super) fn new(ring: Ring, shared: Arc<ConsoleShared>, index: usize) -> Self {
        let buffers = Buffers::default();
        Self { ring, shared, index, buffers, source: None, starving: false, yielded: false }
    }

    fn port(&self) -> Option<&Port> {
        self.shared.ports.get(self.index)
    }

    fn serve(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        self.starving = false;
        self.yielded = false;
        for _ in 0..TURN {
            match self.step(watch)? {
                Next::Again => {}
                Next::Idle => return self.ring.notify(),
                Next::Starve => {
                    if !self.ring.enable_notification()? {
                        self.starving = true;
                        return self.ring.notify();
                    }
                }
            }
        }
        self.yielded = true;
        yield_turn(&self.ring);
        self.ring.notify()
    }

    fn step(&mut self, watch: &mut Watch<'_, '_>) -> Result<Next, RingError> {
        let Some(source) = &self.source else { return Ok(self.accept(watch)) };
        if !self.guest_listens() {
            if !source.hung_up || self.port().is_none_or(Port::is_always_open) {
                return Ok(Next::Idle);
            }
            self.disconnect(watch);
            return Ok(Next::Again);
        }
        if !source.readable {
            return Ok(Next::Idle);
        }
        let Some(Taken { head, form }) = self.ring.take(&mut self.buffers)? else { return Ok(Next::Starve) };
        if form.is_err() || total(&self.buffers.writable) == 0 {
            self.shared.counters.malformed.bump();
            self.ring.push_used(head, 0)?;
            return Ok(Next::Again);
        }
        self.read(head, watch)
    }

    /// Whether bytes may be given to the guest: without several ports there is nobody to say so.
    fn guest_listens(&self) -> bool {
        self.ring.features() & MULTIPORT == 0 || self.port().is_some_and(Port::is_open_in_guest)
    }

    /// Moves bytes from the source to the chain loaded last.
    fn read(&mut self, head: u16, watch: &mut Watch<'_, '_>) -> Result<Next, RingError> {
        let Some(source) = &mut self.source else { return Ok(Next::Again) };
        let mut chunk = [0; CHUNK];
        let room = usize::try_from(total(&self.buffers.writable)).unwrap_or(CHUNK).min(CHUNK);
        match source.file.read(chunk.get_mut(..room).unwrap_or_default()) {
            Ok(count @ 1..) => {
                let bytes = chunk.get(..count).unwrap_or_default();
                let written = write_at(self.ring.mem(), &self.buffers.writable, 0, bytes).is_ok();
                if written {
                    self.shared.counters.to_guest.add(count as u64);
                } else {
                    self.shared.counters.malformed.bump();
                }
                let count = if written { u32::try_from(count).unwrap_or(0) } else { 0 };
                self.ring.push_used(head, count)?;
                return Ok(Next::Again);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => source.readable = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => self.disconnect(watch),
        }
        self.ring.put_back();
        Ok(Next::Again)
    }

    /// Lets the next client in.
    fn accept(&mut self, watch: &mut Watch<'_, '_>) -> Next {
        let Some(file) = self.port().and_then(Port::accept) else { return Next::Idle };
        self.adopt(file, watch);
        self.announce(true);
        Next::Again
    }

    fn adopt(&mut self, file: File, watch: &mut Watch<'_, '_>) {
        let events = EventSet::IN | EventSet::READ_HANG_UP | EventSet::EDGE_TRIGGERED;
        // What cannot be waited on, such as a regular file, never lets a reader wait either.
        let _ = watch.add(file.as_raw_fd(), SOURCE, events);
        self.source = Some(Source { file, readable: true, hung_up: false });
    }

    fn disconnect(&mut self, watch: &mut Watch<'_, '_>) {
        if let Some(source) = self.source.take() {
            watch.remove(source.file.as_raw_fd());
        }
        if self.port().is_some_and(|port| !port.is_always_open()) {
            self.port().inspect(|port| port.disconnect());
            self.announce(false);
        }
    }

    /// Tells the output queue and the driver that the client has come or gone.
    fn announce(&self, open: bool) {
        self.port().inspect(|port| wake(&port.output_wake));
        self.shared.host_open(self.index, open);
    }
}

impl QueueHandler for InputQueue {
    const NAME: &'static str = "virtio-console input queue";

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        let shared = Arc::clone(&self.shared);
        let Some(port) = shared.ports.get(self.index) else { return Ok(()) };
        let edges = EventSet::IN | EventSet::EDGE_TRIGGERED;
        let watched = watch.add(port.input_wake.as_raw_fd(), WAKE, edges)
            && port.listener().is_none_or(|listener| watch.add(listener, LISTENER, edges));
        if !watched {
            return Err(RingError::Unwatched);
        }
        if let Some(file) = port.source() {
            self.adopt(file, watch);
        }
        self.serve(watch)
    }

    fn wake(&mut self, ready: Ready, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        if ready.token == KICK && !self.starving && !self.yielded {
            return Ok(());
        }
        if let (SOURCE, Some(source)) = (ready.token, &mut self.source) {
            source.readable = true;
            source.hung_up |=
                ready.events.intersects(EventSet::READ_HANG_UP | EventSet::HANG_UP | EventSet::ERROR);
        }
        self.serve(watch)
    }
}
