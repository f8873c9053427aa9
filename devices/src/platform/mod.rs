//! Devices of the ICH9 south bridge and the other fixed devices of the machine.
//!
//! Each module holds one device, the ports that it answers at, and its saved state. All of them run on vCPU threads,
//! so none of them waits for anything.

pub mod fw_cfg;
pub mod i8042;
pub mod nmi_status;
pub mod pm;
pub mod pvpanic;
pub mod reset;
pub mod rtc;
pub mod serial;
mod state;
#[cfg(test)]
mod testing;
pub mod vmclock;
pub mod watchdog;

pub use state::StateError;

/// Offsets of the bytes of an access that begins at `offset`; past the end of the address space they stay there.
fn offsets_from(offset: u64) -> impl Iterator<Item = u64> {
    (0u64..).map(move |index| offset.saturating_add(index))
}
