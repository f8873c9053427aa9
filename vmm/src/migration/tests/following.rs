//! Memory that follows its machine.

use super::*;
use crate::sys::userfault::is_allowed;

/// Moves a machine whose memory follows it, while one of its connections breaks.
fn following(
    (which, forward, backward): (usize, Option<usize>, Option<usize>),
    faults: Faults,
    fails_to_record: bool,
) -> Trial {
    trial_with((PAGES, 1, PostCopy::AtOnce), (which, forward, backward), faults, fails_to_record)
}

#[test]
fn memory_may_follow_its_machine() {
    if !is_allowed() {
        return;
    }
    let trial = following((0, None, None), Faults::default(), false);
    check(&trial, "nothing goes wrong");
    assert_eq!(trial.result.unwrap().progress.rounds, 1, "{:?}", trial.seen);
    let phases: Vec<_> = trial.seen.iter().map(|progress| progress.phase).collect();
    assert_eq!(phases.last(), Some(&source::Phase::Serving));
    for (faults, fails_to_record) in [
        (Faults { cannot_load: true, ..Faults::default() }, false),
        (Faults { cannot_take: true, ..Faults::default() }, false),
        (Faults::default(), true),
    ] {
        let trial = following((0, None, None), faults, fails_to_record);
        check(&trial, "something fails");
        assert!(trial.result.is_err());
    }
}

#[test]
fn wherever_a_connection_breaks_one_side_has_the_machine_and_all_memory_follows_it() {
    if !is_allowed() {
        return;
    }
    let mut moved = 0;
    // The first one: greeting, memory, state, `Go`.
    let said = following((0, None, None), Faults::default(), false).said;
    for backward in (0..=said).step_by(25).chain([said - 1, said]) {
        let trial = following((0, None, Some(backward)), Faults::default(), false);
        check(&trial, &format!("{backward} bytes came back"));
        moved += u32::from(trial.result.is_ok());
    }
    for forward in (0..80_000).step_by(6007) {
        let trial = following((0, Some(forward), None), Faults::default(), false);
        check(&trial, &format!("{forward} bytes went"));
        moved += u32::from(trial.result.is_ok());
    }
    // The one by which memory follows: before the machine was handed over, that ends it; later, it is made again.
    for forward in (0..2000).step_by(97).chain((2000..100_000).step_by(9001)) {
        let trial = following((1, Some(forward), None), Faults::default(), false);
        check(&trial, &format!("{forward} bytes of what follows went"));
        moved += u32::from(trial.result.is_ok());
    }
    for backward in (0..200).step_by(17) {
        let trial = following((1, None, Some(backward)), Faults::default(), false);
        check(&trial, &format!("{backward} bytes came back of who needs what follows"));
        moved += u32::from(trial.result.is_ok());
    }
    assert!(moved > 5, "{moved}");
}
