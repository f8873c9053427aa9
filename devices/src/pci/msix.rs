//! MSI-X table and pending bits of a function (PCI 3.0 §6.8.2).
//!
//! A vector's route is written to the machine's table only when the vector is about to fire for the first time since
//! the guest changed it, so that the storm of table writes at a driver's start costs one update of the routes.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::irq::{MsiMessage, MsiRoutes, MsiSlot};

/// "No vector" in virtio's vector registers (virtio 1.3 §4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;
/// Bytes of one table entry.
pub const ENTRY_SIZE: u64 = 16;

const CONTROL_MASKED: u32 = 1;
const FUNCTION_ENABLED: u8 = 1;
const FUNCTION_MASKED: u8 = 2;

/// Flags of a vector.
const PENDING: u8 = 1;
/// The machine's route is older than the table entry.
const STALE: u8 = 2;

#[derive(Debug)]
struct Vector {
    slot: MsiSlot,
    address: AtomicU64,
    data: AtomicU32,
    control: AtomicU32,
    flags: AtomicU8,
}

/// The vectors of one function. Workers signal through it without taking a lock.
pub struct MsixTable {
    vectors: Vec<Vector>,
    function: AtomicU8,
    routes: Arc<dyn MsiRoutes>,
}

/// What a snapshot keeps of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    /// Enable (bit 0) and function mask (bit 1).
    pub function: u8,
    /// Message, vector control and pending bit of each vector.
    pub vectors: Vec<(MsiMessage, u32, bool)>,
}

impl MsixTable {
    /// A table with one vector a slot, all masked, as after reset.
    pub fn new(slots: Vec<MsiSlot>, routes: Arc<dyn MsiRoutes>) -> Self {
        let vectors = slots
            .into_iter()
            .map(|slot| Vector {
                slot,
                address: AtomicU64::new(0),
                data: AtomicU32::new(0),
                control: AtomicU32::new(CONTROL_MASKED),
                flags: AtomicU8::new(STALE),
            })
            .collect();
        Self { vectors, function: AtomicU8::new(0), routes }
    }

    /// Number of vectors.
    pub fn len(&self) -> usize {
        self.vectors.len()
    }

    /// True if the function has no vectors.
    pub fn is_empty(&self) -> bool {
        self.vectors.is_empty()
    }

    /// Sends the message of `vector`, or remembers it while the vector is masked; [`NO_VECTOR`] and numbers out of
    /// the table are ignored.
    pub fn signal(&self, vector: u16) {
        let Some(entry) = self.vectors.get(usize::from(vector)) else { return };
        if self.function.load(Ordering::Acquire) & FUNCTION_ENABLED == 0 {
            return;
        }
        if self.is_masked(entry) {
            entry.flags.fetch_or(PENDING, Ordering::AcqRel);
            // The guest may have unmasked in between and found nothing pending.
            if self.is_masked(entry) || entry.flags.fetch_and(!PENDING, Ordering::AcqRel) & PENDING == 0 {
                return;
            }
        }
        self.send(entry);
    }

    fn is_masked(&self, entry: &Vector) -> bool {
        self.function.load(Ordering::Acquire) & FUNCTION_MASKED != 0
            || entry.control.load(Ordering::Acquire) & CONTROL_MASKED != 0
    }

    fn send(&self, entry: &Vector) {
        if entry.flags.load(Ordering::Acquire) & STALE != 0 {
            self.refresh_routes();
        }
        if let Err(error) = entry.slot.irqfd.write(1) {
            eprintln!("kubevmm: an MSI-X interrupt was lost: {error}");
        }
    }

    /// Brings the routes of all stale and unmasked vectors up to date in one go.
    fn refresh_routes(&self) {
        for entry in &self.vectors {
            if self.is_masked(entry) || entry.flags.fetch_and(!STALE, Ordering::AcqRel) & STALE == 0 {
                continue;
            }
            self.routes.set(entry.slot.gsi, Some(entry.message()));
        }
        if let Err(error) = self.routes.commit() {
            eprintln!("kubevmm: interrupt routes could not be updated: {error}");
        }
    }

    /// Reads the table at `offset`; the reserved rest reads as zero.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        let entry = usize::try_from(offset / ENTRY_SIZE).ok().and_then(|index| self.vectors.get(index));
        let bytes = entry.map_or([0; 16], Vector::bytes);
        for (i, byte) in data.iter_mut().enumerate() {
            let at = usize::try_from(offset % ENTRY_SIZE).unwrap_or(0).saturating_add(i);
            *byte = bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Writes the table. Only aligned accesses of 4 and 8 bytes have an effect (PCI 3.0 §6.8.2).
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        let Some(entry) = usize::try_from(offset / ENTRY_SIZE).ok().and_then(|index| self.vectors.get(index))
        else {
            return;
        };
        let words = match data.len() {
            4 if offset.is_multiple_of(4) => 1,
            8 if offset.is_multiple_of(8) => 2,
            _ => return,
        };
        for (word, bytes) in data.chunks_exact(4).take(words).enumerate() {
            let Ok(value) = <[u8; 4]>::try_from(bytes).map(u32::from_le_bytes) else { return };
            self.write_word(entry, offset % ENTRY_SIZE / 4 + word as u64, value);
        }
    }

    fn write_word(&self, entry: &Vector, word: u64, value: u32) {
        let address = entry.address.load(Ordering::Acquire);
        match word {
            0 => entry.address.store(address & !0xffff_ffff | u64::from(value & !3), Ordering::Release),
            1 => entry.address.store(address & 0xffff_ffff | u64::from(value) << 32, Ordering::Release),
            2 => entry.data.store(value, Ordering::Release),
            _ => {
                entry.control.store(value & CONTROL_MASKED, Ordering::Release);
                self.send_pending(entry);
                return;
            }
        }
        entry.flags.fetch_or(STALE, Ordering::AcqRel);
    }

    /// Sends what became pending while the vector was masked, if it is not any more.
    fn send_pending(&self, entry: &Vector) {
        let enabled = self.function.load(Ordering::Acquire) & FUNCTION_ENABLED != 0;
        if enabled
            && !self.is_masked(entry)
            && entry.flags.fetch_and(!PENDING, Ordering::AcqRel) & PENDING != 0
        {
            self.send(entry);
        }
    }

    /// Reads the pending bit array at `offset`.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        for (i, byte) in data.iter_mut().enumerate() {
            let first = usize::try_from(offset).unwrap_or(usize::MAX).saturating_add(i).saturating_mul(8);
            *byte = (0..8u8).fold(0, |bits, bit| {
                let entry = self.vectors.get(first.saturating_add(usize::from(bit)));
                let pending = entry.is_some_and(|e| e.flags.load(Ordering::Acquire) & PENDING != 0);
                bits | u8::from(pending) << bit
            });
        }
    }

    /// Takes over enable and function mask as the guest wrote them to the capability.
    pub fn set_control(&self, enabled: bool, masked: bool) {
        let value = (u8::from(enabled) * FUNCTION_ENABLED) | (u8::from(masked) * FUNCTION_MASKED);
        if self.function.swap(value, Ordering::AcqRel) != value {
            self.vectors.iter().for_each(|entry| self.send_pending(entry));
        }
    }

    /// Back to the state at power-on: disabled, every vector masked, nothing pending.
    pub fn reset(&self) {
        self.function.store(0, Ordering::Release);
        for entry in &self.vectors {
            entry.control.store(CONTROL_MASKED, Ordering::Release);
            entry.flags.store(STALE, Ordering::Release);
            entry.address.store(0, Ordering::Release);
            entry.data.store(0, Ordering::Release);
        }
    }

    /// State for a snapshot.
    pub fn save(&self) -> MsixState {
        let vector = |entry: &Vector| {
            let pending = entry.flags.load(Ordering::Acquire) & PENDING != 0;
            (entry.message(), entry.control.load(Ordering::Acquire), pending)
        };
        MsixState {
            function: self.function.load(Ordering::Acquire),
            vectors: self.vectors.iter().map(vector).collect(),
        }
    }

    /// Takes over a saved state; false if it has another number of vectors.
    pub fn restore(&self, state: &MsixState) -> bool {
        if state.vectors.len() != self.vectors.len() {
            return false;
        }
        self.function.store(state.function & (FUNCTION_ENABLED | FUNCTION_MASKED), Ordering::Release);
        for (entry, (message, control, pending)) in self.vectors.iter().zip(&state.vectors) {
            entry.address.store(message.address & !3, Ordering::Release);
            entry.data.store(message.data, Ordering::Release);
            entry.control.store(control & CONTROL_MASKED, Ordering::Release);
            entry.flags.store(STALE | (u8::from(*pending) * PENDING), Ordering::Release);
        }
        true
    }
}

impl Vector {
    fn message(&self) -> MsiMessage {
        MsiMessage { address: self.address.load(Ordering::Acquire), data: self.data.load(Ordering::Acquire) }
    }

    fn bytes(&self) -> [u8; 16] {
        let MsiMessage { address, data } = self.message();
        let control = self.control.load(Ordering::Acquire);
        (u128::from(address) | u128::from(data) << 64 | u128::from(control) << 96).to_le_bytes()
    }
}

impl fmt::Debug for MsixTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsixTable").field("vectors", &self.vectors.len()).finish_non_exhaustive()
    }
}
