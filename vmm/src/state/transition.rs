//! What follows from what: the pure part of the state driver.

use super::ExitReason;

/// Where a machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It runs.
    Running,
    /// It was asked to power off.
    Stopping,
    /// A disk waits for the host; until it is resumed, the guest does nothing.
    Paused {
        /// It was asked to power off.
        stopping: bool,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// The guest reset the machine, which the manifest allows or not.
    GuestReset {
        again: bool,
    },
    GuestPowerOff,
    GuestPanicked,
    TripleFault {
        vcpu: u32,
    },
    HostFailure(String),
    /// A disk holds back what the host cannot do.
    DiskFault,
    /// Somebody has seen to it.
    Resume,
    /// A signal or a user asked for the end, and the guest has this much time for it.
    Stop {
        patience: bool,
    },
    /// The guest's time is over.
    GraceOver,
}

/// What the driver does about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Nothing,
    PressPowerButton,
    Pause,
    Resume,
    Reboot,
    End(ExitReason),
}

/// The reaction of a machine in `phase` to `input`.
pub(super) fn react(phase: Phase, input: Input) -> (Phase, Order) {
    match (phase, input) {
        (Phase::Running, Input::GuestReset { again: true }) => (phase, Order::Reboot),
        (Phase::Running, Input::DiskFault) => (Phase::Paused { stopping: false }, Order::Pause),
        (Phase::Stopping, Input::DiskFault) => (Phase::Paused { stopping: true }, Order::Pause),
        (Phase::Paused { stopping: false }, Input::Resume) => (Phase::Running, Order::Resume),
        (Phase::Paused { stopping: true }, Input::Resume) => (Phase::Stopping, Order::Resume),
        (_, Input::DiskFault | Input::Resume) => (phase, Order::Nothing),
        // A guest that does nothing cannot power off either.
        (Phase::Paused { .. }, Input::Stop { .. }) | (Phase::Paused { stopping: true }, Input::GraceOver) => {
            (phase, Order::End(ExitReason::Killed))
        }
        (Phase::Paused { stopping: false }, Input::GraceOver) => (phase, Order::Nothing),
        // What it did before it was paused counts as ever.
        (Phase::Paused { stopping: false }, input) => react(Phase::Running, input),
        (Phase::Paused { stopping: true }, input) => react(Phase::Stopping, input),
        // The guest finished its work and was to go down anyway.
        (Phase::Stopping, Input::GuestReset { .. } | Input::GuestPowerOff) => {
            (phase, Order::End(ExitReason::Terminated))
        }
        (Phase::Running, Input::GuestPowerOff | Input::GuestReset { again: false }) => {
            (phase, Order::End(ExitReason::GuestShutdown))
        }
        (_, Input::GuestPanicked) => (phase, Order::End(ExitReason::GuestPanic)),
        (_, Input::TripleFault { vcpu }) => (phase, Order::End(ExitReason::TripleFault { vcpu })),
        (_, Input::HostFailure(message)) => (phase, Order::End(ExitReason::HostFailure { message })),
        (Phase::Running, Input::Stop { patience: true }) => (Phase::Stopping, Order::PressPowerButton),
        (Phase::Running, Input::GraceOver) => (phase, Order::Nothing),
        (_, Input::Stop { .. }) | (Phase::Stopping, Input::GraceOver) => {
            (phase, Order::End(ExitReason::Killed))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExitReason::{GuestPanic, GuestShutdown, Killed, Terminated};
    use Phase::{Paused, Running, Stopping};

    const PAUSED: Phase = Paused { stopping: false };
    const STUCK: Phase = Paused { stopping: true };

    #[test]
    fn every_input_in_every_phase() {
        let host = Input::HostFailure("x".into());
        let failure = Order::End(ExitReason::HostFailure { message: "x".into() });
        let fault = Order::End(ExitReason::TripleFault { vcpu: 1 });
        let table = [
            (Running, Input::GuestReset { again: true }, Running, Order::Reboot),
            (Running, Input::GuestReset { again: false }, Running, Order::End(GuestShutdown)),
            (Stopping, Input::GuestReset { again: true }, Stopping, Order::End(Terminated)),
            (Running, Input::GuestPowerOff, Running, Order::End(GuestShutdown)),
            (Stopping, Input::GuestPowerOff, Stopping, Order::End(Terminated)),
            (Running, Input::GuestPanicked, Running, Order::End(GuestPanic)),
            (Stopping, Input::GuestPanicked, Stopping, Order::End(GuestPanic)),
            (Running, Input::TripleFault { vcpu: 1 }, Running, fault.clone()),
            (Stopping, Input::TripleFault { vcpu: 1 }, Stopping, fault),
            (Running, host.clone(), Running, failure.clone()),
            (Stopping, host, Stopping, failure),
            (Running, Input::Stop { patience: true }, Stopping, Order::PressPowerButton),
            (Running, Input::Stop { patience: false }, Running, Order::End(Killed)),
            (Stopping, Input::Stop { patience: true }, Stopping, Order::End(Killed)),
            (Stopping, Input::Stop { patience: false }, Stopping, Order::End(Killed)),
            (Running, Input::DiskFault, PAUSED, Order::Pause),
            (Stopping, Input::DiskFault, STUCK, Order::Pause),
            (PAUSED, Input::DiskFault, PAUSED, Order::Nothing),
            (PAUSED, Input::Resume, Running, Order::Resume),
            (STUCK, Input::Resume, Stopping, Order::Resume),
            (Running, Input::Resume, Running, Order::Nothing),
            (Stopping, Input::Resume, Stopping, Order::Nothing),
            (PAUSED, Input::Stop { patience: true }, PAUSED, Order::End(Killed)),
            (STUCK, Input::Stop { patience: false }, STUCK, Order::End(Killed)),
            (PAUSED, Input::GraceOver, PAUSED, Order::Nothing),
            (STUCK, Input::GraceOver, STUCK, Order::End(Killed)),
            (PAUSED, Input::GuestPowerOff, Running, Order::End(GuestShutdown)),
            (STUCK, Input::GuestReset { again: true }, Stopping, Order::End(Terminated)),
            (Running, Input::GraceOver, Running, Order::Nothing),
            (Stopping, Input::GraceOver, Stopping, Order::End(Killed)),
        ];
        for (phase, input, next, order) in table {
            assert_eq!(react(phase, input.clone()), (next, order), "{phase:?} {input:?}");
        }
    }

    #[test]
    fn exit_codes_are_those_of_the_command_line() {
        let crash = ExitReason::TripleFault { vcpu: 0 };
        let host = ExitReason::HostFailure { message: String::new() };
        let codes =
            [(GuestShutdown, 0), (Terminated, 0), (Killed, 5), (GuestPanic, 4), (crash, 4), (host, 3)];
        for (reason, code) in codes {
            assert_eq!(reason.exit_code(), code, "{reason:?}");
        }
    }
}
