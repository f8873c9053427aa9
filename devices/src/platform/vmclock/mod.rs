//! A page by which guests learn that their time stamp counter is not the one that they have measured: `struct vmclock_abi` of
//! Linux (`include/uapi/linux/vmclock-abi.h`), with the place and the names that QEMU gives it.
//!
//! It does not tell the time (its counter is "invalid"): that would take a host that knows how far its own clock is off. It
//! tells that the machine was moved or brought back (`disruption_marker`), and that it was brought back, perhaps more than
//! once (`vm_generation_counter`). Programs of the guest map it and look at it without a system call.
//!
//! The guest can write to its page, which nobody else reads: all of it is written anew with every change.

#[cfg(test)]
mod tests;

use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::state::{StateError, check_version};
use crate::GuestRam;
use crate::lock;

/// Where the guest has the page.
pub const BASE: u64 = 0xfeff_b000;
/// Length of the page.
pub const SIZE: u64 = 0x1000;

/// `VCLK`.
const MAGIC: u32 = 0x4b4c_4356;
const ABI_VERSION: u16 = 1;
/// `VMCLOCK_COUNTER_INVALID`: nothing is said of the time.
const NO_COUNTER: u8 = 0xff;
/// `VMCLOCK_FLAG_VM_GEN_COUNTER_PRESENT`, `VMCLOCK_FLAG_NOTIFICATION_PRESENT`.
const FLAGS: u64 = 1 << 8 | 1 << 9;

/// Offsets in the structure.
mod at {
    pub(super) const MAGIC: usize = 0;
    pub(super) const SIZE: usize = 4;
    pub(super) const VERSION: usize = 8;
    pub(super) const COUNTER_ID: usize = 10;
    pub(super) const SEQ_COUNT: usize = 12;
    pub(super) const DISRUPTION_MARKER: usize = 16;
    pub(super) const FLAGS: usize = 24;
    pub(super) const GENERATION: usize = 104;
    pub(super) const END: usize = 112;
}

const DEVICE: &str = "the virtual machine clock";
const VERSION: u32 = 1;

/// What a snapshot keeps of the page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Layout of this struct.
    pub version: u32,
    /// `seq_count`: even.
    pub sequence: u32,
    /// `disruption_marker`.
    pub disruptions: u64,
    /// `vm_generation_counter`.
    pub generation: u64,
}

/// The page and what stands in it.
#[derive(Debug)]
pub struct VmClock {
    page: GuestRam,
    state: Mutex<State>,
}

impl VmClock {
    /// A clock that was never disturbed. `page` is memory of [`SIZE`] bytes at [`BASE`], which is shown to the guest and outlives
    /// the guest.
    ///
    /// # Errors
    /// The memory is elsewhere.
    pub fn new(page: GuestRam) -> Result<Self, GuestMemoryError> {
        let state = State { version: VERSION, sequence: 0, disruptions: 1, generation: 1 };
        page.write_slice(&image(&state), GuestAddress(BASE))?;
        Ok(Self { page, state: Mutex::new(state) })
    }

    /// The memory that it was made with.
    pub fn page(&self) -> GuestRam {
        Arc::clone(&self.page)
    }

    /// The time stamp counter goes on elsewhere, where its rate and its value are others: the machine was moved or brought back.
    pub fn disrupt(&self) {
        self.change(|state| state.disruptions = state.disruptions.wrapping_add(1));
    }

    /// The machine was brought back from a snapshot, from which others may come as well.
    pub fn renew(&self) {
        self.change(|state| state.generation = state.generation.wrapping_add(1));
    }

    /// State for a snapshot.
    pub fn save(&self) -> State {
        lock(&self.state).clone()
    }

    /// Takes over a saved state.
    ///
    /// # Errors
    /// The state has an unknown version.
    pub fn restore(&self, saved: &State) -> Result<(), StateError> {
        check_version(DEVICE, saved.version, VERSION)?;
        self.change(|state| *state = State { sequence: saved.sequence & !1, ..saved.clone() });
        Ok(())
    }

    /// Whoever reads while the page changes finds an odd `seq_count`, or another one than before.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = lock(&self.state);
        change(&mut state);
        let begun = state.sequence | 1;
        state.sequence = begun.wrapping_add(1);
        // The page is as long as it was when the clock was made, so that nothing fails here.
        let _ = self.page.store(begun, place(at::SEQ_COUNT), Ordering::Relaxed);
        fence(Ordering::Release);
        let image = image(&state);
        let (before, behind) = (image.get(..at::SEQ_COUNT), image.get(at::DISRUPTION_MARKER..));
        let _ = self.page.write_slice(before.unwrap_or_default(), place(0));
        let _ = self.page.write_slice(behind.unwrap_or_default(), place(at::DISRUPTION_MARKER));
        let _ = self.page.store(state.sequence, place(at::SEQ_COUNT), Ordering::Release);
    }
}

fn place(offset: usize) -> GuestAddress {
    GuestAddress(BASE + offset as u64)
}

/// The structure; what is not set is zero, which says that it is unknown.
fn image(state: &State) -> [u8; at::END] {
    let mut image = [0; at::END];
    let mut put = |offset: usize, bytes: &[u8]| {
        if let Some(place) = image.get_mut(offset..offset + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(at::MAGIC, &MAGIC.to_le_bytes());
    put(at::SIZE, &u32::try_from(SIZE).unwrap_or_default().to_le_bytes());
    put(at::VERSION, &ABI_VERSION.to_le_bytes());
    put(at::COUNTER_ID, &[NO_COUNTER]);
    put(at::SEQ_COUNT, &state.sequence.to_le_bytes());
    put(at::DISRUPTION_MARKER, &state.disruptions.to_le_bytes());
    put(at::FLAGS, &FLAGS.to_le_bytes());
    put(at::GENERATION, &state.generation.to_le_bytes());
    image
}
