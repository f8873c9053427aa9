//! A driver for tests: lays a split virtqueue out in guest memory and plays the guest's part.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use virtio_queue::{Queue, QueueState};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::events::{ISR_QUEUE, STATUS_NEEDS_RESET};
use super::{DeviceEvents, Ring, VirtioDevice, feature};
use crate::io_thread::IoThread;
use crate::irq::{MsiMessage, MsiRoutes};
use crate::pci::msix::MsixTable;
use crate::{GuestRam, LimitedLog};

/// Size of test memory; everything from here on is outside RAM.
pub(crate) const RAM: u64 = 4 << 20;
/// Queues lie in the first MiB, 64 KiB each; buffers of tests come after them.
pub(crate) const DATA: u64 = 1 << 20;

const WAIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct NoRoutes;

impl MsiRoutes for NoRoutes {
    fn set(&self, _gsi: u32, _message: Option<MsiMessage>) {}
    fn commit(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A descriptor as the driver writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Desc {
    pub(crate) address: u64,
    pub(crate) len: u32,
    pub(crate) flags: u16,
    pub(crate) next: u16,
}

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

/// A buffer that the device reads.
pub(crate) fn out(address: u64, len: u32) -> Desc {
    Desc { address, len, flags: 0, next: 0 }
}

/// A buffer that the device writes.
pub(crate) fn inp(address: u64, len: u32) -> Desc {
    Desc { address, len, flags: WRITE, next: 0 }
}

/// Memory and events of a machine with one device.
pub(crate) struct Machine {
    pub(crate) mem: GuestRam,
    pub(crate) events: DeviceEvents,
    pub(crate) thread: IoThread,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let mem = ram::Ram::from_ranges(&[(GuestAddress(0), 4 << 20)]).unwrap();
        let log = Arc::new(LimitedLog::new("test"));
        let msix = MsixTable::new(Vec::new(), Arc::new(NoRoutes), Arc::clone(&log));
        let events = DeviceEvents::new(Arc::new(msix), log);
        Self { mem: Arc::new(mem), events, thread: IoThread::spawn("test-io", || ()).unwrap() }
    }

    /// A driver's view of queue `index`.
    pub(crate) fn driver(&self, index: u16, size: u16) -> Driver {
        let base = u64::from(index) << 16;
        let state = QueueState {
            max_size: size,
            next_avail: 0,
            next_used: 0,
            event_idx_enabled: false,
            size,
            ready: true,
            desc_table: base + 0x1000,
            avail_ring: base + 0x9000,
            used_ring: base + 0xc000,
        };
        Driver {
            index,
            mem: self.mem.clone(),
            events: self.events.clone(),
            kick: EventFd::new(EFD_NONBLOCK).unwrap(),
            state,
            features: feature::VERSION_1,
            free: 0,
            avail: 0,
            kicked: 0,
            seen: 0,
        }
    }

    pub(crate) fn fill(&self, address: u64, bytes: &[u8]) {
        self.mem.write_slice(bytes, GuestAddress(address)).unwrap();
    }

    pub(crate) fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.mem.read_slice(&mut bytes, GuestAddress(address)).unwrap();
        bytes
    }

    pub(crate) fn needs_reset(&self) -> bool {
        self.events.status() & STATUS_NEEDS_RESET != 0
    }

    /// Waits until `done` says so.
    pub(crate) fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let end = Instant::now() + WAIT;
        while !done() {
            assert!(Instant::now() < end, "waited too long for {what}");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    pub(crate) fn interrupted(&self) -> bool {
        self.events.isr() & ISR_QUEUE != 0
    }
}

/// The driver's side of a queue.
pub(crate) struct Driver {
    index: u16,
    mem: GuestRam,
    events: DeviceEvents,
    kick: EventFd,
    pub(crate) state: QueueState,
    pub(crate) features: u64,
    /// Next free descriptor.
    free: u16,
    avail: u16,
    /// Available index at the last notification.
    kicked: u16,
    seen: u16,
}

impl Driver {
    fn write<T: vm_memory::ByteValued>(&self, address: u64, value: T) {
        self.mem.write_obj(value, GuestAddress(address)).unwrap();
    }

    fn read_u16(&self, address: u64) -> u16 {
        self.mem.read_obj(GuestAddress(address)).unwrap()
    }

    /// The queue for its device; indices are where an earlier run stopped.
    pub(crate) fn ring(&self) -> Ring {
        let queue = Queue::try_from(self.state).unwrap();
        let kick = self.kick.try_clone().unwrap();
        let interrupt = self.events.queue_interrupt(0);
        Ring::new(queue, self.mem.clone(), kick, interrupt, self.events.clone(), self.features)
    }

    pub(crate) fn start(&self, device: &mut dyn VirtioDevice) {
        device.start_queue(self.index, self.ring()).unwrap();
    }

    pub(crate) fn stop(&mut self, device: &mut dyn VirtioDevice) {
        self.state = device.stop_queue(self.index).unwrap();
    }

    /// Writes one descriptor of the queue's table.
    pub(crate) fn set(&self, at: u16, desc: Desc) {
        let base = self.state.desc_table + u64::from(at) * 16;
        self.write_desc(base, desc);
    }

    /// Writes a descriptor anywhere, such as into an indirect table.
    pub(crate) fn write_desc(&self, base: u64, desc: Desc) {
        if base + 16 <= RAM {
            self.write(base, desc.address);
            self.write(base + 8, desc.len);
            self.write(base + 12, desc.flags);
            self.write(base + 14, desc.next);
        }
    }

    /// Makes the chain that starts at `head` available.
    pub(crate) fn offer(&mut self, head: u16) {
        self.offer_times(head, 1);
    }

    /// Makes the same chain available so many times, all at once.
    pub(crate) fn offer_times(&mut self, head: u16, times: u16) {
        for more in 0..times {
            let slot = u64::from(self.avail.wrapping_add(more) % self.state.size);
            self.write(self.state.avail_ring + 4 + slot * 2, head);
        }
        self.avail = self.avail.wrapping_add(times);
        self.write(self.state.avail_ring + 2, self.avail);
    }

    /// Lays a chain out in the next free descriptors and makes it available; returns its head.
    pub(crate) fn add(&mut self, chain: &[Desc]) -> u16 {
        let head = self.free;
        for (i, desc) in chain.iter().enumerate() {
            let at = self.free;
            self.free = (self.free + 1) % self.state.size;
            let more = if i + 1 < chain.len() { NEXT } else { 0 };
            self.set(at, Desc { flags: desc.flags | more, next: self.free, ..*desc });
        }
        self.offer(head);
        head
    }

    /// The same with the descriptors in a table of their own at `table`.
    pub(crate) fn add_indirect(&mut self, table: u64, chain: &[Desc]) -> u16 {
        for (i, desc) in (0u16..).zip(chain) {
            let more = if usize::from(i) + 1 < chain.len() { NEXT } else { 0 };
            let desc = Desc { flags: desc.flags | more, next: i + 1, ..*desc };
            self.write_desc(table + u64::from(i) * 16, desc);
        }
        let len = u32::try_from(chain.len() * 16).unwrap();
        self.add(&[Desc { address: table, len, flags: INDIRECT, next: 0 }])
    }

    pub(crate) fn kick(&self) {
        self.kick.write(1).unwrap();
    }

    /// Notifies as drivers do: only if the device asked for it (virtio 1.3 §2.7.10).
    pub(crate) fn kick_if_wanted(&mut self) {
        std::sync::atomic::fence(Ordering::SeqCst);
        let old = std::mem::replace(&mut self.kicked, self.avail);
        let wanted = if self.features & feature::RING_EVENT_IDX != 0 {
            let event = self.read_u16(self.state.used_ring + 4 + u64::from(self.state.size) * 8);
            self.avail.wrapping_sub(event).wrapping_sub(1) < self.avail.wrapping_sub(old)
        } else {
            self.read_u16(self.state.used_ring) & 1 == 0
        };
        if wanted {
            self.kick();
        }
    }

    /// The next used element, if the device returned one.
    pub(crate) fn used(&mut self) -> Option<(u16, u32)> {
        if self.read_u16(self.state.used_ring + 2) == self.seen {
            return None;
        }
        let at = self.state.used_ring + 4 + u64::from(self.seen % self.state.size) * 8;
        self.seen = self.seen.wrapping_add(1);
        let id: u32 = self.mem.read_obj(GuestAddress(at)).unwrap();
        Some((u16::try_from(id).unwrap(), self.mem.read_obj(GuestAddress(at + 4)).unwrap()))
    }

    /// Waits for the next used element.
    pub(crate) fn wait_used(&mut self) -> (u16, u32) {
        let end = Instant::now() + WAIT;
        for spins in 0u32.. {
            if let Some(used) = self.used() {
                return used;
            }
            if spins < 2000 {
                std::hint::spin_loop();
                continue;
            }
            assert!(Instant::now() < end, "the device returned nothing");
            std::thread::sleep(Duration::from_micros(100));
        }
        panic!("the device returned nothing");
    }

    /// Adds a chain, notifies, and waits for its return.
    pub(crate) fn run(&mut self, chain: &[Desc]) -> u32 {
        let head = self.add(chain);
        self.kick();
        let (id, written) = self.wait_used();
        assert_eq!(id, head);
        written
    }
}

/// Descriptors of every kind, many of them in RAM and with sensible links.
pub(crate) fn any_desc() -> impl Strategy<Value = Desc> {
    let address = prop_oneof![4 => DATA..RAM, 1 => 0..DATA, 1 => RAM - 64..RAM + 64, 1 => any::<u64>()];
    let len = prop_oneof![4 => 0..4096u32, 1 => 0..2u32, 1 => Just(16u32), 1 => any::<u32>()];
    let flags = prop_oneof![6 => 0..4u16, 1 => 0..8u16, 1 => any::<u16>()];
    let next = prop_oneof![6 => 0..16u16, 1 => any::<u16>()];
    (address, len, flags, next).prop_map(|(address, len, flags, next)| Desc { address, len, flags, next })
}

/// A table of 16 descriptors, heads to offer, and bytes that buffers hold.
pub(crate) fn any_garbage() -> impl Strategy<Value = (Vec<Desc>, Vec<u16>, Vec<u8>)> {
    let heads = prop::collection::vec(prop_oneof![8 => 0..16u16, 1 => any::<u16>()], 1..16);
    (prop::collection::vec(any_desc(), 16), heads, prop::collection::vec(any::<u8>(), 256))
}

/// Feeds garbage to queue `index` of a device and stops it. That it returns at all is the test: no panic on the I/O
/// thread, no endless loop.
pub(crate) fn feed_garbage(
    device: &mut dyn VirtioDevice,
    machine: &Machine,
    index: u16,
    garbage: &(Vec<Desc>, Vec<u16>, Vec<u8>),
) {
    feed_garbage_with(device, machine, index, garbage, 0);
}

/// The same with features negotiated.
pub(crate) fn feed_garbage_with(
    device: &mut dyn VirtioDevice,
    machine: &Machine,
    index: u16,
    garbage: &(Vec<Desc>, Vec<u16>, Vec<u8>),
    features: u64,
) {
    let (table, heads, bytes) = garbage;
    for i in 0..16 {
        machine.fill(DATA + i * 0x1000, bytes);
    }
    let mut driver = machine.driver(index, 16);
    driver.features |= features;
    for (at, desc) in (0..).zip(table) {
        driver.set(at, *desc);
    }
    let (before, after) = heads.split_at(heads.len() / 2);
    before.iter().for_each(|head| driver.offer(*head));
    driver.start(device);
    for head in after {
        driver.offer(*head);
        driver.kick();
    }
    driver.stop(device);
}

/// Starting with ring addresses outside RAM must leave the device in need of a reset, idle and stoppable.
pub(crate) fn rings_outside_ram_are_refused(device: &mut dyn VirtioDevice, index: u16) {
    type Move = fn(&mut QueueState);
    let moves: [Move; 2] = [|state| state.avail_ring = RAM + 0x1000, |state| state.used_ring = u64::MAX - 7];
    for change in moves {
        let machine = Machine::new();
        let mut driver = machine.driver(index, 16);
        driver.set(0, inp(DATA, 64));
        driver.offer(0);
        change(&mut driver.state);
        driver.start(device);
        driver.kick();
        machine.wait("the need of a reset", || machine.needs_reset());
        driver.stop(device);
    }
    // An index that runs ahead of the ring.
    let machine = Machine::new();
    let mut driver = machine.driver(index, 16);
    for _ in 0..17 {
        driver.offer(0);
    }
    driver.start(device);
    machine.wait("the need of a reset", || machine.needs_reset());
    driver.stop(device);
}
