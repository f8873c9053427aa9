//! ISA pvpanic: one port by which the guest reports that it crashed (QEMU docs/specs/pvpanic).
//!
//! The device keeps nothing, so it has no state to save.

use crate::bus::{Action, BusDevice, Panic};

/// Port of the device, as in QEMU.
pub const BASE: u64 = 0x505;
/// Number of ports.
pub const SIZE: u64 = 1;

/// Events in the order in which they matter when several are reported at once.
const EVENTS: [(u8, Panic); 3] =
    [(1 << 0, Panic::Panicked), (1 << 1, Panic::CrashLoaded), (1 << 2, Panic::Shutdown)];
const SUPPORTED: u8 = 1 << 0 | 1 << 1 | 1 << 2;

/// The pvpanic port: reads tell the events that it understands, a write reports them.
#[derive(Clone, Copy, Debug, Default)]
pub struct PvPanic;

impl BusDevice for PvPanic {
    fn read(&self, offset: u64, data: &mut [u8]) {
        data.fill(0xff);
        if let (0, Some(first)) = (offset, data.first_mut()) {
            *first = SUPPORTED;
        }
    }

    fn write(&self, offset: u64, data: &[u8]) -> Action {
        let bits = if offset == 0 { data.first().copied().unwrap_or(0) } else { 0 };
        EVENTS
            .iter()
            .find(|(bit, _)| bits & bit != 0)
            .map_or(Action::None, |&(_, event)| Action::Panicked(event))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hammer, read8};
    use super::*;

    fn event(value: u8) -> Option<Panic> {
        match PvPanic.write(0, &[value]) {
            Action::Panicked(event) => Some(event),
            _ => None,
        }
    }

    #[test]
    fn every_event_is_offered_and_reported() {
        assert_eq!(read8(&PvPanic, 0), 7);
        assert_eq!(event(1), Some(Panic::Panicked));
        assert_eq!(event(2), Some(Panic::CrashLoaded));
        assert_eq!(event(4), Some(Panic::Shutdown));
        assert_eq!(event(0xff), Some(Panic::Panicked));
        assert_eq!(event(0xf8), None);
        assert_eq!(event(0), None);
    }

    #[test]
    fn hostile_accesses_are_harmless() {
        hammer(&PvPanic, SIZE);
    }
}
