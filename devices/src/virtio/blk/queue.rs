//! One queue of a disk's device.

mod hold;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::eventfd::EventFd;

use super::failure::{DiskFault, Verdict};
use super::guest_disk::{Direction, GuestDisk};
use super::request::{Command, Status, parse, status_address, written_data};
use super::{BlkShared, config};
use crate::virtio::buffers::{BadChain, Buffers, write_at};
use crate::virtio::limit::Brake;
use crate::virtio::worker::{QueueHandler, Ready, Watch, yield_turn};
use crate::virtio::{Ring, RingError, Taken};

/// Token of the disk's completions.
const COMPLETIONS: u32 = 1;
/// Token of what has requests tried again that were held back.
const RETRY: u32 = 2;
/// Token of the timer that ends a wait for the disk's rate limit.
const LIMIT: u32 = 3;
/// Length of a serial number (virtio 1.3 §5.2.6).
const ID_LEN: usize = 20;

/// A request that the disk works on.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    status: GuestAddress,
    command: Command,
    /// The write itself is done; its flush is under way.
    flushing: bool,
    /// When the disk took it.
    since: Instant,
}

/// Where a command has got to.
enum Submitted {
    /// The disk works on it.
    InFlight(Command),
    /// It needed no disk.
    Done { filled: u64 },
}

pub(super) struct BlkQueue {
    index: u16,
    ring: Ring,
    disk: GuestDisk,
    shared: Arc<BlkShared>,
    buffers: Buffers,
    /// Requests by the head of their chain. Drivers use low heads first, so that the table grows no larger than
    /// the number of requests that are in flight together.
    in_flight: Vec<Option<InFlight>>,
    /// Descriptors of the queue.
    size: u16,
    /// Chains finished and not yet returned.
    done: Vec<(u16, u32)>,
    /// Heads of chains that the host failed, and that are to be tried again.
    held: Vec<u16>,
    /// What has to be told of them.
    faults: Vec<DiskFault>,
    /// Says when; made when the first request is held back.
    retry: Option<EventFd>,
    /// Somebody knows that this queue waits for it.
    waits: bool,
    /// Waits for the rate limit, if there is one.
    brake: Brake,
    /// The driver cannot flush, so that completed writes have to be durable.
    driver_cannot_flush: bool,
}

impl BlkQueue {
    pub(super) fn new(
        index: u16,
        ring: Ring,
        queue: Box<dyn block::DiskQueue>,
        shared: Arc<BlkShared>,
    ) -> Self {
        let size = ring.state().size;
        let driver_cannot_flush = ring.features() & (config::FLUSH | config::CONFIG_WCE) == 0;
        let disk = GuestDisk::new(queue, ring.mem().clone());
        let buffers = Buffers::default();
        let (in_flight, done) = (Vec::new(), Vec::new());
        Self {
            index,
            ring,
            disk,
            shared,
            buffers,
            in_flight,
            size,
            done,
            held: Vec::new(),
            faults: Vec::new(),
            retry: None,
            waits: false,
            brake: Brake::default(),
            driver_cannot_flush,
        }
    }

    /// Takes what is available, hands it to the disk in one go, and returns what is done.
    fn serve(&mut self) -> Result<(), RingError> {
        self.ring.disable_notification()?;
        let mut taken = 0;
        loop {
            let mut limited = self.has_to_wait();
            while taken < self.size
                && !limited
                && let Some(chain) = self.ring.take(&mut self.buffers)?
            {
                taken += 1;
                self.accept(chain)?;
                limited = self.has_to_wait();
            }
            self.disk.push();
            self.reap();
            self.ring.give_back(&mut self.done)?;
            if limited {
                return Ok(());
            }
            if taken == self.size {
                yield_turn(&self.ring);
                return Ok(());
            }
            if !self.ring.enable_notification()? {
                return Ok(());
            }
        }
    }

    /// Whether the rate limit has nothing left now; then the timer is set.
    fn has_to_wait(&mut self) -> bool {
        self.brake.holds(&self.shared.buckets)
    }

    fn accept(&mut self, Taken { head, form }: Taken) -> Result<(), RingError> {
        if head >= self.size {
            return Err(virtio_queue::Error::InvalidDescriptorIndex.into());
        }
        if let Some(Some(_)) = self.in_flight.get(usize::from(head)) {
            return Err(RingError::Reused(head));
        }
        match form.and_then(|()| status_address(&self.buffers)) {
            Ok(status) => self.carry_out(head, status),
            Err(_) => {
                self.shared.counters.malformed.bump();
                self.done.push((head, 0));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, head: u16, status: GuestAddress) {
        match parse(self.disk.mem(), &self.buffers).and_then(|command| self.submit(head, command)) {
            Ok(Submitted::InFlight(command)) => {
                self.shared.counters.submitted.bump();
                self.keep(head, InFlight { status, command, flushing: false, since: Instant::now() });
            }
            Ok(Submitted::Done { filled }) => self.answer(head, status, Status::Ok, filled),
            Err(refused) => {
                self.shared.counters.errors.bump();
                self.answer(head, status, refused, 0);
            }
        }
    }

    fn keep(&mut self, head: u16, request: InFlight) {
        let index = usize::from(head);
        if self.in_flight.len() <= index {
            self.in_flight.resize(index + 1, None);
        }
        if let Some(slot) = self.in_flight.get_mut(index) {
            *slot = Some(request);
        }
    }

    /// Hands a command to the disk, if it needs it.
    fn submit(&mut self, head: u16, command: Command) -> Result<Submitted, Status> {
        let token = u64::from(head);
        let limits = self.shared.limits(&command)?;
        self.shared.buckets.charge(match command {
            Command::Read { len, .. } | Command::Write { len, .. } => len,
            _ => 0,
        });
        let submitted = match command {
            Command::Read { offset, len } => {
                let segments = self.buffers.writable.iter().copied();
                self.disk.transfer(Direction::Read, offset, len, segments, token)
            }
            Command::Write { offset, len } => {
                self.disk.transfer(Direction::Write, offset, len, written_data(&self.buffers), token)
            }
            Command::Flush => self.disk.flush(token),
            Command::GetId { room } => {
                let filled = self.identify(room).map_err(|_| Status::IoError)?;
                return Ok(Submitted::Done { filled });
            }
            Command::Discard { offset, len } if len <= limits => self.disk.discard(offset, len, token),
            Command::WriteZeroes { offset, len, unmap } if len <= limits => {
                self.disk.zero(offset, len, unmap, token)
            }
            Command::Discard { .. } | Command::WriteZeroes { .. } => return Err(Status::IoError),
        };
        submitted.map(|()| Submitted::InFlight(command)).map_err(|_| Status::IoError)
    }

    /// Writes as much of the serial number as there is room for.
    fn identify(&self, room: u64) -> Result<u64, BadChain> {
        let mut id = [0; ID_LEN];
        for (to, from) in id.iter_mut().zip(self.shared.config.serial.bytes()) {
            *to = from;
        }
        let room = usize::try_from(room).unwrap_or(ID_LEN).min(ID_LEN);
        let id = id.get(..room).unwrap_or_default();
        write_at(self.disk.mem(), &self.buffers.writable, 0, id)?;
        Ok(id.len() as u64)
    }

    /// Takes all completions that there are.
    fn reap(&mut self) {
        let mut submitted = false;
        while let Some(completion) = self.disk.next_completion() {
            let Ok(head) = u16::try_from(completion.token) else { continue };
            let Some(slot) = self.in_flight.get_mut(usize::from(head)) else { continue };
            let Some(request) = slot.take() else { continue };
            self.shared.counters.settled.bump();
            let mut ok = match &completion.result {
                Ok(_) => true,
                Err(error) => match self.shared.config.error_policy.judge(&request.command, error) {
                    Verdict::Report => false,
                    Verdict::Ignore => true,
                    Verdict::Hold => {
                        self.hold(head, &request, error);
                        continue;
                    }
                },
            };
            if ok && self.has_to_be_flushed(&request) {
                // Without a flush, it is not what the driver takes it for.
                ok = self.disk.flush(completion.token).is_ok();
                if ok {
                    submitted = true;
                    self.shared.counters.submitted.bump();
                    self.keep(head, InFlight { flushing: true, ..request });
                    continue;
                }
            }
            self.finish(head, &request, ok);
        }
        if submitted {
            self.disk.push();
        }
    }

    /// Whether a command that the disk has carried out is durable only after a flush, and must be.
    fn has_to_be_flushed(&self, request: &InFlight) -> bool {
        let changes = matches!(request.command, Command::Write { .. } | Command::WriteZeroes { .. });
        let through = self.driver_cannot_flush || !self.shared.writeback.load(Ordering::Acquire);
        changes && !request.flushing && through && self.shared.disk.info().write_cache
    }

    fn finish(&mut self, head: u16, request: &InFlight, ok: bool) {
        let counters = &self.shared.counters;
        let took = u64::try_from(request.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        match request.command {
            _ if !ok => counters.errors.bump(),
            Command::Read { len, .. } => {
                counters.reads.bump();
                counters.read_bytes.add(len);
                counters.read_time.add(took);
            }
            Command::Write { len, .. } => {
                counters.writes.bump();
                counters.written_bytes.add(len);
                counters.write_time.add(took);
            }
            Command::Flush => {
                counters.flushes.bump();
                counters.flush_time.add(took);
            }
            Command::Discard { .. } | Command::WriteZeroes { .. } => counters.discards.bump(),
            Command::GetId { .. } => {}
        }
        let filled = match request.command {
            Command::Read { len, .. } if ok => len,
            _ => 0,
        };
        self.answer(head, request.status, if ok { Status::Ok } else { Status::IoError }, filled);
    }

    /// Writes the status and puts the chain on the list of what is done.
    fn answer(&mut self, head: u16, address: GuestAddress, status: Status, filled: u64) {
        let written = match self.disk.mem().write_obj(status as u8, address) {
            Ok(()) => u32::try_from(filled).unwrap_or(u32::MAX).saturating_add(1),
            // The driver gave an address outside RAM; there is no way to tell it.
            Err(_) => {
                self.shared.counters.malformed.bump();
                0
            }
        };
        self.done.push((head, written));
    }
}

impl QueueHandler for BlkQueue {
    const NAME: &'static str = "virtio-blk queue";

    fn ring(&self) -> &Ring {
        &self.ring
    }

    fn start(&mut self, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        // Edge-triggered: every completion signals the descriptor anew, so that it need not be read back.
        let events = EventSet::IN | EventSet::EDGE_TRIGGERED;
        if !watch.add(self.disk.completion_fd(), COMPLETIONS, events) {
            return Err(RingError::Unwatched);
        }
        self.brake = Brake::new(&self.shared.buckets, LIMIT, watch)?;
        self.take_over()?;
        self.serve()?;
        self.wait_for_retry(watch);
        self.ring.give_back(&mut self.done)
    }

    fn wake(&mut self, ready: Ready, watch: &mut Watch<'_, '_>) -> Result<(), RingError> {
        match ready.token {
            COMPLETIONS => self.reap(),
            RETRY => self.try_again()?,
            _ => self.serve()?,
        }
        self.wait_for_retry(watch);
        self.ring.give_back(&mut self.done)
    }

    fn end(&mut self) {
        self.disk.push();
        loop {
            self.reap();
            if !self.disk.wait() {
                break;
            }
        }
        self.leave_held();
        // A broken ring takes nothing back; it is about to be reset.
        let _ = self.ring.give_back(&mut self.done);
    }
}
