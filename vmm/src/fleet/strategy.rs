//! When a machine ought to run.

use serde::{Deserialize, Serialize};
use spec::api::{RunStrategy, VirtualMachineSpec};

/// What keeps a machine running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Strategy {
    /// It starts again whenever it ends.
    Always,
    /// It starts when it is asked for, and is kept running from then on.
    Halted,
    /// It starts when it is asked for.
    Manual,
    /// It starts again when it failed.
    RerunOnFailure,
    /// It runs once.
    Once,
}

impl Strategy {
    /// A VirtualMachine's (`spec.runStrategy`, or `spec.running` of old manifests).
    pub fn of(spec: &VirtualMachineSpec) -> Self {
        match (&spec.run_strategy, spec.running) {
            (Some(RunStrategy::Always), _) | (None, Some(true)) => Self::Always,
            (Some(RunStrategy::Manual), _) => Self::Manual,
            (Some(RunStrategy::RerunOnFailure), _) => Self::RerunOnFailure,
            (Some(RunStrategy::Once), _) => Self::Once,
            _ => Self::Halted,
        }
    }

    /// Whether a machine that got `order` and ended as `last` since then ought to run.
    pub fn wants_it_up(self, order: Order, last: Option<End>) -> bool {
        match (order, self) {
            (Order::Stop, _) => false,
            // It runs elsewhere, and an order that came before it moved says nothing of that: until somebody asks for it
            // again, which forgets how it ended, it does not belong here.
            _ if last == Some(End::Moved) => false,
            (_, Self::Always) | (Order::Start, Self::Halted) => true,
            (Order::None, Self::Halted | Self::Manual) => false,
            (Order::Start, Self::Manual) | (_, Self::Once) => last.is_none(),
            (_, Self::RerunOnFailure) => last != Some(End::Succeeded),
        }
    }
}

/// What the user said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Order {
    /// Nothing: the manifest decides.
    #[default]
    None,
    /// That it start.
    Start,
    /// That it stop.
    Stop,
}

/// How a machine ended, as the phase of its instance says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The guest powered off.
    Succeeded,
    /// It was moved, and runs elsewhere.
    Moved,
    /// Anything else.
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use End::{Failed, Moved, Succeeded};
    use Strategy::{Always, Halted, Manual, Once, RerunOnFailure};

    #[test]
    fn every_strategy_with_every_order_after_every_end() {
        // As written, started, stopped; each: never ended, succeeded, failed.
        let table = [
            (Always, [[true, true, true], [true, true, true], [false; 3]]),
            (Halted, [[false, false, false], [true, true, true], [false; 3]]),
            (Manual, [[false, false, false], [true, false, false], [false; 3]]),
            (RerunOnFailure, [[true, false, true], [true, false, true], [false; 3]]),
            (Once, [[true, false, false], [true, false, false], [false; 3]]),
        ];
        for (strategy, orders) in table {
            for (order, ends) in [Order::None, Order::Start, Order::Stop].into_iter().zip(orders) {
                for (last, up) in [None, Some(Succeeded), Some(Failed)].into_iter().zip(ends) {
                    assert_eq!(strategy.wants_it_up(order, last), up, "{strategy:?} {order:?} {last:?}");
                }
            }
            for order in [Order::None, Order::Start, Order::Stop] {
                let up = strategy.wants_it_up(order, Some(Moved));
                assert!(!up, "{strategy:?} after {order:?} starts what runs elsewhere");
            }
        }
    }

    #[test]
    fn old_manifests_say_it_in_another_way() {
        let spec = |strategy: Option<RunStrategy>, running| VirtualMachineSpec {
            run_strategy: strategy,
            running,
            ..VirtualMachineSpec::default()
        };
        assert_eq!(Strategy::of(&spec(None, Some(true))), Always);
        assert_eq!(Strategy::of(&spec(None, Some(false))), Halted);
        assert_eq!(Strategy::of(&spec(None, None)), Halted);
        assert_eq!(Strategy::of(&spec(Some(RunStrategy::Once), None)), Once);
        assert_eq!(Strategy::of(&spec(Some(RunStrategy::WaitAsReceiver), None)), Halted);
    }
}
