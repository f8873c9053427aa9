//! What a machine does instead of ending when its process is to end: it moves, as its `evictionStrategy` says (KubeVirt:
//! `pod-eviction-admitter.go`, `pkg/virt-controller/watch/drain/evacuation`).

use std::time::{Duration, Instant};

use devices::{chain, say};
use spec::api::EvictionStrategy;

use super::driver::Driver;
use super::policy::{Input, Leaving};
use super::{Done, Refusal, RefusalKind};
use crate::machine::Machine;
use crate::migration::transport::Address;
use crate::migration::{MigrationOptions, MigrationRequest, evacuation};

/// How long until another attempt, at first and at most.
const AGAIN: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// Where a machine goes whose process is to end.
#[derive(Clone, Debug)]
pub struct Refuge {
    /// Where a destination listens.
    pub address: Address,
    /// How it goes there.
    pub options: MigrationOptions,
}

/// What is done about a machine whose process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its guest is asked to power off.
    ShutDown,
    /// It moves.
    Move,
    /// It is on its way already, and tries again should that fail.
    Join,
    /// It is left to somebody else to move it.
    Mark,
    /// It moves when this is over.
    Wait(Duration),
}

/// How far that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Flight {
    /// Nobody wants its process to end.
    #[default]
    None,
    /// It is on its way.
    Moving,
    /// It tries again then.
    Waiting(Instant),
    /// It goes when it has been saved, for which it stands still.
    Held,
    /// Somebody else is to move it.
    Marked,
}

/// A machine's way out.
#[derive(Debug, Default)]
pub(super) struct Eviction {
    way: Option<(EvictionStrategy, Refuge)>,
    flight: Flight,
    /// Attempts that have failed.
    failed: u32,
    /// No attempt is made any more after this time.
    until: Option<Instant>,
}

impl Eviction {
    /// That of a machine with this strategy; without a refuge there is none.
    pub(super) fn new(strategy: Option<EvictionStrategy>, refuge: Option<Refuge>) -> Self {
        let way = strategy.zip(refuge);
        Self { way, ..Self::default() }
    }

    /// What is done when the process is to end; `is_moving` says whether somebody moves the machine already.
    fn on_signal(&self, is_moving: bool) -> Step {
        match &self.way {
            // Whoever asks twice wants it to end.
            Some(_) if self.flight != Flight::None => Step::ShutDown,
            Some((EvictionStrategy::LiveMigrate | EvictionStrategy::LiveMigrateIfPossible, _)) => {
                if is_moving { Step::Join } else { Step::Move }
            }
            Some((EvictionStrategy::External, _)) => Step::Mark,
            _ => Step::ShutDown,
        }
    }

    /// How an attempt begins.
    fn attempt(is_saving: bool) -> Flight {
        if is_saving { Flight::Held } else { Flight::Moving }
    }

    /// What is done when an attempt has failed, and so much is left of the time for them.
    fn on_failure(&self, left: Duration) -> Step {
        match &self.way {
            Some((EvictionStrategy::LiveMigrate, _)) if !left.is_zero() => {
                let (first, most) = AGAIN;
                let times = 1u32.checked_shl(self.failed).unwrap_or(u32::MAX);
                // The last one is made when the time is over.
                Step::Wait(first.saturating_mul(times).min(most).min(left))
            }
            _ => Step::ShutDown,
        }
    }
}

impl Driver {
    /// The process is to end. Whether that is seen to by moving the machine, or by whoever is to move it.
    pub(super) fn evict(&mut self, machine: &Machine) -> bool {
        let is_moving = self.migrating.is_some();
        let is_ending = self.state.leaving.is_some() || self.ends_later;
        let step = if is_ending { Step::ShutDown } else { self.eviction.on_signal(is_moving) };
        match step {
            Step::Move => {
                self.mark_for_eviction();
                self.eviction.until = Instant::now().checked_add(self.usual_grace());
                self.flee(machine)
            }
            Step::Join => {
                self.mark_for_eviction();
                self.eviction.until = Instant::now().checked_add(self.plan.grace_period);
                self.join_move();
                true
            }
            Step::Mark => {
                self.mark_for_eviction();
                say!(
                    "kubevmm: the machine is to be moved by somebody else; another signal has its guest power off"
                );
                self.eviction.flight = Flight::Marked;
                true
            }
            Step::ShutDown | Step::Wait(_) => {
                self.stop_fleeing();
                false
            }
        }
    }

    /// The move that goes on is the attempt.
    fn join_move(&mut self) {
        say!("kubevmm: the machine is on its way already; another signal has its guest power off");
        self.eviction.flight = Flight::Moving;
    }

    /// Begins an attempt; false if the machine is to be shut down instead.
    fn flee(&mut self, machine: &Machine) -> bool {
        // Somebody else may have begun to move it since the last one failed.
        if self.migrating.is_some() {
            self.join_move();
            return true;
        }
        let Some((_, Refuge { address, options })) = &self.eviction.way else { return false };
        let (address, options) = (address.clone(), options.clone());
        self.eviction.flight = Eviction::attempt(self.state.holds.saving);
        if self.eviction.flight == Flight::Held {
            say!(
                "kubevmm: the machine is being saved, and moves after that; another signal has its guest power off"
            );
            return true;
        }
        let begun = evacuation(&self.plan.namespace, &self.plan.name)
            .map_err(|error| chain(&error))
            .and_then(|object| {
                let request = MigrationRequest { address, options, object };
                self.migrate(machine, &request).map_err(|refusal| refusal.message)
            });
        match begun {
            Ok(_) => true,
            Err(why) => {
                say!("kubevmm: the machine cannot be moved: {why}");
                self.attempt_failed().is_none()
            }
        }
    }

    /// A migration has failed; what the machine does now, if it was on its way out.
    pub(super) fn attempt_failed(&mut self) -> Option<Input> {
        if self.eviction.flight != Flight::Moving {
            return None;
        }
        // Its end was asked for meanwhile, and follows as soon as the machine does not stand still any more.
        if self.ends_later {
            self.stop_fleeing();
            return None;
        }
        let until = self.eviction.until.map(|until| until.saturating_duration_since(Instant::now()));
        let step = self.eviction.on_failure(until.unwrap_or(Duration::MAX));
        self.eviction.failed = self.eviction.failed.saturating_add(1);
        if let Step::Wait(pause) = step
            && let Some(end) = Instant::now().checked_add(pause)
        {
            let seconds = pause.as_secs_f64().ceil();
            say!("kubevmm: another attempt is made in {seconds} s; another signal has the guest power off");
            self.eviction.flight = Flight::Waiting(end);
            return None;
        }
        say!("kubevmm: no other attempt is made, and the guest is asked to power off");
        self.stop_fleeing();
        Some(self.stop_request())
    }

    /// How long until another attempt.
    pub(super) fn flees_in(&self) -> Option<Duration> {
        match self.eviction.flight {
            Flight::Waiting(end) => Some(end.saturating_duration_since(Instant::now())),
            _ => None,
        }
    }

    /// Makes another attempt, if it is time; what the machine does if that cannot be.
    pub(super) fn flee_again(&mut self, machine: &Machine) -> Option<Input> {
        if self.flees_in() != Some(Duration::ZERO) || self.flee(machine) {
            return None;
        }
        Some(self.stop_request())
    }

    /// Begins an attempt that had to wait until the machine was saved; what the machine does if that cannot be.
    pub(super) fn flee_after_save(&mut self, machine: &Machine) -> Option<Input> {
        if self.eviction.flight != Flight::Held || self.flee(machine) {
            return None;
        }
        Some(self.stop_request())
    }

    /// The machine is to stay after all (`evacuate/cancel`).
    pub(super) fn cancel_evacuation(&mut self) -> Result<Done, Refusal> {
        if self.eviction.flight == Flight::None {
            return Err(Refusal::new(RefusalKind::NotFound, "the machine is not marked for eviction"));
        }
        self.stop_fleeing();
        Ok(Done::Finished)
    }

    fn mark_for_eviction(&mut self) {
        self.keeper.update(|status| status.evacuation_node_name.clone_from(&status.node_name));
    }

    /// A guest that powers off does not move any more.
    pub(super) fn stay_to_power_off(&mut self) {
        if self.state.leaving == Some(Leaving::Stop) && self.eviction.flight != Flight::None {
            self.stop_fleeing();
        }
    }

    fn stop_fleeing(&mut self) {
        if self.eviction.flight == Flight::Moving {
            // If it is too late, the machine has moved.
            let _ = self.cancel_migration(false);
        }
        self.eviction.flight = Flight::None;
        self.eviction.failed = 0;
        self.eviction.until = None;
        self.keeper.update(|status| status.evacuation_node_name.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(strategy: EvictionStrategy) -> Eviction {
        let address = "unix:/x".parse().unwrap();
        Eviction::new(Some(strategy), Some(Refuge { address, options: MigrationOptions::default() }))
    }

    #[test]
    fn strategies_are_kubevirts() {
        use EvictionStrategy::{External, LiveMigrate, LiveMigrateIfPossible, None as Never};
        for (strategy, is_moving, wanted) in [
            (Never, false, Step::ShutDown),
            (LiveMigrate, false, Step::Move),
            (LiveMigrate, true, Step::Join),
            (LiveMigrateIfPossible, false, Step::Move),
            (LiveMigrateIfPossible, true, Step::Join),
            (External, true, Step::Mark),
        ] {
            assert_eq!(of(strategy.clone()).on_signal(is_moving), wanted, "{strategy} {is_moving}");
        }
        let nowhere = Eviction::new(Some(LiveMigrate), None);
        assert_eq!(nowhere.on_signal(false), Step::ShutDown, "without a refuge nothing is new");
    }

    #[test]
    fn a_second_signal_ends_it() {
        for flight in [Flight::Moving, Flight::Held, Flight::Marked, Flight::Waiting(Instant::now())] {
            let eviction = Eviction { flight, ..of(EvictionStrategy::LiveMigrate) };
            assert_eq!(eviction.on_signal(true), Step::ShutDown, "{flight:?}");
            assert_eq!(eviction.on_signal(false), Step::ShutDown, "{flight:?}");
        }
    }

    #[test]
    fn a_machine_that_is_being_saved_is_not_asked_to_move_and_has_not_failed_to() {
        assert_eq!(Eviction::attempt(true), Flight::Held);
        assert_eq!(Eviction::attempt(false), Flight::Moving);
    }

    #[test]
    fn only_live_migrate_tries_again_and_later_each_time() {
        let on_failure = |eviction: &Eviction| eviction.on_failure(Duration::MAX);
        assert_eq!(on_failure(&of(EvictionStrategy::LiveMigrateIfPossible)), Step::ShutDown);
        let mut eviction = of(EvictionStrategy::LiveMigrate);
        let mut pauses = Vec::new();
        for failed in [0, 1, 2, 3, 4, 40] {
            eviction.failed = failed;
            let Step::Wait(pause) = on_failure(&eviction) else { panic!("{failed}") };
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 60, 60]);
    }

    #[test]
    fn attempts_end_with_the_grace_period() {
        let eviction = of(EvictionStrategy::LiveMigrate);
        let left = Duration::from_secs(2);
        assert_eq!(eviction.on_failure(left), Step::Wait(left), "the last one is made when it is over");
        assert_eq!(eviction.on_failure(Duration::ZERO), Step::ShutDown);
    }
}
