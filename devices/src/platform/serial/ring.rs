//! A bounded buffer between a serial port and the thread that shows its output.

use std::collections::VecDeque;
use std::io;
use std::sync::Mutex;

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::SerialSink;
use crate::lock;

/// Output that waits for its reader. A full ring drops its oldest bytes: the last words of a guest matter most.
///
/// The vCPU pays for a wake-up only when the ring stops being empty, so a reader that lets a few milliseconds pass
/// between waking and draining makes output cheap.
#[derive(Debug)]
pub struct ConsoleRing {
    waiting: Mutex<Waiting>,
    capacity: usize,
    event: EventFd,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: VecDeque<u8>,
    lost: u64,
}

/// What one [`ConsoleRing::drain`] brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Bytes appended to the reader's buffer.
    pub bytes: usize,
    /// Bytes before them that were dropped since the last drain.
    pub lost: u64,
}

impl ConsoleRing {
    /// A ring for up to `capacity` bytes (at least 1); memory is taken as it fills.
    ///
    /// # Errors
    /// The host has no eventfd left.
    pub fn new(capacity: usize) -> io::Result<Self> {
        let event = EventFd::new(EFD_NONBLOCK)?;
        Ok(Self { waiting: Mutex::default(), capacity: capacity.max(1), event })
    }

    /// Non-blocking eventfd, signalled when the ring turns from empty to non-empty. A reader reads it, then drains.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Adds one byte; never blocks on the reader.
    pub fn push(&self, byte: u8) {
        if self.append(byte) {
            // Fails only when the counter is full, and then the reader has a signal waiting.
            let _ = self.event.write(1);
        }
    }

    /// Moves all waiting bytes to the end of `into`.
    pub fn drain(&self, into: &mut Vec<u8>) -> Drained {
        let mut waiting = lock(&self.waiting);
        let bytes = waiting.bytes.len();
        into.extend(waiting.bytes.drain(..));
        Drained { bytes, lost: std::mem::take(&mut waiting.lost) }
    }

    /// True if the ring was empty before.
    fn append(&self, byte: u8) -> bool {
        let mut waiting = lock(&self.waiting);
        let was_empty = waiting.bytes.is_empty();
        if waiting.bytes.len() >= self.capacity {
            waiting.bytes.pop_front();
            waiting.lost = waiting.lost.saturating_add(1);
        }
        waiting.bytes.push_back(byte);
        was_empty
    }
}

impl SerialSink for ConsoleRing {
    fn write(&self, byte: u8) {
        self.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained(ring: &ConsoleRing) -> (Vec<u8>, u64) {
        let mut bytes = Vec::new();
        let drained = ring.drain(&mut bytes);
        assert_eq!(drained.bytes, bytes.len());
        (bytes, drained.lost)
    }

    #[test]
    fn only_the_first_byte_wakes_the_reader() {
        let ring = ConsoleRing::new(16).unwrap();
        b"abc".iter().for_each(|&byte| ring.push(byte));
        assert_eq!(ring.event().read().unwrap(), 1);
        assert!(ring.event().read().is_err());
        assert_eq!(drained(&ring), (b"abc".to_vec(), 0));
        ring.push(b'd');
        assert_eq!(ring.event().read().unwrap(), 1);
        assert_eq!(drained(&ring), (b"d".to_vec(), 0));
        assert_eq!(drained(&ring), (Vec::new(), 0));
    }

    #[test]
    fn a_full_ring_drops_its_oldest_bytes_and_counts_them() {
        let ring = ConsoleRing::new(3).unwrap();
        b"abcdefgh".iter().for_each(|&byte| ring.push(byte));
        assert_eq!(drained(&ring), (b"fgh".to_vec(), 5));
        assert_eq!(drained(&ring), (Vec::new(), 0));
    }

    #[test]
    fn no_byte_and_no_wake_up_is_lost_between_threads() {
        let ring = std::sync::Arc::new(ConsoleRing::new(1 << 20).unwrap());
        let writer = std::sync::Arc::clone(&ring);
        let pushing =
            std::thread::spawn(move || (0..100_000u32).for_each(|i| writer.push(i.to_le_bytes()[0])));
        let mut bytes = Vec::new();
        while bytes.len() < 100_000 {
            if ring.event().read().is_ok() {
                assert_eq!(ring.drain(&mut bytes).lost, 0);
            } else {
                std::thread::yield_now();
            }
        }
        pushing.join().unwrap();
        assert!(bytes.iter().zip(0..100_000u32).all(|(&byte, i)| byte == i.to_le_bytes()[0]));
    }
}
