//! A hostile driver of a network card: any descriptors, any rings, any headers and commands, in any order, with frames
//! coming in and queues being reset in between.

#![no_main]

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, OnceLock};

use devices::io_thread::{IoHandle, IoThread};
use devices::irq::{MsiMessage, MsiRoutes};
use devices::pci::msix::MsixTable;
use devices::virtio::net::{NetConfig, NetDevice, sum};
use devices::virtio::{DeviceEvents, Ring, VirtioDevice};
use devices::{GuestRam, LimitedLog};
use libfuzzer_sys::fuzz_target;
use net::{FrameQueue, IoBuf, Link, Offloads, gather, scatter};
use virtio_queue::{Queue, QueueState};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Guest memory, in two regions with a hole between them, so that there is an outside in the middle too.
const HALF: u64 = 64 << 10;
const SECOND: u64 = 128 << 10;
/// Queues: receive, transmit, control.
const QUEUES: u16 = 3;
const SIZE: u16 = 16;

fn thread() -> IoHandle {
    static THREAD: OnceLock<IoThread> = OnceLock::new();
    THREAD.get_or_init(|| IoThread::spawn("fuzz-io", || ()).unwrap()).handle()
}

#[derive(Debug)]
struct NoRoutes;

impl MsiRoutes for NoRoutes {
    fn set(&self, _gsi: u32, _message: Option<MsiMessage>) {}
    fn commit(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A link whose other end is the fuzz target.
#[derive(Debug)]
struct Cable(UnixDatagram);

struct End(UnixDatagram);

impl Link for Cable {
    fn queue_pairs(&self) -> u16 {
        1
    }
    fn mtu(&self) -> Option<u16> {
        Some(1500)
    }
    fn offloads(&self) -> Offloads {
        Offloads::CSUM | Offloads::TSO4 | Offloads::TSO6 | Offloads::ECN | Offloads::USO4 | Offloads::USO6
    }
    fn set_offloads(&self, _wanted: Offloads) -> io::Result<()> {
        Ok(())
    }
    fn set_active_pairs(&self, _pairs: u16) -> io::Result<()> {
        Ok(())
    }
    fn open_queue(&self, _pair: u16) -> io::Result<Box<dyn FrameQueue>> {
        Ok(Box::new(End(self.0.try_clone()?)))
    }
}

impl FrameQueue for End {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
    fn receive(&mut self, bufs: &[IoBuf]) -> io::Result<usize> {
        let mut frame = [0; 1 << 17];
        let len = self.0.recv(&mut frame)?;
        Ok(scatter(bufs, 0, &frame[..len]))
    }
    fn send(&mut self, bufs: &[IoBuf]) -> io::Result<()> {
        let len = bufs.iter().map(IoBuf::len).sum();
        let mut frame = vec![0; len];
        assert_eq!(gather(bufs, 0, &mut frame), len);
        well_formed(&frame);
        self.0.send(&frame).map(drop)
    }
}

/// What reaches the host keeps within its frame, whatever the guest wrote.
fn well_formed(frame: &[u8]) {
    let word = |at: usize| usize::from(u16::from_le_bytes([frame[at], frame[at + 1]]));
    let len = frame.len() - 12;
    assert!((14..=65550).contains(&len), "{len} bytes");
    assert!(frame[0] & !1 == 0 && frame[10..12] == [0, 0] && word(2) <= len);
    assert!(frame[0] == 0 || word(6) + word(8) + 2 <= len, "checksum outside");
    assert!(frame[1] == 0 || (frame[0] == 1 && word(4) > 0), "segments of nothing");
}

/// Takes values off the input; zero at its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
    /// Mostly an address in memory.
    fn address(&mut self) -> u64 {
        let low = u64::from(self.word());
        match self.byte() {
            0..=119 => low,
            120..=239 => SECOND + low,
            240..=247 => HALF - 8 + low % 16,
            other => low << (other % 48),
        }
    }
    fn len(&mut self) -> u32 {
        let low = u32::from(self.word());
        match self.byte() {
            0..=199 => low % 2048,
            200..=239 => low,
            other => low << (other % 17),
        }
    }
}

struct Guest {
    mem: GuestRam,
    events: DeviceEvents,
    kicks: Vec<EventFd>,
    queues: Vec<Option<QueueState>>,
    available: [u16; 3],
    features: u64,
}

impl Guest {
    fn new(features: u64) -> Self {
        let ranges = [(GuestAddress(0), HALF as usize), (GuestAddress(SECOND), HALF as usize)];
        let mem = ram::Ram::from_ranges(&ranges).unwrap();
        let log = Arc::new(LimitedLog::new("fuzz"));
        let msix = MsixTable::new(Vec::new(), Arc::new(NoRoutes), Arc::clone(&log));
        let state = |index: u16| {
            let base = u64::from(index) * 0x1000;
            QueueState {
                max_size: SIZE,
                next_avail: 0,
                next_used: 0,
                event_idx_enabled: false,
                size: SIZE,
                ready: true,
                desc_table: base,
                avail_ring: base + 0x400,
                used_ring: base + 0x800,
            }
        };
        Self {
            mem: Arc::new(mem),
            events: DeviceEvents::new(Arc::new(msix), log),
            kicks: (0..QUEUES).map(|_| EventFd::new(EFD_NONBLOCK).unwrap()).collect(),
            queues: (0..QUEUES).map(|index| Some(state(index))).collect(),
            available: [0; 3],
            features: features | 1 << 32,
        }
    }

    fn start(&mut self, device: &mut NetDevice, index: u16) {
        let Some(state) = self.queues[usize::from(index)].take() else { return };
        let Ok(queue) = Queue::try_from(state) else { return };
        let kick = self.kicks[usize::from(index)].try_clone().unwrap();
        let interrupt = self.events.queue_interrupt(index);
        let ring = Ring::new(queue, self.mem.clone(), kick, interrupt, self.events.clone(), self.features);
        device.start_queue(index, ring).unwrap();
    }

    fn stop(&mut self, device: &mut NetDevice, index: u16) {
        if let Some(state) = device.stop_queue(index) {
            self.queues[usize::from(index)] = Some(state);
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.mem.write_slice(bytes, GuestAddress(address));
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let bits = u64::from(input.word());
    // Offloads, mergeable buffers, all of control, segments of UDP, indirect descriptors, event index.
    let choices = [0x3, 0x3fe0 & !0x20, 1 << 15, 0x1fe_0004, 7 << 54, 1 << 28, 1 << 29];
    let chosen = choices.iter().enumerate().filter(|(at, _)| bits & 1 << at != 0);
    let features = chosen.fold(0, |all, (_, bit)| all | bit);
    let (link, host) = UnixDatagram::pair().unwrap();
    link.set_nonblocking(true).unwrap();
    host.set_nonblocking(true).unwrap();
    let mut device = NetDevice::new(Arc::new(Cable(link)), NetConfig::new([2, 0, 0, 0, 0, 1]), thread());
    let features = features & device.features();
    let handle = device.handle();
    let mut guest = Guest::new(features);
    let mut sent = 0u64;
    for _ in 0..200 {
        if input.0.is_empty() {
            break;
        }
        let op = input.byte();
        let index = u16::from(op >> 4) % QUEUES;
        let base = u64::from(index) * 0x1000;
        match op & 15 {
            // A descriptor, in a queue's table or anywhere.
            0..=3 => {
                let at = if op & 15 == 3 { input.address() } else { base + u64::from(input.byte() % 16) * 16 };
                let mut desc = [0; 16];
                desc[..8].copy_from_slice(&input.address().to_le_bytes());
                desc[8..12].copy_from_slice(&input.len().to_le_bytes());
                desc[12] = input.byte() & 7;
                desc[14] = input.byte() % 20;
                guest.write(at, &desc);
            }
            // Bytes: headers, commands, indices.
            4 | 5 => {
                let (at, len) = (input.address(), usize::from(input.byte() % 32));
                let data: Vec<u8> = (0..len).map(|_| input.byte()).collect();
                guest.write(at, &data);
            }
            6..=8 => {
                let available = &mut guest.available[usize::from(index)];
                let slot = u64::from(*available % SIZE);
                *available = available.wrapping_add(1);
                let next = *available;
                guest.write(base + 0x404 + slot * 2, &u16::from(input.byte() % 18).to_le_bytes());
                guest.write(base + 0x402, &next.to_le_bytes());
                let _ = guest.kicks[usize::from(index)].write(1);
            }
            9 | 10 => guest.start(&mut device, index),
            11 => guest.stop(&mut device, index),
            12 => {
                let frame = vec![input.byte(); usize::from(input.word()) % 9000];
                sent += u64::from(host.send(&frame).is_ok());
            }
            13 => while host.recv(&mut [0; 64]).is_ok() {},
            14 => handle.set_link(input.byte() & 1 != 0),
            _ => {
                (0..QUEUES).for_each(|index| guest.stop(&mut device, index));
                if input.byte() & 1 == 0 {
                    device.reset();
                } else {
                    let saved = device.save();
                    assert!(device.restore(&saved) && device.save() == saved);
                }
            }
        }
    }
    (0..QUEUES).for_each(|index| guest.stop(&mut device, index));
    let rx = &handle.counters().rx;
    let known = sum(rx, |queue| &queue.frames) + sum(rx, |queue| &queue.dropped) + sum(rx, |queue| &queue.filtered);
    assert!(known <= sent, "frames from nowhere");
});
