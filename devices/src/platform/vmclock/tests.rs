use std::sync::atomic::AtomicBool;

use ram::Ram;

use super::*;

fn clock() -> VmClock {
    let page = Ram::from_ranges(&[(GuestAddress(BASE), usize::try_from(SIZE).unwrap())]).unwrap();
    VmClock::new(Arc::new(page)).unwrap()
}

/// The structure as a guest reads it, byte by byte from the kernel's header.
fn read(clock: &VmClock) -> (u32, u64, u64) {
    let page = clock.page();
    let mut bytes = [0; 112];
    page.read_slice(&mut bytes, GuestAddress(BASE)).unwrap();
    assert_eq!(&bytes[..4], b"VCLK");
    assert_eq!(bytes[4..8], 4096u32.to_le_bytes());
    assert_eq!(bytes[8..12], [1, 0, 0xff, 0], "version 1, no counter, UTC");
    assert_eq!(bytes[24..32], 0x300u64.to_le_bytes(), "flags");
    assert!(bytes[32..104].iter().all(|byte| *byte == 0), "nothing is said of the time");
    let number = |offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
    (u32::from_le_bytes(bytes[12..16].try_into().unwrap()), number(16), number(104))
}

#[test]
fn each_change_is_told_by_another_number() {
    let clock = clock();
    assert_eq!(read(&clock), (0, 1, 1));
    clock.disrupt();
    assert_eq!(read(&clock), (2, 2, 1));
    clock.renew();
    assert_eq!(read(&clock), (4, 2, 2));
}

#[test]
fn what_the_guest_scribbles_is_gone_with_the_next_change() {
    let clock = clock();
    clock.page().write_slice(&[0xff; 112], GuestAddress(BASE)).unwrap();
    clock.disrupt();
    assert_eq!(read(&clock), (2, 2, 1));
}

#[test]
fn state_survives_a_round_trip() {
    let (clock, copy) = (clock(), clock());
    clock.disrupt();
    copy.restore(&clock.save()).unwrap();
    let (sequence, disruptions, generation) = read(&copy);
    assert_eq!((disruptions, generation), (2, 1));
    assert!(sequence > 2 && sequence % 2 == 0, "who reads across the change notices: {sequence}");
    assert!(copy.restore(&State { version: 9, ..clock.save() }).is_err());
    let last = State { version: 1, sequence: u32::MAX, disruptions: u64::MAX, generation: u64::MAX };
    copy.restore(&last).unwrap();
    copy.disrupt();
    assert_eq!(read(&copy), (2, 0, u64::MAX), "numbers go round, and the sequence stays even");
}

/// Both numbers are changed together here, so that whoever sees only one of them changed has read in between.
#[test]
fn a_reader_that_obeys_the_sequence_sees_no_half_change() {
    let clock = clock();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..20_000 {
                let state = State {
                    version: 1,
                    sequence: number * 2,
                    disruptions: number.into(),
                    generation: number.into(),
                };
                clock.restore(&state).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        let page = clock.page();
        while !done.load(Ordering::Relaxed) {
            let sequence: u32 = page.load(place(at::SEQ_COUNT), Ordering::Acquire).unwrap();
            let one: u64 = page.load(place(at::DISRUPTION_MARKER), Ordering::Relaxed).unwrap();
            let other: u64 = page.load(place(at::GENERATION), Ordering::Relaxed).unwrap();
            fence(Ordering::Acquire);
            let again: u32 = page.load(place(at::SEQ_COUNT), Ordering::Relaxed).unwrap();
            assert!(sequence != again || sequence % 2 == 1 || one == other, "{one} and {other}");
        }
    });
}
