use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;

const RULES: Rules = Rules { reboots: true, starts_paused: false };
const NO_HOLDS: Holds = Holds { user: false, disk: false, saving: false, memory: false };
const RUNNING: State = State { holds: NO_HOLDS, leaving: None, fresh: false };
const PAUSED_STATE: State = State { holds: Holds { user: true, ..NO_HOLDS }, ..RUNNING };
const FAULTY: State = State { holds: Holds { disk: true, ..NO_HOLDS }, ..RUNNING };
const BOTH: State = State { holds: Holds { user: true, disk: true, ..NO_HOLDS }, ..RUNNING };
const SAVED: State = State { holds: Holds { saving: true, ..NO_HOLDS }, ..RUNNING };
const SAVED_PAUSED: State = State { holds: Holds { user: true, saving: true, ..NO_HOLDS }, ..RUNNING };
const SAVED_FAULTY: State = State { holds: Holds { disk: true, saving: true, ..NO_HOLDS }, ..RUNNING };
const SAVED_FRESH: State = State { fresh: true, ..SAVED_PAUSED };
const SAVED_BOTH: State =
    State { holds: Holds { user: true, disk: true, saving: true, ..NO_HOLDS }, ..RUNNING };
const FRESH: State = State { fresh: true, ..PAUSED_STATE };

fn leaving(state: State, leaving: Leaving) -> State {
    State { leaving: Some(leaving), ..state }
}

/// Every state that there is, but for those that differ in nothing that matters.
fn states() -> Vec<(&'static str, State)> {
    use Leaving::{Restart, SoftReboot, Stop};
    vec![
        ("running", RUNNING),
        ("paused", PAUSED_STATE),
        ("started paused", FRESH),
        ("disk waits", FAULTY),
        ("paused, disk waits", BOTH),
        ("being saved", SAVED),
        ("being saved, paused", SAVED_PAUSED),
        ("being saved, started paused", SAVED_FRESH),
        ("being saved, disk waits", SAVED_FAULTY),
        ("being saved, paused, disk waits", SAVED_BOTH),
        ("stopping", leaving(RUNNING, Stop)),
        ("stopping, paused", leaving(PAUSED_STATE, Stop)),
        ("stopping, disk waits", leaving(FAULTY, Stop)),
        ("restarting", leaving(RUNNING, Restart)),
        ("restarting, paused", leaving(PAUSED_STATE, Restart)),
        ("restarting, disk waits", leaving(FAULTY, Restart)),
        ("soft reboot", leaving(RUNNING, SoftReboot)),
        ("soft reboot, paused", leaving(PAUSED_STATE, SoftReboot)),
        ("soft reboot, disk waits", leaving(FAULTY, SoftReboot)),
    ]
}

/// The states and requests of `docs/operating.md`, in which the answers stand that the policy gives.
fn table() -> String {
    let stop = |grace| Verb::Stop { grace };
    let restart = |grace| Verb::Restart { grace };
    let requests = [
        ("pause", Verb::Pause, true),
        ("unpause", Verb::Unpause, true),
        ("stop", stop(None), true),
        ("stop at once", stop(None), false),
        ("restart", restart(None), true),
        ("restart at once", restart(None), false),
        ("reset", Verb::Reset, true),
        ("soft-reboot", Verb::SoftReboot, true),
        ("power button", Verb::PowerButton, true),
        ("NMI", Verb::Nmi, true),
        ("snapshot", Verb::Save, true),
    ];
    let head: String = requests.iter().map(|(request, ..)| format!("| {request} ")).collect();
    let mut text = format!("| state {head}|\n|{}\n", "---|".repeat(requests.len() + 1));
    for (name, state) in states() {
        let _ = write!(text, "| **{name}** ");
        for (_, verb, patience) in &requests {
            let cell = match RULES.decide(state, verb, *patience) {
                Ok((next, order)) if next == state || matches!(order, Order::End(_)) => {
                    describe(&order).into()
                }
                Ok((next, order)) => format!("{} → {}", describe(&order), name_of(next)),
                Err(refusal) => format!("*{refusal}*"),
            };
            let _ = write!(text, "| {cell} ");
        }
        text.push_str("|\n");
    }
    text
}

fn describe(order: &Order) -> &'static str {
    match order {
        Order::Nothing => "nothing",
        Order::Pause => "stops",
        Order::Resume => "goes on",
        Order::AskToPowerOff | Order::PressPowerButton => "button",
        Order::ResumeAndAskToPowerOff => "goes on, button",
        Order::AskToReboot => "asked",
        Order::HurryUp => "hurried",
        Order::InjectNmi => "NMI",
        Order::EndLater => "ended later",
        Order::BootAgain => "built again",
        Order::End(ExitReason::Killed) => "ended by force",
        Order::End(_) => "ended",
    }
}

fn name_of(state: State) -> &'static str {
    let found = states().into_iter().find(|(_, known)| *known == state);
    found.unwrap_or_else(|| panic!("an unknown state {state:?}")).0
}

#[test]
fn every_request_in_every_state_is_as_documented() {
    const START: &str = "<!-- requests -->\n";
    const END: &str = "<!-- end of requests -->";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md");
    let page = fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(START).unwrap();
    let (documented, after) = rest.split_once(END).unwrap();
    let table = table();
    if documented != table && std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{START}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(documented, table, "if this is meant, write the page anew with UPDATE=1");
}

#[test]
fn what_happens_in_every_state() {
    use ExitReason::{GuestPanic, GuestShutdown, Killed, Terminated};
    use Leaving::{Restart, SoftReboot, Stop};
    let fault = || Input::TripleFault { vcpu: 1 };
    let crash = || Order::End(ExitReason::TripleFault { vcpu: 1 });
    let (stopping, restarting) = (leaving(RUNNING, Stop), leaving(RUNNING, Restart));
    let soft = leaving(RUNNING, SoftReboot);
    let stuck = leaving(FAULTY, Stop);
    let impatient = || Input::Terminate { patience: false };
    let patient = || Input::Terminate { patience: true };
    let table = [
        (RUNNING, Input::GuestReset, RUNNING, Order::BootAgain),
        (PAUSED_STATE, Input::GuestReset, FRESH, Order::BootAgain),
        (FAULTY, Input::GuestReset, RUNNING, Order::BootAgain),
        (stopping, Input::GuestReset, stopping, Order::End(Terminated)),
        (stuck, Input::GuestReset, stuck, Order::End(Terminated)),
        (restarting, Input::GuestReset, RUNNING, Order::BootAgain),
        (soft, Input::GuestReset, RUNNING, Order::BootAgain),
        (RUNNING, Input::GuestPowerOff, RUNNING, Order::End(GuestShutdown)),
        (PAUSED_STATE, Input::GuestPowerOff, PAUSED_STATE, Order::End(GuestShutdown)),
        (FAULTY, Input::GuestPowerOff, FAULTY, Order::End(GuestShutdown)),
        (stopping, Input::GuestPowerOff, stopping, Order::End(Terminated)),
        (restarting, Input::GuestPowerOff, RUNNING, Order::BootAgain),
        (soft, Input::GuestPowerOff, RUNNING, Order::BootAgain),
        (RUNNING, Input::GuestPanicked, RUNNING, Order::End(GuestPanic)),
        (stopping, Input::GuestPanicked, stopping, Order::End(GuestPanic)),
        (soft, Input::GuestPanicked, soft, Order::End(GuestPanic)),
        (restarting, Input::GuestPanicked, RUNNING, Order::BootAgain),
        (RUNNING, fault(), RUNNING, crash()),
        (stopping, fault(), stopping, crash()),
        (soft, fault(), soft, crash()),
        (restarting, fault(), RUNNING, Order::BootAgain),
        (RUNNING, Input::DiskFault, FAULTY, Order::Pause),
        (PAUSED_STATE, Input::DiskFault, BOTH, Order::Nothing),
        (FAULTY, Input::DiskFault, FAULTY, Order::Nothing),
        (stopping, Input::DiskFault, stuck, Order::Pause),
        (RUNNING, Input::DiskSeenTo, RUNNING, Order::Nothing),
        (PAUSED_STATE, Input::DiskSeenTo, PAUSED_STATE, Order::Nothing),
        (FAULTY, Input::DiskSeenTo, RUNNING, Order::Resume),
        (BOTH, Input::DiskSeenTo, PAUSED_STATE, Order::Nothing),
        (stuck, Input::DiskSeenTo, stopping, Order::Resume),
        (RUNNING, patient(), stopping, Order::AskToPowerOff),
        (RUNNING, impatient(), RUNNING, Order::End(Killed)),
        (PAUSED_STATE, patient(), stopping, Order::ResumeAndAskToPowerOff),
        (FRESH, patient(), FRESH, Order::End(Killed)),
        (FAULTY, patient(), FAULTY, Order::End(Killed)),
        (stuck, impatient(), stuck, Order::End(Killed)),
        (stopping, patient(), stopping, Order::End(Killed)),
        (stopping, impatient(), stopping, Order::End(Killed)),
        (restarting, patient(), stopping, Order::AskToPowerOff),
        (soft, patient(), stopping, Order::AskToPowerOff),
        (RUNNING, Input::GraceOver, RUNNING, Order::Nothing),
        (stopping, Input::GraceOver, stopping, Order::End(Killed)),
        (stuck, Input::GraceOver, stuck, Order::End(Killed)),
        (restarting, Input::GraceOver, RUNNING, Order::BootAgain),
        (soft, Input::GraceOver, RUNNING, Order::Nothing),
        (SAVED, Input::Released, RUNNING, Order::Resume),
        (SAVED_PAUSED, Input::Released, PAUSED_STATE, Order::Nothing),
        (SAVED_FRESH, Input::Released, FRESH, Order::Nothing),
        (SAVED_FAULTY, Input::Released, FAULTY, Order::Nothing),
        (RUNNING, Input::Released, RUNNING, Order::Nothing),
        (PAUSED_STATE, Input::Released, PAUSED_STATE, Order::Nothing),
        (SAVED, Input::DiskFault, SAVED_FAULTY, Order::Nothing),
        (SAVED_FAULTY, Input::DiskSeenTo, SAVED, Order::Nothing),
        (SAVED, patient(), SAVED, Order::EndLater),
        (SAVED, impatient(), SAVED, Order::End(Killed)),
        (SAVED, Input::Insist, SAVED, Order::End(Killed)),
        (SAVED, Input::GuestReset, RUNNING, Order::BootAgain),
        (SAVED, Input::Left(Terminated), SAVED, Order::End(Terminated)),
    ];
    for (state, input, next, order) in table {
        assert_eq!(RULES.react(state, input.clone()), (next, order), "{state:?} {input:?}");
    }
    for (name, state) in states() {
        let failed = RULES.react(state, Input::HostFailure("x".into()));
        assert_eq!(failed, (state, Order::End(ExitReason::HostFailure { message: "x".into() })), "{name}");
    }
}

#[test]
fn the_manifest_may_forbid_reboots_and_ask_for_a_pause() {
    let rules = Rules { reboots: false, starts_paused: true };
    assert_eq!(rules.first(), FRESH);
    let soft = leaving(RUNNING, Leaving::SoftReboot);
    for (state, input) in
        [(RUNNING, Input::GuestReset), (soft, Input::GuestReset), (soft, Input::GuestPowerOff)]
    {
        let end = Order::End(ExitReason::GuestShutdown);
        assert_eq!(rules.react(state, input.clone()), (state, end), "{state:?} {input:?}");
    }
    // Who restarts a machine wants it as it started.
    let restarting = leaving(RUNNING, Leaving::Restart);
    assert_eq!(rules.react(restarting, Input::GuestPowerOff), (FRESH, Order::BootAgain));
    // Who resets it does not.
    assert_eq!(rules.decide(RUNNING, &Verb::Reset, true), Ok((RUNNING, Order::BootAgain)));
}

/// A machine whose memory cannot be reached goes on when it can be, and by nothing else.
#[test]
fn lacking_memory_holds_it_back() {
    let lost = |holds: Holds| State { holds: Holds { memory: true, ..holds }, ..RUNNING };
    assert_eq!(RULES.react(RUNNING, Input::MemoryLost), (lost(NO_HOLDS), Order::Pause));
    assert_eq!(RULES.react(PAUSED_STATE, Input::MemoryLost), (lost(PAUSED_STATE.holds), Order::Nothing));
    assert_eq!(RULES.react(lost(NO_HOLDS), Input::MemoryBack), (RUNNING, Order::Resume));
    assert_eq!(RULES.react(lost(PAUSED_STATE.holds), Input::MemoryBack), (PAUSED_STATE, Order::Nothing));
    assert_eq!(RULES.react(RUNNING, Input::MemoryBack), (RUNNING, Order::Nothing));
    assert!(RULES.decide(lost(NO_HOLDS), &Verb::Unpause, true).is_err());
    assert!(RULES.decide(lost(NO_HOLDS), &Verb::Save, true).is_err());
    let unpaused = RULES.decide(lost(PAUSED_STATE.holds), &Verb::Unpause, true).unwrap();
    assert_eq!(unpaused, (lost(NO_HOLDS), Order::Nothing));
    let stopped = RULES.decide(lost(NO_HOLDS), &Verb::Stop { grace: None }, true).unwrap();
    assert_eq!(stopped.1, Order::End(ExitReason::Killed));
    // What was missing is gone with the guest.
    assert_eq!(RULES.decide(lost(NO_HOLDS), &Verb::Reset, true).unwrap().0.holds, NO_HOLDS);
}
