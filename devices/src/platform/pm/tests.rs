use std::time::{Duration, Instant};

use super::super::testing::{RecordedLine, hammer};
use super::*;

fn pm() -> (Pm, Arc<RecordedLine>) {
    let line = RecordedLine::new();
    (Pm::new(line.clone()), line)
}

fn read16(pm: &Pm, offset: u64) -> u16 {
    let mut data = [0u8; 2];
    pm.read(offset, &mut data);
    u16::from_le_bytes(data)
}

fn read32(pm: &Pm, offset: u64) -> u32 {
    let mut data = [0u8; 4];
    pm.read(offset, &mut data);
    u32::from_le_bytes(data)
}

fn write16(pm: &Pm, offset: u64, value: u16) {
    assert!(matches!(pm.write(offset, &value.to_le_bytes()), Action::None));
}

#[test]
fn acpi_mode_is_on_from_the_start_and_stays() {
    let (pm, _) = pm();
    assert_eq!(read16(&pm, PM1_CONTROL), 1);
    write16(&pm, PM1_CONTROL, 0x0002);
    assert_eq!(read16(&pm, PM1_CONTROL), 0x0003);
}

#[test]
fn soft_off_needs_the_right_type_and_the_enable_bit() {
    let (pm, _) = pm();
    let sleep = |value: u16| matches!(pm.write(PM1_CONTROL, &value.to_le_bytes()), Action::PowerOff);
    let s5 = u16::from(S5_SLP_TYP) << 10;
    assert!(!sleep(s5 | 1));
    assert!(!sleep(1 << 10 | 1 << 13), "S3 does not exist");
    assert!(sleep(s5 | 1 << 13 | 1));
    assert_eq!(read16(&pm, PM1_CONTROL) & 1 << 13, 0, "SLP_EN is write-only");
    assert!(matches!(pm.write(PM1_CONTROL + 1, &[S5_SLP_TYP << 2 | 1 << 5]), Action::PowerOff));
    assert!(matches!(pm.write(PM1_CONTROL, &[1, 1 << 5, 0, 0]), Action::PowerOff));
}

#[test]
fn power_button_raises_the_sci_until_it_is_acknowledged() {
    let (pm, line) = pm();
    pm.press_power_button();
    assert!(line.take().is_empty(), "not enabled yet");
    write16(&pm, PM1_EVENT + 2, pm1::POWER_BUTTON);
    assert_eq!(line.take(), [true]);
    assert_eq!(read16(&pm, PM1_EVENT), pm1::POWER_BUTTON);
    pm.press_power_button();
    write16(&pm, PM1_EVENT, 0);
    assert!(line.take().is_empty(), "the level does not change");
    write16(&pm, PM1_EVENT, pm1::POWER_BUTTON);
    assert_eq!(line.take(), [false]);
    assert_eq!(read16(&pm, PM1_EVENT), 0);
    pm.press_power_button();
    assert_eq!(line.take(), [true]);
}

#[test]
fn general_purpose_events_raise_the_sci() {
    let (pm, line) = pm();
    pm.raise_gpe(17);
    pm.raise_gpe(64);
    assert_eq!(read32(&pm, GPE0), 1 << 17);
    assert!(matches!(pm.write(GPE0 + 10, &[1 << 1]), Action::None));
    assert_eq!(line.take(), [true]);
    assert!(matches!(pm.write(GPE0 + 2, &[0xff]), Action::None));
    assert_eq!(line.take(), [false]);
    assert_eq!(read32(&pm, GPE0 + 8), 1 << 17, "the enable stays");
}

#[test]
fn timer_runs_at_its_frequency_and_cannot_be_written() {
    let (pm, _) = pm();
    assert!(matches!(pm.write(PM_TIMER, &[0xff; 4]), Action::None));
    let began = Instant::now();
    let start = read32(&pm, PM_TIMER);
    assert!(start < 1 << 24);
    std::thread::sleep(Duration::from_millis(20));
    let ticks = u64::from(read32(&pm, PM_TIMER) - start);
    let longest = began.elapsed();
    assert!(ticks >= TIMER_FREQUENCY / 50, "{ticks}");
    assert!(
        u128::from(ticks) <= longest.as_nanos() * u128::from(TIMER_FREQUENCY) / 1_000_000_000 + 1,
        "{ticks}"
    );
}

#[test]
fn timer_status_follows_the_highest_bit() {
    let mut registers = Registers::default();
    let status = |registers: &Registers, count| registers.read(0, count) & 1;
    assert_eq!(status(&registers, 0x7f_ffff), 0);
    assert_eq!(status(&registers, 0x80_0000), 1);
    registers.write(2, 1, 0x80_0000);
    assert!(registers.sci(0x80_0000));
    registers.write(0, 1, 0x80_0001);
    assert_eq!(status(&registers, 0x80_0002), 0);
    assert!(!registers.sci(0x80_0002));
    assert_eq!(status(&registers, 0x100_0000), 1);
}

#[test]
fn absent_registers_read_as_zero() {
    let (pm, _) = pm();
    for offset in (0x0c..0x20).chain(0x30..SIZE) {
        let _ = pm.write(offset, &[0xff]);
        let mut data = [0xaau8];
        pm.read(offset, &mut data);
        assert_eq!(data, [0], "{offset:#x}");
    }
}

#[test]
fn state_survives_a_round_trip() {
    let (old, _) = pm();
    write16(&old, PM1_EVENT + 2, pm1::POWER_BUTTON | pm1::GLOBAL);
    write16(&old, PM1_CONTROL, 0x1403);
    let _ = old.write(GPE0 + 8, &[2]);
    old.press_power_button();
    old.raise_gpe(3);
    let saved = old.save();
    let (new, line) = pm();
    new.restore(&saved).unwrap();
    assert_eq!(line.take(), [true]);
    let again = new.save();
    assert!(again.timer >= saved.timer, "the timer never goes back");
    assert_eq!(State { timer: saved.timer, ..again }, saved);
    assert!(new.restore(&State { version: 0, ..saved }).is_err());
}

#[test]
fn restored_timer_goes_on_from_where_it_stood() {
    let (pm, _) = pm();
    let state = State { timer: 0xab_0000, ..pm.save() };
    pm.restore(&state).unwrap();
    let count = read32(&pm, PM_TIMER);
    assert!((0xab_0000..0xac_0000 + 3_579_545).contains(&count), "{count:#x}");
}

#[test]
fn hostile_states_and_accesses_are_harmless() {
    let (pm, _) = pm();
    hammer(&pm, SIZE);
    let state = State {
        version: 1,
        pm1_status: 0xffff,
        pm1_enable: 0xffff,
        pm1_control: 0xffff,
        gpe0_status: u64::MAX,
        gpe0_enable: u64::MAX,
        timer: u64::MAX,
        timer_seen: u64::MAX,
    };
    pm.restore(&state).unwrap();
    hammer(&pm, SIZE);
}
