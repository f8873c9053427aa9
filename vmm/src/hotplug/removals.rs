//! Devices that the guest was asked to let go.

use std::time::{Duration, Instant};

use devices::pci::PciAddress;

/// How long a guest usually needs at most: Linux waits 5 s in case the button is pressed by mistake, then takes the power
/// away within 2 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// Removals under way.
#[derive(Debug, Default)]
pub(crate) struct Removals(Vec<Removal>);

#[derive(Debug)]
struct Removal {
    card: PciAddress,
    /// When the guest is late; `None` once that was told.
    due: Option<Instant>,
}

impl Removals {
    /// The guest is asked to let `card` go; false if it was asked just now. Asking again would take the question back.
    pub(crate) fn begin(&mut self, card: PciAddress, now: Instant) -> bool {
        if self.0.iter().any(|removal| removal.card == card && removal.due.is_some()) {
            return false;
        }
        self.end(card);
        self.0.push(Removal { card, due: now.checked_add(PATIENCE) });
        true
    }

    /// The card is gone; true if somebody asked for it.
    pub(crate) fn end(&mut self, card: PciAddress) -> bool {
        let before = self.0.len();
        self.0.retain(|removal| removal.card != card);
        self.0.len() != before
    }

    /// All cards that the guest has not let go, which it will not any more: it is gone itself.
    pub(crate) fn take_all(&mut self) -> Vec<PciAddress> {
        self.0.drain(..).map(|removal| removal.card).collect()
    }

    /// Cards with which the guest is late since the last call.
    pub(crate) fn late(&mut self, now: Instant) -> Vec<PciAddress> {
        let late = self.0.iter_mut().filter(|removal| removal.due.is_some_and(|due| due <= now));
        late.map(|removal| {
            removal.due = None;
            removal.card
        })
        .collect()
    }

    /// How long until the guest is late with something.
    pub(crate) fn late_in(&self, now: Instant) -> Option<Duration> {
        self.0.iter().filter_map(|removal| removal.due).min().map(|due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARD: PciAddress = PciAddress::new(2, 0, 0);

    #[test]
    fn a_late_guest_is_told_of_once_and_can_be_asked_again() {
        let (mut removals, start) = (Removals::default(), Instant::now());
        assert_eq!(removals.late_in(start), None);
        assert!(removals.begin(CARD, start));
        assert!(!removals.begin(CARD, start), "it would be taken back");
        assert_eq!(removals.late_in(start), Some(PATIENCE));
        assert!(removals.late(start).is_empty());
        let later = start + PATIENCE;
        assert_eq!(removals.late(later), [CARD]);
        assert!(removals.late(later).is_empty());
        assert_eq!(removals.late_in(later), None);
        assert!(removals.begin(CARD, later));
        assert!(removals.end(CARD));
        assert!(!removals.end(CARD));
        removals.begin(CARD, later);
        assert_eq!(removals.take_all(), [CARD]);
    }
}
