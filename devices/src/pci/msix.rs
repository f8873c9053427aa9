//! MSI-X table and pending bits of a function (PCI 3.0 §6.8.2).
//!
//! A vector's route is written to the machine's table only when the vector is about to fire for the first time since
//! the guest changed it, so that the storm of table writes at a driver's start costs one update of the routes.
//!
//! No interrupt may be lost between a worker that finds a vector masked and a vCPU that unmasks it. The worker sets
//! the pending bit and then looks at the masks again; the vCPU clears a mask and then looks at the pending bit. All of
//! these are sequentially consistent, so that at least one of the two sees what the other did, and taking the bit by an
//! exchange lets exactly one of them send. The same holds for two vCPUs that clear the function's mask and the vector's.
//!
//! A vector's eventfd may be lent to the kernel ([`MsixTable::lend`]), which signals without looking at any of this. Whatever
//! the guest changes is changed first and the eventfd recalled then, before the guest's write is done; who lends looks at the
//! vector while nobody can recall it. So either the lender sees the change, or the change sees what was lent.

use std::fmt;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vmm_sys_util::eventfd::EventFd;

use crate::LimitedLog;
use crate::irq::{MsiMessage, MsiRoutes, MsiSlot};

/// "No vector" in virtio's vector registers (virtio 1.3 §4.1.5.1.2).
pub const NO_VECTOR: u16 = 0xffff;
/// Bytes of one table entry.
pub const ENTRY_SIZE: u64 = 16;

const CONTROL_MASKED: u32 = 1;
const FUNCTION_ENABLED: u8 = 1;
const FUNCTION_MASKED: u8 = 2;

/// Messages to this MiB are interrupts (Intel SDM volume 3 §11.11.1).
const INTERRUPTS: u64 = 0xfee;
const MIB_SHIFT: u32 = 20;

#[derive(Debug)]
struct Vector {
    slot: MsiSlot,
    address: AtomicU64,
    data: AtomicU32,
    control: AtomicU32,
    pending: AtomicBool,
    /// Counts changes to address and data.
    written: AtomicU64,
    /// The count at which the machine's route was made.
    routed: AtomicU64,
    /// How to recall the eventfd from whom it is lent to.
    lent: Mutex<Lent>,
}

/// Recalls an eventfd: when it returns, nobody writes to it any more.
pub type Recall = Box<dyn Fn() + Send + Sync>;

/// What is known of whom a vector's eventfd is lent to.
#[derive(Default)]
struct Lent(Option<Recall>);

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lent").field(&self.0.is_some()).finish()
    }
}

/// The vectors of one function. Workers signal through it without taking a lock, but for the first time after the
/// guest changed a message.
pub struct MsixTable {
    vectors: Vec<Vector>,
    function: AtomicU8,
    routes: Arc<dyn MsiRoutes>,
    /// Held while routes are brought up to date: nobody may signal a vector whose route is still under way.
    routing: Mutex<()>,
    log: Arc<LimitedLog>,
}

/// What a snapshot keeps of a table. Enable and function mask are in the configuration space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MsixState {
    /// All vectors, in order.
    pub vectors: Vec<VectorState>,
}

/// What a snapshot keeps of a vector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorState {
    /// What is sent.
    pub message: MsiMessage,
    /// The vector is masked.
    pub masked: bool,
    /// It was signalled while it was masked.
    pub pending: bool,
}

impl MsixTable {
    /// A table with one vector a slot, all masked, as after reset.
    pub fn new(slots: Vec<MsiSlot>, routes: Arc<dyn MsiRoutes>, log: Arc<LimitedLog>) -> Self {
        let vectors = slots.into_iter().map(Vector::new).collect();
        Self { vectors, function: AtomicU8::new(0), routes, routing: Mutex::default(), log }
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
        if !self.is_enabled() {
            return;
        }
        if self.is_masked(entry) {
            entry.pending.store(true, SeqCst);
            // The guest may have unmasked in between and found nothing pending.
            if self.is_masked(entry) || !entry.pending.swap(false, SeqCst) {
                return;
            }
        }
        self.send(entry);
    }

    /// Lends the eventfd of `vector` to whoever `take` gives it to, until the guest changes something of the vector: then
    /// `recall` is called. False if it is not to be lent now: the vector cannot fire, its route is not made before its first
    /// interrupt, it is lent already, or `take` says no.
    pub fn lend(&self, vector: u16, take: impl FnOnce(&EventFd) -> bool, recall: Recall) -> bool {
        let Some(entry) = self.vectors.get(usize::from(vector)) else { return false };
        let mut lent = entry.lent();
        let ready = self.is_enabled() && !self.is_masked(entry) && !entry.is_stale();
        let done = lent.0.is_none() && ready && take(&entry.slot.irqfd);
        if done {
            lent.0 = Some(recall);
        }
        done
    }

    /// Recalls the eventfd of `vector`, if it is lent.
    pub fn recall(&self, vector: u16) {
        if let Some(entry) = self.vectors.get(usize::from(vector)) {
            entry.recall();
        }
    }

    fn is_enabled(&self) -> bool {
        self.function.load(SeqCst) & FUNCTION_ENABLED != 0
    }

    fn is_masked(&self, entry: &Vector) -> bool {
        self.function.load(SeqCst) & FUNCTION_MASKED != 0 || entry.is_masked()
    }

    fn send(&self, entry: &Vector) {
        if entry.is_stale() {
            self.update_routes(entry);
        }
        if let Err(error) = entry.slot.irqfd.write(1) {
            self.log.say(format_args!("an MSI-X interrupt was lost: {error}"));
        }
    }

    /// Brings the route of `wanted`, and those of all other vectors that may fire, up to date in one go.
    fn update_routes(&self, wanted: &Vector) {
        let _one_at_a_time = self.routing.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever held the lock before may have done it.
        if !wanted.is_stale() {
            return;
        }
        let is_due = |entry: &&Vector| std::ptr::eq(*entry, wanted) || !self.is_masked(entry);
        let due = self.vectors.iter().filter(is_due).filter(|entry| entry.is_stale());
        // The count is read before the message: a change in between leaves the vector stale.
        let routed: Vec<_> = due.map(|entry| (entry, entry.written.load(SeqCst), entry.message())).collect();
        for (entry, _, message) in &routed {
            // A message to anywhere else is a write to memory that nobody sees. The machine's table must not hold it:
            // the host could refuse the table, and with it the routes of all devices.
            let is_interrupt = message.address >> MIB_SHIFT == INTERRUPTS;
            self.routes.set(entry.slot.gsi, is_interrupt.then_some(*message));
        }
        match self.routes.commit() {
            Ok(()) => routed.iter().for_each(|(entry, count, _)| entry.routed.store(*count, SeqCst)),
            Err(error) => self.log.say(format_args!("interrupt routes could not be updated: {error}")),
        }
    }

    /// Reads the table at `offset`; the reserved rest reads as zero.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        let bytes = self.entry(offset).map_or([0; 16], Vector::bytes);
        let start = usize::try_from(offset % ENTRY_SIZE).unwrap_or(0);
        let bytes = bytes.into_iter().skip(start).chain(std::iter::repeat(0));
        data.iter_mut().zip(bytes).for_each(|(byte, value)| *byte = value);
    }

    /// Writes the table. Only aligned accesses of 4 and 8 bytes have an effect (PCI 3.0 §6.8.2).
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        let Some(entry) = self.entry(offset) else { return };
        let aligned = match data.len() {
            4 => offset.is_multiple_of(4),
            8 => offset.is_multiple_of(8),
            _ => false,
        };
        if !aligned {
            return;
        }
        for (word, bytes) in (offset % ENTRY_SIZE / 4..).zip(data.chunks_exact(4)) {
            if let Ok(value) = <[u8; 4]>::try_from(bytes).map(u32::from_le_bytes) {
                self.write_word(entry, word, value);
            }
        }
    }

    fn entry(&self, offset: u64) -> Option<&Vector> {
        self.vectors.get(usize::try_from(offset / ENTRY_SIZE).ok()?)
    }

    fn write_word(&self, entry: &Vector, word: u64, value: u32) {
        let address = entry.address.load(SeqCst);
        match word {
            0 => entry.address.store(address & !0xffff_ffff | u64::from(value & !3), SeqCst),
            1 => entry.address.store(address & 0xffff_ffff | u64::from(value) << 32, SeqCst),
            2 => entry.data.store(value, SeqCst),
            _ => {
                entry.control.store(value & CONTROL_MASKED, SeqCst);
                entry.recall();
                return self.send_pending(entry);
            }
        }
        entry.written.fetch_add(1, SeqCst);
        entry.recall();
    }

    /// Sends what became pending while the vector was masked, if it is not any more.
    fn send_pending(&self, entry: &Vector) {
        if self.is_enabled() && !self.is_masked(entry) && entry.pending.swap(false, SeqCst) {
            self.send(entry);
        }
    }

    /// Reads the pending bit array at `offset`.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        let first = usize::try_from(offset).unwrap_or(usize::MAX).saturating_mul(8);
        for (i, byte) in data.iter_mut().enumerate() {
            let skipped = first.saturating_add(i.saturating_mul(8));
            let bits = self.vectors.iter().skip(skipped).take(8).map(|entry| entry.pending.load(SeqCst));
            *byte = bits.zip(0..).fold(0, |byte, (pending, bit)| byte | u8::from(pending) << bit);
        }
    }

    /// Takes over enable and function mask as the guest wrote them to the capability.
    pub fn set_control(&self, enabled: bool, masked: bool) {
        let value = (u8::from(enabled) * FUNCTION_ENABLED) | (u8::from(masked) * FUNCTION_MASKED);
        if self.function.swap(value, SeqCst) != value {
            self.vectors.iter().for_each(|entry| {
                entry.recall();
                self.send_pending(entry);
            });
        }
    }

    /// State for a snapshot.
    pub fn save(&self) -> MsixState {
        MsixState { vectors: self.vectors.iter().map(Vector::save).collect() }
    }

    /// Takes over a saved state; false, and nothing changed, if it has another number of vectors.
    pub fn restore(&self, state: &MsixState) -> bool {
        let fits = state.vectors.len() == self.vectors.len();
        if fits {
            self.vectors.iter().zip(&state.vectors).for_each(|(entry, saved)| entry.restore(saved));
        }
        fits
    }
}

impl Vector {
    fn new(slot: MsiSlot) -> Self {
        Self {
            slot,
            address: AtomicU64::new(0),
            data: AtomicU32::new(0),
            control: AtomicU32::new(CONTROL_MASKED),
            pending: AtomicBool::new(false),
            written: AtomicU64::new(1),
            routed: AtomicU64::new(0),
            lent: Mutex::default(),
        }
    }

    fn lent(&self) -> MutexGuard<'_, Lent> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lock is held meanwhile, so that who recalls at the same time does not go on before it is done.
    fn recall(&self) {
        let mut lent = self.lent();
        if let Some(recall) = lent.0.take() {
            recall();
        }
    }

    fn is_masked(&self) -> bool {
        self.control.load(SeqCst) & CONTROL_MASKED != 0
    }

    /// The machine's route is older than the message.
    fn is_stale(&self) -> bool {
        self.routed.load(SeqCst) != self.written.load(SeqCst)
    }

    fn message(&self) -> MsiMessage {
        MsiMessage { address: self.address.load(SeqCst), data: self.data.load(SeqCst) }
    }

    fn bytes(&self) -> [u8; 16] {
        let MsiMessage { address, data } = self.message();
        let control = self.control.load(SeqCst);
        (u128::from(address) | u128::from(data) << 64 | u128::from(control) << 96).to_le_bytes()
    }

    fn save(&self) -> VectorState {
        let (masked, pending) = (self.is_masked(), self.pending.load(SeqCst));
        VectorState { message: self.message(), masked, pending }
    }

    fn restore(&self, saved: &VectorState) {
        self.address.store(saved.message.address & !3, SeqCst);
        self.data.store(saved.message.data, SeqCst);
        self.control.store(if saved.masked { CONTROL_MASKED } else { 0 }, SeqCst);
        self.pending.store(saved.pending, SeqCst);
        self.written.fetch_add(1, SeqCst);
    }
}

impl fmt::Debug for MsixTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MsixTable").field("vectors", &self.vectors.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "msix_tests.rs"]
mod tests;
