use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::*;

const ADDRESS: u32 = 0xfee0_1000;

/// Routes that come into force by a commit, which takes its time.
#[derive(Debug, Default)]
struct Routes {
    next: Mutex<BTreeMap<u32, MsiMessage>>,
    in_force: Mutex<BTreeMap<u32, MsiMessage>>,
    commits: AtomicU32,
    failing: AtomicBool,
}

impl MsiRoutes for Routes {
    fn set(&self, gsi: u32, message: Option<MsiMessage>) {
        let mut next = self.next.lock().unwrap();
        match message {
            Some(message) => next.insert(gsi, message),
            None => next.remove(&gsi),
        };
    }

    fn commit(&self) -> io::Result<()> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        if self.failing.load(SeqCst) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let next = self.next.lock().unwrap().clone();
        std::thread::sleep(std::time::Duration::from_millis(1));
        *self.in_force.lock().unwrap() = next;
        Ok(())
    }
}

fn table(vectors: u32) -> (MsixTable, Arc<Routes>, Vec<EventFd>) {
    let irqs: Vec<_> = (0..vectors).map(|_| EventFd::new(EFD_NONBLOCK).unwrap()).collect();
    let slots = (0..).zip(&irqs).map(|(gsi, fd)| MsiSlot { gsi, irqfd: fd.try_clone().unwrap() }).collect();
    let routes = Arc::new(Routes::default());
    (MsixTable::new(slots, routes.clone(), Arc::new(LimitedLog::new("test"))), routes, irqs)
}

fn program(table: &MsixTable, vector: u64, data: u32) {
    table.write_table(vector * 16, &u64::from(ADDRESS).to_le_bytes());
    table.write_table(vector * 16 + 8, &u64::from(data).to_le_bytes());
}

fn mask(table: &MsixTable, vector: u64, masked: bool) {
    table.write_table(vector * 16 + 12, &u32::from(masked).to_le_bytes());
}

fn fired(irq: &EventFd) -> u64 {
    irq.read().unwrap_or(0)
}

#[test]
fn entries_are_masked_at_power_on_and_read_back() {
    let (table, ..) = table(2);
    let mut entry = [0xaa; 16];
    table.read_table(16, &mut entry);
    assert_eq!(u128::from_le_bytes(entry), 1 << 96);
    table.write_table(16, &[0xff; 8]);
    table.write_table(24, &[0xff; 8]);
    table.read_table(16, &mut entry);
    assert_eq!(u128::from_le_bytes(entry), (0x1_ffff_ffff << 64) | 0xffff_ffff_ffff_fffc);
    table.read_table(28, &mut entry);
    assert_eq!(entry[4..], [0; 12], "an access ends with its entry");
}

#[test]
fn odd_accesses_have_no_effect() {
    let (table, routes, irqs) = table(2);
    for offset in (0..40).chain([0x3000, u64::MAX - 7]) {
        for len in [0, 1, 2, 3, 5, 7, 16, 300] {
            table.write_table(offset, &vec![0xff; len]);
            table.read_table(offset, &mut vec![0; len]);
            table.read_pending(offset, &mut vec![0; len]);
        }
    }
    table.write_table(2, &[0xff; 4]);
    table.write_table(4, &[0xff; 8]);
    let mut entry = [0; 16];
    table.read_table(0, &mut entry);
    assert_eq!(u128::from_le_bytes(entry), 1 << 96);
    table.set_control(true, false);
    for vector in [0, 1, 2, 767, 768, NO_VECTOR] {
        table.signal(vector);
    }
    assert_eq!(irqs.iter().map(fired).sum::<u64>(), 0);
    assert_eq!(routes.commits.load(SeqCst), 0);
}

#[test]
fn a_change_of_the_message_is_routed_before_the_next_signal() {
    let (table, routes, irqs) = table(3);
    table.set_control(true, false);
    for vector in 0..3 {
        program(&table, vector, 7);
    }
    table.signal(0);
    table.signal(2);
    assert_eq!(routes.commits.load(SeqCst), 1);
    program(&table, 1, 8);
    table.signal(0);
    assert_eq!(routes.commits.load(SeqCst), 1, "others do not mind");
    table.signal(1);
    assert_eq!(routes.commits.load(SeqCst), 2);
    assert_eq!(routes.in_force.lock().unwrap()[&1].data, 8);
    assert_eq!(irqs.iter().map(fired).collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn a_failed_update_is_tried_again() {
    let (table, routes, irqs) = table(1);
    table.set_control(true, false);
    program(&table, 0, 7);
    routes.failing.store(true, SeqCst);
    table.signal(0);
    assert!(routes.in_force.lock().unwrap().is_empty());
    routes.failing.store(false, SeqCst);
    table.signal(0);
    assert_eq!(routes.in_force.lock().unwrap()[&0].data, 7);
    assert_eq!(fired(&irqs[0]), 2);
}

#[test]
fn only_messages_to_interrupt_controllers_are_routed() {
    let (table, routes, _irqs) = table(2);
    table.set_control(true, false);
    program(&table, 0, 1);
    program(&table, 1, 1);
    table.signal(0);
    for address in [0, 0x1000, 0xfed0_0000, 0xfef0_0000, 1 << 32 | 0xfee0_0000u64, u64::MAX] {
        table.write_table(0, &address.to_le_bytes());
        table.signal(0);
        assert_eq!(routes.in_force.lock().unwrap().keys().collect::<Vec<_>>(), [&1], "{address:#x}");
    }
}

#[test]
fn pending_bits_lie_where_they_belong() {
    let (table, ..) = table(20);
    table.set_control(true, false);
    for vector in [0, 9, 19] {
        table.signal(vector);
    }
    let mut bits = [0; 8];
    table.read_pending(0, &mut bits);
    assert_eq!(bits, [1, 2, 8, 0, 0, 0, 0, 0]);
    let mut byte = [0];
    table.read_pending(2, &mut byte);
    assert_eq!(byte, [8]);
}

#[test]
fn disabling_drops_and_a_function_mask_keeps() {
    let (table, _, irqs) = table(1);
    program(&table, 0, 7);
    table.signal(0);
    table.set_control(true, true);
    assert_eq!(fired(&irqs[0]), 0);
    table.signal(0);
    table.set_control(true, false);
    assert_eq!(fired(&irqs[0]), 1);
    table.set_control(true, false);
    assert_eq!(fired(&irqs[0]), 0);
}

/// Runs `theirs` on another thread and `ours` here, as good as at the same time, many times over; counts how often
/// the outcome was bad.
fn race(prepare: impl Fn(), theirs: impl Fn() + Sync, ours: impl Fn(), good: impl Fn() -> bool) -> u32 {
    const ROUNDS: u32 = 20_000;
    let mut bad = 0;
    let (go, done) = (AtomicU32::new(0), AtomicU32::new(0));
    let wait = |counter: &AtomicU32, round| {
        for spins in 0u32.. {
            if counter.load(SeqCst) == round {
                break;
            }
            if spins % 1024 == 1023 {
                std::thread::yield_now();
            }
        }
    };
    let spin = |round: u32, step| (0..round * step % 61).for_each(|_| std::hint::spin_loop());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=ROUNDS {
                wait(&go, round);
                spin(round, 7);
                theirs();
                done.store(round, SeqCst);
            }
        });
        for round in 1..=ROUNDS {
            prepare();
            go.store(round, SeqCst);
            spin(round, 13);
            ours();
            wait(&done, round);
            bad += u32::from(!good());
        }
    });
    bad
}

#[test]
fn no_signal_is_lost_to_an_unmasking() {
    let (table, _, irqs) = table(1);
    program(&table, 0, 7);
    table.set_control(true, false);
    let masked = |masked| mask(&table, 0, masked);
    let good = || fired(&irqs[0]) == 1;
    assert_eq!(race(|| masked(true), || table.signal(0), || masked(false), good), 0);
    let function = |masked| table.set_control(true, masked);
    assert_eq!(race(|| function(true), || table.signal(0), || function(false), good), 0);
}

#[test]
fn no_signal_is_lost_between_two_masks() {
    let (table, _, irqs) = table(1);
    program(&table, 0, 7);
    let prepare = || {
        table.set_control(true, true);
        mask(&table, 0, true);
        table.signal(0);
    };
    let good = || fired(&irqs[0]) == 1;
    assert_eq!(race(prepare, || mask(&table, 0, false), || table.set_control(true, false), good), 0);
}

/// A worker whose vector is routed on behalf of another must not send before the route is in force.
#[test]
fn nobody_sends_before_the_route_is_there() {
    for _ in 0..20 {
        let (table, routes, irqs) = table(2);
        table.set_control(true, false);
        program(&table, 0, 7);
        program(&table, 1, 7);
        let (table, routes, irqs) = (&table, &routes, &irqs);
        std::thread::scope(|scope| {
            for vector in 0..2 {
                scope.spawn(move || {
                    table.signal(vector);
                    assert_eq!(fired(&irqs[usize::from(vector)]), 1);
                    assert!(routes.in_force.lock().unwrap().contains_key(&u32::from(vector)));
                });
            }
        });
    }
}

#[test]
fn state_round_trips() {
    let (one, ..) = table(2);
    program(&one, 1, 9);
    one.set_control(true, false);
    one.signal(0);
    let state: MsixState = serde_json::from_str(&serde_json::to_string(&one.save()).unwrap()).unwrap();
    let (other, _, irqs) = table(2);
    assert!(other.restore(&state));
    assert_eq!(other.save(), one.save());
    other.set_control(true, false);
    assert_eq!(fired(&irqs[0]), 0, "pending and masked");
    mask(&other, 0, false);
    assert_eq!(fired(&irqs[0]), 1);
    assert!(!other.restore(&MsixState::default()));
    assert_eq!(other.save().vectors.len(), 2);
}

#[test]
fn a_vector_is_lent_while_nothing_of_it_changes() {
    let (table, _, irqs) = table(2);
    let recalls = Arc::new(AtomicU32::new(0));
    let lend = |vector: u16| {
        let recalls = Arc::clone(&recalls);
        let recall = move || {
            recalls.fetch_add(1, SeqCst);
        };
        table.lend(vector, |irqfd| irqfd.write(1).is_ok(), Box::new(recall))
    };
    program(&table, 0, 7);
    assert!(!lend(0), "not enabled");
    table.set_control(true, false);
    assert!(!lend(0), "masked");
    mask(&table, 0, false);
    assert!(!lend(0), "its route is not made");
    table.signal(0);
    assert_eq!(fired(&irqs[0]), 1);
    assert!(lend(0) && fired(&irqs[0]) == 1, "now it is ready");
    assert!(!lend(0) && !lend(9), "only one can have it");
    table.signal(0);
    assert_eq!((fired(&irqs[0]), recalls.load(SeqCst)), (1, 0), "others may signal as well");
    let changes: [&dyn Fn(); 4] =
        [&|| mask(&table, 0, true), &|| program(&table, 0, 8), &|| table.set_control(true, true), &|| {
            table.recall(0)
        }];
    for (count, change) in (1..).zip(changes) {
        change();
        assert_eq!(recalls.load(SeqCst), count);
        assert!(count == 4 || !lend(0), "change {count}");
        table.set_control(true, false);
        mask(&table, 0, false);
        table.signal(0);
        assert!(lend(0));
    }
    table.recall(1);
    assert_eq!(recalls.load(SeqCst), 4);
}
