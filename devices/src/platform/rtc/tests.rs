use super::super::testing::{RecordedLine, hammer, read8};
use super::cells::{B_24_HOURS, B_BINARY};
use super::clock::{HOLD, seconds};
use super::*;

/// 2024-02-29T23:59:58Z, a Thursday.
const LEAP_EVENING: Duration = Duration::from_secs(1_709_251_198);

fn clock() -> Clock {
    Clock::new(0, Cells::at_power_on(&Sizes::default()), 0, LEAP_EVENING)
}

fn rtc(offset: i64) -> Rtc {
    Rtc::new(&Sizes::default(), offset, RecordedLine::new()).unwrap()
}

impl Clock {
    fn get(&mut self, index: u8, now: Duration) -> u8 {
        self.index = index;
        self.read(now)
    }

    fn put(&mut self, index: u8, value: u8, now: Duration) -> bool {
        self.index = index;
        self.write(value, now)
    }

    /// Century, year, month, day, weekday, hours, minutes, seconds.
    fn all(&mut self, now: Duration) -> [u8; 8] {
        [0x32, 9, 8, 7, 6, 4, 2, 0].map(|index| self.get(index, now))
    }
}

#[test]
fn time_is_shown_in_all_formats() {
    let mut clock = clock();
    assert_eq!(clock.all(LEAP_EVENING), [0x20, 0x24, 0x02, 0x29, 5, 0x23, 0x59, 0x58]);
    clock.put(0x0b, B_24_HOURS | B_BINARY, LEAP_EVENING);
    assert_eq!(clock.all(LEAP_EVENING), [20, 24, 2, 29, 5, 23, 59, 58]);
    clock.put(0x0b, 0, LEAP_EVENING);
    assert_eq!(clock.get(4, LEAP_EVENING), 0x91);
    assert_eq!(clock.get(4, LEAP_EVENING + Duration::from_secs(2)), 0x12, "midnight");
    assert_eq!(clock.get(4, LEAP_EVENING + Duration::from_secs(2 + 43_200)), 0x92, "noon");
}

#[test]
fn setting_the_clock_the_usual_way_moves_it() {
    let mut clock = clock();
    clock.put(0x0b, 0x82, LEAP_EVENING);
    for (index, value) in [(0, 0x01), (2, 0x02), (4, 0x03), (7, 0x04), (8, 0x05), (9, 0x36), (0x32, 0x20)] {
        clock.put(index, value, LEAP_EVENING);
    }
    let later = LEAP_EVENING + Duration::from_secs(10);
    assert_eq!(clock.get(0, later), 0x01, "a stopped clock stands");
    clock.put(0x0b, 0x02, later);
    assert_eq!(clock.all(later), [0x20, 0x36, 0x05, 0x04, 1, 0x03, 0x02, 0x01]);
    let much_later = later + Duration::from_secs(59);
    assert_eq!(clock.all(much_later), [0x20, 0x36, 0x05, 0x04, 1, 0x03, 0x03, 0x00]);
}

#[test]
fn a_register_of_a_running_clock_can_be_set() {
    let mut clock = clock();
    clock.put(4, 0x11, LEAP_EVENING);
    assert_eq!(clock.all(LEAP_EVENING), [0x20, 0x24, 0x02, 0x29, 5, 0x11, 0x59, 0x58]);
    assert_eq!(clock.offset, -12 * 3600);
}

#[test]
fn twelve_hour_times_are_understood() {
    let mut clock = clock();
    for (shown, hour) in [(0x12, 0), (0x01, 1), (0x11, 11), (0x92, 12), (0x81, 13), (0x91, 23)] {
        clock.put(0x0b, 0x00, LEAP_EVENING);
        clock.put(4, shown, LEAP_EVENING);
        clock.put(0x0b, 0x06, LEAP_EVENING);
        assert_eq!(clock.get(4, LEAP_EVENING), hour);
    }
}

#[test]
fn looking_at_uip_holds_the_time_still() {
    let mut clock = clock();
    let almost = LEAP_EVENING + Duration::from_micros(999_900);
    assert_eq!(clock.get(0x0a, almost), 0x26, "UIP must be clear");
    assert_eq!(clock.get(0, almost + Duration::from_micros(300)), 0x58);
    assert_eq!(clock.get(0, almost + HOLD), 0x59);
    assert_eq!(clock.get(0, LEAP_EVENING - Duration::from_secs(1)), 0x57, "host clock stepped back");
}

#[test]
fn status_registers_keep_what_they_may() {
    let mut clock = clock();
    clock.put(0x0a, 0xff, LEAP_EVENING);
    assert_eq!(clock.get(0x0a, LEAP_EVENING), 0x7f);
    clock.put(0x0c, 0xff, LEAP_EVENING);
    clock.put(0x0d, 0, LEAP_EVENING);
    assert_eq!(clock.get(0x0c, LEAP_EVENING), 0);
    assert_eq!(clock.get(0x0d, LEAP_EVENING), 0x80);
}

#[test]
fn each_second_ends_an_update() {
    let mut clock = clock();
    let after = |tenths: u64| LEAP_EVENING + Duration::from_millis(tenths * 100);
    clock.put(1, 0x33, LEAP_EVENING);
    assert!(!clock.needs_timer());
    assert_eq!(clock.get(0x0c, after(9)), 0);
    assert_eq!(clock.get(0x0c, after(11)), 0x10, "flagged even if not enabled");
    assert_eq!(clock.get(0x0c, after(12)), 0, "reading clears");
    assert!(!clock.put(0x0b, 0x12, after(13)));
    assert!(clock.needs_timer());
    assert!(!clock.advance(after(19)));
    assert!(clock.advance(after(20)));
    assert!(!clock.advance(after(30)), "one edge until it is acknowledged");
    assert_eq!(clock.get(0x0c, after(31)), 0x90);
    clock.put(0x0b, 0x02, after(31));
    assert!(!clock.advance(after(40)));
    assert!(clock.put(0x0b, 0x12, after(41)), "enabling a flagged interrupt raises it");
    clock.put(0x0b, 0x92, after(41));
    assert!(!clock.needs_timer(), "a stopped clock ends no updates");
}

#[test]
fn alarm_comes_once_at_its_time() {
    let mut clock = clock();
    for (index, value) in [(1, 0x05), (3, 0x00), (5, 0x00), (0x0b, 0x22)] {
        clock.put(index, value, LEAP_EVENING);
    }
    let after = |seconds: u64| LEAP_EVENING + Duration::from_secs(seconds);
    assert!(!clock.advance(after(6)));
    assert!(clock.advance(after(9)), "seconds that the host slept through count");
    assert_eq!(clock.get(0x0c, after(9)), 0xb0);
    assert!(!clock.advance(after(3600)));
    assert!(clock.advance(after(7 + 10 * 86_400)), "and so do days");
}

#[test]
fn alarm_registers_can_match_anything() {
    let mut clock = clock();
    for (index, value) in [(1, 0x00), (3, 0xc0), (5, 0xff), (0x0b, 0x22)] {
        clock.put(index, value, LEAP_EVENING);
    }
    assert!(!clock.advance(LEAP_EVENING + Duration::from_secs(1)));
    assert!(clock.advance(LEAP_EVENING + Duration::from_secs(2)));
    clock.get(0x0c, LEAP_EVENING + Duration::from_secs(3));
    assert!(clock.advance(LEAP_EVENING + Duration::from_secs(62)));
}

#[test]
fn a_timer_stands_behind_enabled_interrupts() {
    let line = RecordedLine::new();
    let rtc = Rtc::new(&Sizes::default(), 0, line.clone()).unwrap();
    let armed = || lock(&rtc.inner).timer.is_armed().unwrap();
    assert_eq!(rtc.timer(), lock(&rtc.inner).timer.as_raw_fd());
    assert!(!armed());
    let _ = rtc.write(0, &[0x0b, 0x12]);
    assert!(armed());
    lock(&rtc.inner).clock.offset += 1;
    rtc.timer_fired();
    assert_eq!(line.take(), [true, false]);
    assert!(armed(), "it goes on each second");
    let _ = rtc.write(0, &[0x0b, 0x02]);
    rtc.timer_fired();
    assert!(!armed());
    let enabled = State {
        cells: {
            let mut cells = rtc.save().cells;
            cells[0x0b] = 0x22;
            cells
        },
        ..rtc.save()
    };
    rtc.restore(&enabled).unwrap();
    assert!(armed());
}

#[test]
fn memory_tells_firmware_the_sizes() {
    let sizes = Sizes { low_ram: 2 << 30, high_ram: 6 << 30, cpus: 4 };
    let mut clock = Clock::new(0, Cells::at_power_on(&sizes), 0, LEAP_EVENING);
    let mut bytes =
        |indexes: &[u8]| -> Vec<u8> { indexes.iter().map(|&i| clock.get(i, LEAP_EVENING)).collect() };
    assert_eq!(bytes(&[0x15, 0x16]), 640u16.to_le_bytes());
    assert_eq!(bytes(&[0x30, 0x31, 0x17, 0x18]), [0xff; 4]);
    assert_eq!(bytes(&[0x34, 0x35]), u16::try_from((2032u32 << 20) >> 16).unwrap().to_le_bytes());
    assert_eq!(bytes(&[0x5b, 0x5c, 0x5d]), [0x00, 0x80, 0x01]);
    assert_eq!(bytes(&[0x5f]), [3]);
    let tiny = Cells::at_power_on(&Sizes::default());
    assert_eq!((tiny.get(0x34), tiny.get(0x5b), tiny.get(0x5f)), (0, 0, 0));
    let huge = Cells::at_power_on(&Sizes { low_ram: u64::MAX, high_ram: u64::MAX, cpus: u16::MAX });
    assert_eq!((huge.get(0x35), huge.get(0x5d), huge.get(0x5f)), (0xff, 0xff, 0xff));
}

#[test]
fn free_memory_is_kept_and_the_index_is_write_only() {
    let rtc = rtc(0);
    let _ = rtc.write(0, &[0x80 | 0x0f, 0x0a]);
    assert_eq!(read8(&rtc, 1), 0x0a, "NMI mask must not select");
    assert_eq!(read8(&rtc, 0), 0xff);
}

#[test]
fn clock_follows_the_host_with_an_offset() {
    let rtc = rtc(-86_400);
    let clock = &mut lock(&rtc.inner).clock;
    let now = host_time();
    clock.index = 0;
    clock.read(now);
    let shown = clock.cells.shown().to_unix();
    assert_eq!(shown, seconds(now) - 86_400);
}

#[test]
fn state_survives_a_round_trip() {
    let old = Rtc::new(&Sizes { low_ram: 1 << 30, high_ram: 0, cpus: 2 }, 3600, RecordedLine::new()).unwrap();
    let _ = old.write(0, &[0x50, 0x77]);
    let new = rtc(0);
    new.restore(&old.save()).unwrap();
    assert_eq!(new.save(), old.save());
    assert_eq!(read8(&new, 1), 0x77);
    assert_eq!(new.save().offset, 3600);
}

#[test]
fn damaged_states_are_refused_or_harmless() {
    let rtc = rtc(0);
    let good = rtc.save();
    assert!(rtc.restore(&State { version: 2, ..good.clone() }).is_err());
    let short = State { cells: vec![0; 127], ..good.clone() };
    assert!(matches!(rtc.restore(&short), Err(StateError::Damaged { .. })));
    assert_eq!(rtc.save(), good);
    for offset in [i64::MAX, i64::MIN] {
        rtc.restore(&State { version: 1, index: 0xff, cells: vec![0xff; 128], offset }).unwrap();
        hammer(&rtc, SIZE);
    }
}

#[test]
fn any_byte_in_any_register_is_harmless() {
    let mut clock = clock();
    for control in [0x00, 0x02, 0x04, 0x06, 0x80, 0x86] {
        for index in (0..128).filter(|&index| index != 0x0b) {
            for value in 0..=255 {
                clock.put(0x0b, control, LEAP_EVENING);
                clock.put(index, value, LEAP_EVENING);
                clock.put(0x0b, control & 0x7f, LEAP_EVENING);
                clock.all(LEAP_EVENING);
            }
        }
    }
}

#[test]
fn hostile_accesses_are_harmless() {
    let rtc = rtc(0);
    for index in 0..128 {
        let _ = rtc.write(0, &[index]);
        hammer(&rtc, SIZE);
    }
}
