//! The slot of a port: its registers in the PCI Express capability, and what follows from them (PCIe 5.0 §6.7, §7.5.3).

/// Slot status: the attention button was pressed.
pub(super) const BUTTON: u16 = 1;
/// Slot status: the presence bit has changed.
pub(super) const PRESENCE_CHANGED: u16 = 1 << 3;
/// Slot status: the link went up or down.
pub(super) const LINK_CHANGED: u16 = 1 << 8;
/// Slot status: a card is in the slot.
pub(super) const PRESENT: u16 = 1 << 6;
/// Slot status bits that are cleared by writing one: button, power fault, sensor, presence, command, link.
const EVENTS: u16 = 0x011f;

/// Slot control: interrupts are wanted at all.
const INTERRUPTS: u16 = 1 << 5;
/// Slot control: power indicator, both bits set is off.
const POWER_INDICATOR: u16 = 3 << 8;
const INDICATOR_ON: u16 = 1 << 8;
/// Slot control: the power is off.
const POWER_OFF: u16 = 1 << 10;
/// Slot control bits that are kept; the interlock (bit 11) does not exist.
const KEPT: u16 = 0x17ff;
/// Slot control at power-on: attention indicator off.
const ATTENTION_OFF: u16 = 3 << 6;

/// What a write to the slot's registers means for the card in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// The guest gave power to the card.
    Accepted,
    /// The guest has taken the power away for good: the card can go.
    Released,
}

/// Slot control and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) control: u16,
    pub(super) status: u16,
}

impl Slot {
    /// The slot at power-on, with or without a card.
    pub(super) fn new(occupied: bool) -> Self {
        if occupied {
            Self { control: ATTENTION_OFF | INDICATOR_ON, status: PRESENT }
        } else {
            Self { control: ATTENTION_OFF | POWER_INDICATOR | POWER_OFF, status: 0 }
        }
    }

    /// A card is in the slot, and has power.
    pub(super) fn has_power(&self) -> bool {
        self.is_occupied() && self.control & POWER_OFF == 0
    }

    /// A card is in the slot.
    pub(super) fn is_occupied(&self) -> bool {
        self.status & PRESENT != 0
    }

    /// Something happened that the guest wants to be interrupted for.
    pub(super) fn interrupts(&self) -> bool {
        self.control & INTERRUPTS != 0 && self.status & self.control & EVENTS != 0
    }

    /// The guest wrote slot control.
    pub(super) fn write_control(&mut self, value: u16) -> Change {
        let released =
            |control: u16| control & POWER_OFF != 0 && control & POWER_INDICATOR == POWER_INDICATOR;
        let (had_power, was_released) = (self.has_power(), released(self.control));
        self.control = value & KEPT;
        if self.is_occupied() && !was_released && released(self.control) {
            Change::Released
        } else if !had_power && self.has_power() {
            Change::Accepted
        } else {
            Change::None
        }
    }

    /// The guest wrote slot status.
    pub(super) fn write_status(&mut self, value: u16) {
        self.status &= !(value & EVENTS);
    }

    /// A card was put in or taken out. Guests differ in what they wait for at a slot with a button: Linux has presence not
    /// tell it there, and takes a card when its link is up at once, or some seconds after the button.
    pub(super) fn set_present(&mut self, present: bool) {
        self.status = if present { self.status | PRESENT | BUTTON } else { self.status & !PRESENT };
        self.status |= PRESENCE_CHANGED | LINK_CHANGED;
    }

    /// Somebody wants the card out.
    pub(super) fn press_button(&mut self) {
        self.status |= BUTTON;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_goes_when_power_and_light_are_out() {
        let mut slot = Slot::new(true);
        assert!(slot.has_power());
        // The light blinks while the guest makes up its mind, then the power goes, then the light.
        for step in [0x02c0, 0x0700] {
            let expected = if step == 0x0700 { Change::Released } else { Change::None };
            assert_eq!(slot.write_control(step), expected, "{step:#x}");
        }
        assert_eq!(slot.write_control(0x0700), Change::None, "once only");
        let mut slot = Slot::new(true);
        assert_eq!(slot.write_control(0x0500), Change::None);
        assert!(!slot.has_power());
        assert_eq!(slot.write_control(0x0700), Change::Released);
        let mut empty = Slot::new(false);
        assert_eq!(empty.write_control(0x0100), Change::None);
        assert_eq!(empty.write_control(0x0700), Change::None, "there is nothing to let go");
    }

    #[test]
    fn interrupts_come_for_events_that_are_wanted() {
        let mut slot = Slot::new(false);
        slot.set_present(true);
        assert!(!slot.interrupts());
        slot.write_status(BUTTON | LINK_CHANGED);
        slot.write_control(INTERRUPTS | BUTTON | LINK_CHANGED);
        assert!(!slot.interrupts(), "presence is not asked for");
        slot.press_button();
        assert!(slot.interrupts());
        slot.write_status(BUTTON);
        assert!(!slot.interrupts());
        slot.write_control(INTERRUPTS | PRESENCE_CHANGED);
        assert!(slot.interrupts());
        slot.write_status(0xffff);
        assert_eq!(slot.status, PRESENT, "presence is no event");
    }

    #[test]
    fn a_card_is_told_of_to_whoever_waits_for_the_link_or_the_button_only() {
        for event in [BUTTON, PRESENCE_CHANGED, LINK_CHANGED] {
            let mut slot = Slot::new(false);
            slot.write_control(INTERRUPTS | event);
            slot.set_present(true);
            assert!(slot.interrupts(), "{event:#x}");
        }
        let mut slot = Slot::new(true);
        slot.set_present(false);
        assert_eq!(
            slot.status,
            PRESENCE_CHANGED | LINK_CHANGED,
            "nobody presses the button of an empty slot"
        );
    }
}
