//! The fixed registers of the block and their bytes (ACPI 6.5 §4.8.3, ICH9 datasheet §13.8.3).

use std::ops::Range;

use super::timer;

/// PM1 event bits (status and enable).
pub(super) mod pm1 {
    /// The timer's highest bit changed.
    pub(in super::super) const TIMER: u16 = 1 << 0;
    /// The firmware released the global lock.
    pub(in super::super) const GLOBAL: u16 = 1 << 5;
    /// The power button was pressed.
    pub(in super::super) const POWER_BUTTON: u16 = 1 << 8;
    /// Enable bits of the sleep button and of the clock's alarm.
    const SLEEP_BUTTON: u16 = 1 << 9;
    const CLOCK_ALARM: u16 = 1 << 10;
    /// Enable bits that keep what is written. Linux enables the alarm's event whatever the tables say and complains
    /// where it cannot; neither the alarm nor a sleep button ever sets its status here.
    pub(in super::super) const ENABLES: u16 = TIMER | GLOBAL | POWER_BUTTON | SLEEP_BUTTON | CLOCK_ALARM;
}

/// PM1 control: events raise SCIs, not SMIs. Always set, because there is no SMI handler to switch it.
const SCI_EN: u16 = 1 << 0;
/// PM1 control: BM_RLD and SLP_TYP keep what is written.
pub(super) const CONTROL_STORED: u16 = 1 << 1 | SLEEP_TYPE;
const SLEEP_TYPE: u16 = 7 << 10;
const SLEEP_ENABLE: u16 = 1 << 13;

const STATUS: Range<u64> = 0x00..0x02;
const ENABLE: Range<u64> = 0x02..0x04;
const CONTROL: Range<u64> = 0x04..0x06;
const TIMER: Range<u64> = 0x08..0x0c;
const GPE_STATUS: Range<u64> = 0x20..0x28;
const GPE_ENABLE: Range<u64> = 0x28..0x30;

/// Registers as the guest left them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Registers {
    pub(super) status: u16,
    pub(super) enable: u16,
    pub(super) control: u16,
    pub(super) gpe_status: u64,
    pub(super) gpe_enable: u64,
    /// Half periods of the timer up to which TMR_STS was cleared.
    pub(super) timer_seen: u64,
}

/// What a written byte asks for beyond the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Nothing,
    /// SLP_EN was set together with this SLP_TYP.
    Sleep(u8),
}

impl Registers {
    /// PM1 status when the timer stands at `count`.
    fn status(&self, count: u64) -> u16 {
        let timer = if timer::half_periods(count) == self.timer_seen { 0 } else { pm1::TIMER };
        self.status | timer
    }

    /// Whether an enabled event is pending when the timer stands at `count`: the level of the SCI.
    pub(super) fn sci(&self, count: u64) -> bool {
        self.status(count) & self.enable & pm1::ENABLES != 0 || self.gpe_status & self.gpe_enable != 0
    }

    /// The byte at `offset`; registers that do not exist read as zero.
    pub(super) fn read(&self, offset: u64, count: u64) -> u8 {
        let control = self.control | SCI_EN;
        [
            (STATUS, u64::from(self.status(count))),
            (ENABLE, u64::from(self.enable)),
            (CONTROL, u64::from(control)),
            (TIMER, timer::visible(count)),
            (GPE_STATUS, self.gpe_status),
            (GPE_ENABLE, self.gpe_enable),
        ]
        .into_iter()
        .find(|(range, _)| range.contains(&offset))
        .map_or(0, |(range, value)| byte_of(value, offset - range.start))
    }

    /// Writes the byte at `offset` when the timer stands at `count`.
    pub(super) fn write(&mut self, offset: u64, byte: u8, count: u64) -> Request {
        if STATUS.contains(&offset) {
            let cleared = narrow(at(byte, offset - STATUS.start));
            self.status &= !cleared;
            if cleared & pm1::TIMER != 0 {
                self.timer_seen = timer::half_periods(count);
            }
        } else if ENABLE.contains(&offset) {
            self.enable = narrow(replace(self.enable.into(), offset - ENABLE.start, byte)) & pm1::ENABLES;
        } else if CONTROL.contains(&offset) {
            return self.write_control(offset - CONTROL.start, byte);
        } else if GPE_STATUS.contains(&offset) {
            self.gpe_status &= !at(byte, offset - GPE_STATUS.start);
        } else if GPE_ENABLE.contains(&offset) {
            self.gpe_enable = replace(self.gpe_enable, offset - GPE_ENABLE.start, byte);
        }
        Request::Nothing
    }

    fn write_control(&mut self, index: u64, byte: u8) -> Request {
        self.control = narrow(replace(self.control.into(), index, byte)) & CONTROL_STORED;
        if narrow(at(byte, index)) & SLEEP_ENABLE == 0 {
            return Request::Nothing;
        }
        let [_, high] = (self.control & SLEEP_TYPE).to_le_bytes();
        Request::Sleep(high >> 2)
    }
}

/// Byte `index` (0 to 7) of `value`.
fn byte_of(value: u64, index: u64) -> u8 {
    let bytes = value.to_le_bytes();
    usize::try_from(index).ok().and_then(|index| bytes.get(index)).copied().unwrap_or(0)
}

/// `byte` at byte position `index` (0 to 7) of an otherwise clear register.
fn at(byte: u8, index: u64) -> u64 {
    replace(0, index, byte)
}

/// `value` with byte `index` (0 to 7) replaced.
fn replace(value: u64, index: u64, byte: u8) -> u64 {
    let mut bytes = value.to_le_bytes();
    if let Some(place) = usize::try_from(index).ok().and_then(|index| bytes.get_mut(index)) {
        *place = byte;
    }
    u64::from_le_bytes(bytes)
}

/// The low 16 bits.
fn narrow(value: u64) -> u16 {
    let [low, high, ..] = value.to_le_bytes();
    u16::from_le_bytes([low, high])
}
