//! What follows from what: the pure part of the state driver.

use super::{ExitReason, Refusal, Verb};

const NOT_PAUSED: &str = "VMI is not paused";
const ALREADY_PAUSED: &str = "VMI is already paused";
const PAUSED: &str = "VMI is paused";
const STOPPING: &str = "VMI is being stopped";
const MEMORY: &str = "VMI waits for the rest of its memory, and goes on by itself when that can be reached";
const SAVING: &str = "VMI is being saved";
const RESTARTING: &str = "VMI is being restarted";

/// What holds the guest back, if anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Holds {
    /// Somebody asked for it.
    pub(super) user: bool,
    /// A disk waits for the host.
    pub(super) disk: bool,
    /// Its state is handed out.
    pub(super) saving: bool,
    /// The rest of its memory cannot be reached.
    pub(super) memory: bool,
}

impl Holds {
    pub(super) fn any(self) -> bool {
        self.user || self.disk || self.saving || self.memory
    }
}

/// What the guest was asked to go down for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// The end.
    Stop,
    /// To boot again, by force if need be.
    Restart,
    /// To boot again if it likes.
    SoftReboot,
}

/// Where a machine stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) holds: Holds,
    pub(super) leaving: Option<Leaving>,
    /// Its guest has not executed anything, so that there is nothing that could be lost.
    pub(super) fresh: bool,
}

/// What the manifest says of a machine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    /// The guest may reset the machine; if not, that ends it.
    pub(super) reboots: bool,
    /// The machine is paused when it starts.
    pub(super) starts_paused: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    GuestReset,
    GuestPowerOff,
    GuestPanicked,
    /// The guest let its watchdog run out, which is to switch the machine off.
    GuestHung,
    TripleFault {
        vcpu: u32,
    },
    HostFailure(String),
    /// A disk holds back what the host cannot do.
    DiskFault,
    /// Somebody has seen to the disk (SIGCONT).
    DiskSeenTo,
    /// The rest of its memory cannot be reached.
    MemoryLost,
    /// It can be reached again.
    MemoryBack,
    /// A signal or a user at the console asked for the end, and the guest has this much time for it.
    Terminate {
        patience: bool,
    },
    /// The same once more, of a machine that stands still and is to end later.
    Insist,
    /// The guest's time is over.
    GraceOver,
    /// Whoever got the machine's state lets it go on.
    Released,
    /// Whoever got the machine's state has it end here.
    Left(ExitReason),
}

/// What the driver does about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Nothing,
    Pause,
    Resume,
    /// Press the power button; the guest's time starts.
    AskToPowerOff,
    /// The same of a guest that has to be let go for it.
    ResumeAndAskToPowerOff,
    /// Press the power button, and leave it at that.
    PressPowerButton,
    /// Ask for a reboot; the guest's time starts.
    AskToReboot,
    /// The guest's time ends earlier, if the new request says so.
    HurryUp,
    InjectNmi,
    /// The machine stands still until its state is where it is to be: the end is asked for again then.
    EndLater,
    /// Drop the machine and build it again.
    BootAgain,
    End(ExitReason),
}

impl Rules {
    /// Where a machine stands that was just built.
    pub(super) fn first(self) -> State {
        State {
            holds: Holds { user: self.starts_paused, ..Holds::default() },
            leaving: None,
            fresh: self.starts_paused,
        }
    }

    /// The reaction of a machine in `state` to what happened.
    pub(super) fn react(self, state: State, input: Input) -> (State, Order) {
        let stay = |order| (state, order);
        let hold = |disk| State { holds: Holds { disk, ..state.holds }, ..state };
        let go_on = |holds: Holds| {
            (State { holds, ..state }, if holds.any() { Order::Nothing } else { Order::Resume })
        };
        match (state.leaving, input) {
            (_, Input::HostFailure(message)) => stay(Order::End(ExitReason::HostFailure { message })),
            (_, Input::Left(reason)) => stay(Order::End(reason)),
            (_, Input::Insist) => stay(Order::End(ExitReason::Killed)),
            (_, Input::Released) if state.holds.saving => go_on(Holds { saving: false, ..state.holds }),
            (_, Input::Released) => stay(Order::Nothing),
            (_, Input::Terminate { patience: true }) if state.holds.saving => stay(Order::EndLater),
            (_, Input::DiskFault) => {
                (hold(true), if state.holds.any() { Order::Nothing } else { Order::Pause })
            }
            (_, Input::DiskSeenTo) if state.holds.disk => go_on(Holds { disk: false, ..state.holds }),
            (_, Input::DiskSeenTo) => stay(Order::Nothing),
            (_, Input::MemoryLost) => {
                let holds = Holds { memory: true, ..state.holds };
                (State { holds, ..state }, if state.holds.any() { Order::Nothing } else { Order::Pause })
            }
            (_, Input::MemoryBack) if state.holds.memory => go_on(Holds { memory: false, ..state.holds }),
            (_, Input::MemoryBack) => stay(Order::Nothing),
            // What the guest did before it was paused counts as ever. If it is to boot again, any end will do.
            (Some(Leaving::Restart), Input::GuestPowerOff | Input::GuestReset) => self.begin_anew(),
            (
                Some(Leaving::Restart),
                Input::GuestPanicked | Input::GuestHung | Input::TripleFault { .. } | Input::GraceOver,
            ) => self.begin_anew(),
            (_, Input::GuestPanicked) => stay(Order::End(ExitReason::GuestPanic)),
            (_, Input::GuestHung) => stay(Order::End(ExitReason::Hung)),
            (_, Input::TripleFault { vcpu }) => stay(Order::End(ExitReason::TripleFault { vcpu })),
            // It finished its work and was to go down anyway.
            (Some(Leaving::Stop), Input::GuestReset | Input::GuestPowerOff) => {
                stay(Order::End(ExitReason::Terminated))
            }
            (Some(Leaving::Stop), Input::GraceOver) => stay(Order::End(ExitReason::Killed)),
            (Some(Leaving::SoftReboot), Input::GraceOver) => {
                (State { leaving: None, ..state }, Order::Nothing)
            }
            (None, Input::GraceOver) => stay(Order::Nothing),
            (Some(Leaving::SoftReboot), Input::GuestPowerOff | Input::GuestReset)
            | (None, Input::GuestReset)
                if self.reboots =>
            {
                again(state)
            }
            (None | Some(Leaving::SoftReboot), Input::GuestPowerOff | Input::GuestReset) => {
                stay(Order::End(ExitReason::GuestShutdown))
            }
            // Whoever asks twice has lost patience.
            (Some(Leaving::Stop), Input::Terminate { .. }) => stay(Order::End(ExitReason::Killed)),
            (_, Input::Terminate { patience }) => self.stop(state, patience),
        }
    }

    /// What is done about a request in `state`. `patience` says whether the guest has any time to go down.
    pub(super) fn decide(self, state: State, verb: &Verb, patience: bool) -> Result<(State, Order), Refusal> {
        let holds = state.holds;
        let refuse = |message: &str| Err(Refusal::conflict(message));
        let user = |user| State { holds: Holds { user, memory: holds.memory, ..Holds::default() }, ..state };
        Ok(match (verb, state.leaving) {
            (Verb::Stop { .. }, _) if holds.saving && !patience => self.stop(state, patience),
            _ if holds.saving => return refuse(SAVING),
            (Verb::Save, _) if holds.memory => return refuse(MEMORY),
            (Verb::Save, Some(Leaving::Stop)) => return refuse(STOPPING),
            (Verb::Save, Some(_)) => return refuse(RESTARTING),
            (Verb::Save, None) => (State { holds: Holds { saving: true, ..holds }, ..state }, Order::Pause),
            (Verb::Pause, _) if holds.any() => return refuse(ALREADY_PAUSED),
            (Verb::Pause, _) => (user(true), Order::Pause),
            (Verb::Unpause, _) if holds.memory && !holds.user => return refuse(MEMORY),
            (Verb::Unpause, _) if holds.memory => (user(false), Order::Nothing),
            (Verb::Unpause, _) if holds.any() => (State { fresh: false, ..user(false) }, Order::Resume),
            (Verb::Unpause, _) => return refuse(NOT_PAUSED),
            (Verb::Stop { .. }, Some(Leaving::Stop)) if patience => (state, Order::HurryUp),
            (Verb::Stop { .. }, _) => self.stop(state, patience),
            (Verb::Restart { .. } | Verb::Reset | Verb::SoftReboot, Some(Leaving::Stop)) => {
                return refuse(STOPPING);
            }
            (Verb::Restart { .. }, Some(Leaving::Restart)) if patience => (state, Order::HurryUp),
            (Verb::Restart { .. }, _) => self.restart(state, patience),
            (Verb::Reset, _) => again(state),
            (Verb::SoftReboot, Some(Leaving::Restart)) => return refuse(RESTARTING),
            (Verb::SoftReboot | Verb::PowerButton | Verb::Nmi, _) if holds.any() => return refuse(PAUSED),
            (Verb::SoftReboot, _) => {
                (State { leaving: Some(Leaving::SoftReboot), ..state }, Order::AskToReboot)
            }
            (Verb::PowerButton, _) => (state, Order::PressPowerButton),
            (Verb::Nmi, _) => (state, Order::InjectNmi),
            // Devices have no say in the machine's life.
            (
                Verb::SetMemory { .. }
                | Verb::Device(_)
                | Verb::Migrate(_)
                | Verb::CancelMigration { .. }
                | Verb::DeleteMigration { .. }
                | Verb::CancelEvacuation,
                _,
            ) => (state, Order::Nothing),
        })
    }

    fn stop(self, state: State, patience: bool) -> (State, Order) {
        match ask_to_power_off(state, Leaving::Stop, patience) {
            Some(asked) => asked,
            None => (state, Order::End(ExitReason::Killed)),
        }
    }

    fn restart(self, state: State, patience: bool) -> (State, Order) {
        ask_to_power_off(state, Leaving::Restart, patience).unwrap_or_else(|| self.begin_anew())
    }

    /// Boots the machine as when it was started first.
    fn begin_anew(self) -> (State, Order) {
        (self.first(), Order::BootAgain)
    }
}

/// Has the guest power off, if it can and has the time.
fn ask_to_power_off(state: State, leaving: Leaving, patience: bool) -> Option<(State, Order)> {
    // A guest whose disk does not answer, whose memory is not here, or that never ran, cannot power off.
    if !patience || state.holds.disk || state.holds.memory || state.fresh {
        return None;
    }
    let order = if state.holds.user { Order::ResumeAndAskToPowerOff } else { Order::AskToPowerOff };
    Some((State { holds: Holds::default(), leaving: Some(leaving), fresh: false }, order))
}

/// Boots the machine again. It stays paused if its user wanted so; what a disk held back is gone with the guest.
fn again(state: State) -> (State, Order) {
    let user = state.holds.user;
    let holds = Holds { user, ..Holds::default() };
    (State { holds, leaving: None, fresh: user }, Order::BootAgain)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
