//! The 128 bytes of CMOS memory: their places, their encoding, and what they hold at power-on.

use super::calendar::DateTime;

/// Number of bytes.
pub(super) const COUNT: usize = 128;

/// Places of the clock's registers.
pub(super) mod place {
    pub(in super::super) const SECONDS: u8 = 0x00;
    pub(in super::super) const SECONDS_ALARM: u8 = 0x01;
    pub(in super::super) const MINUTES: u8 = 0x02;
    pub(in super::super) const MINUTES_ALARM: u8 = 0x03;
    pub(in super::super) const HOURS: u8 = 0x04;
    pub(in super::super) const HOURS_ALARM: u8 = 0x05;
    pub(in super::super) const WEEKDAY: u8 = 0x06;
    pub(in super::super) const DAY: u8 = 0x07;
    pub(in super::super) const MONTH: u8 = 0x08;
    pub(in super::super) const YEAR: u8 = 0x09;
    pub(in super::super) const A: u8 = 0x0a;
    pub(in super::super) const B: u8 = 0x0b;
    pub(in super::super) const C: u8 = 0x0c;
    pub(in super::super) const D: u8 = 0x0d;
    /// Also FADT's CENTURY.
    pub(in super::super) const CENTURY: u8 = 0x32;
}

/// Register B: 24-hour mode, binary instead of BCD, clock stopped for setting.
pub(super) const B_24_HOURS: u8 = 1 << 1;
pub(super) const B_BINARY: u8 = 1 << 2;
pub(super) const B_SET: u8 = 1 << 7;
/// Register A: 32.768 kHz time base, 1024 Hz rate.
const A_POWER_ON: u8 = 0x26;
/// Hours register: afternoon in 12-hour mode.
const PM: u8 = 1 << 7;
/// Alarm registers with both bits set match any time.
const ANY: u8 = 3 << 6;

/// Sizes that firmware reads from CMOS memory, as on QEMU's q35.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sizes {
    /// Bytes of RAM below 4 GiB.
    pub low_ram: u64,
    /// Bytes of RAM from 4 GiB on.
    pub high_ram: u64,
    /// Number of CPUs at power-on, 1 to 256.
    pub cpus: u16,
}

/// The bytes. Clock registers hold the time only while the clock is stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cells([u8; COUNT]);

impl Cells {
    pub(super) fn at_power_on(sizes: &Sizes) -> Self {
        let mut cells = Self([0; COUNT]);
        cells.set(place::A, A_POWER_ON);
        cells.set(place::B, B_24_HOURS);
        // Equipment: a floating-point unit.
        cells.set(0x14, 0x02);
        cells.set_le(0x15, 2, 640);
        let extended = sizes.low_ram.saturating_sub(1 << 20) >> 10;
        cells.set_le(0x17, 2, extended.min(0xffff));
        cells.set_le(0x30, 2, extended.min(0xffff));
        let above_16_mib = sizes.low_ram.saturating_sub(16 << 20) >> 16;
        cells.set_le(0x34, 2, above_16_mib.min(0xffff));
        cells.set_le(0x5b, 3, (sizes.high_ram >> 16).min(0xff_ffff));
        cells.set_le(0x5f, 1, u64::from(sizes.cpus.saturating_sub(1)).min(0xff));
        cells
    }

    /// The byte at `index`, 0 to 127.
    pub(super) fn get(&self, index: u8) -> u8 {
        self.0.get(usize::from(index)).copied().unwrap_or(0xff)
    }

    /// Replaces the byte at `index`, 0 to 127.
    pub(super) fn set(&mut self, index: u8, value: u8) {
        if let Some(cell) = self.0.get_mut(usize::from(index)) {
            *cell = value;
        }
    }

    fn set_le(&mut self, index: u8, length: u8, value: u64) {
        (index..)
            .zip(value.to_le_bytes())
            .take(length.into())
            .for_each(|(index, byte)| self.set(index, byte));
    }

    /// The clock is stopped while software sets it.
    pub(super) fn stopped(&self) -> bool {
        self.get(place::B) & B_SET != 0
    }

    /// Puts a time into the clock registers, in the format of register B.
    pub(super) fn show(&mut self, time: DateTime) {
        let hours = self.encode_hours(time.hour);
        for (index, value) in [
            (place::SECONDS, self.encode(time.second)),
            (place::MINUTES, self.encode(time.minute)),
            (place::HOURS, hours),
            (place::WEEKDAY, self.encode(time.weekday)),
            (place::DAY, self.encode(time.day)),
            (place::MONTH, self.encode(time.month)),
            (place::YEAR, self.encode(time.year)),
            (place::CENTURY, self.encode(time.century)),
        ] {
            self.set(index, value);
        }
    }

    /// The time in the clock registers.
    pub(super) fn shown(&self) -> DateTime {
        DateTime {
            second: self.decode(place::SECONDS),
            minute: self.decode(place::MINUTES),
            hour: self.decode_hours(self.get(place::HOURS)),
            weekday: self.decode(place::WEEKDAY),
            day: self.decode(place::DAY),
            month: self.decode(place::MONTH),
            year: self.decode(place::YEAR),
            century: self.decode(place::CENTURY),
        }
    }

    /// The alarm registers name this time of day.
    pub(super) fn alarm_matches(&self, hour: u8, minute: u8, second: u8) -> bool {
        let alarm = |index| Some(self.get(index)).filter(|value| value & ANY != ANY);
        alarm(place::SECONDS_ALARM).is_none_or(|value| self.decode_value(value) == second)
            && alarm(place::MINUTES_ALARM).is_none_or(|value| self.decode_value(value) == minute)
            && alarm(place::HOURS_ALARM).is_none_or(|value| self.decode_hours(value) == hour)
    }

    fn binary(&self) -> bool {
        self.get(place::B) & B_BINARY != 0
    }

    fn encode(&self, value: u8) -> u8 {
        if self.binary() { value } else { ((value / 10 % 10) << 4) | (value % 10) }
    }

    fn encode_hours(&self, hour: u8) -> u8 {
        if self.get(place::B) & B_24_HOURS != 0 {
            return self.encode(hour);
        }
        let on_dial = (hour + 11) % 12 + 1;
        self.encode(on_dial) | if hour < 12 { 0 } else { PM }
    }

    fn decode(&self, index: u8) -> u8 {
        self.decode_value(self.get(index))
    }

    fn decode_value(&self, value: u8) -> u8 {
        if self.binary() { value } else { (value >> 4) * 10 + (value & 0x0f) }
    }

    fn decode_hours(&self, value: u8) -> u8 {
        if self.get(place::B) & B_24_HOURS != 0 {
            return self.decode_value(value);
        }
        let afternoon = if value & PM == 0 { 0 } else { 12 };
        self.decode_value(value & !PM) % 12 + afternoon
    }

    pub(super) fn to_vec(&self) -> Vec<u8> {
        self.0.to_vec()
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}
