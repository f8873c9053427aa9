//! One machine of a fleet: what is known of it, and what is to be done about it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Key;
use super::backoff::{self, CAME_UP};
use super::strategy::{End, Order, Strategy};
use crate::state::{Done, Refusal};

/// How long a process may take longer to stop its machine than the machine's grace period.
const SLACK: u64 = 30;

/// A machine. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Instance {
    /// Kind and key of the object that it belongs to.
    pub owner: String,
    /// When it ought to run.
    pub strategy: Strategy,
    /// Seconds that its guest may take to power off.
    pub grace: u64,
    /// Number by which machines of one fleet are older or younger.
    pub made: u64,
    /// What the user said last.
    #[serde(default)]
    pub order: Order,
    /// It is to end and start again.
    #[serde(default)]
    pub restart: bool,
    /// It is to end and be forgotten.
    #[serde(default)]
    pub leaving: bool,
    /// How it ended since it was last asked to start.
    #[serde(default)]
    pub last: Option<End>,
    /// How often in a row it ended as soon as it was started.
    #[serde(default)]
    pub failures: u32,
    /// It was started, and its end was not seen.
    #[serde(default)]
    pub up: bool,
    /// How often it was started.
    #[serde(default)]
    pub starts: u64,
    /// When it was started last.
    #[serde(default)]
    pub started: u64,
    /// It does not start before this.
    #[serde(default)]
    pub not_before: u64,
    /// When it was told to stop, while it stops.
    #[serde(default)]
    pub stopping: Option<u64>,
    /// What it was told may have it move, which takes the time that it takes.
    #[serde(default)]
    pub may_move: bool,
    /// When it was told to end by force.
    #[serde(default)]
    pub forced: Option<u64>,
}

/// What is to be done about a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, until something happens.
    Nothing,
    /// Nothing before this time.
    WaitUntil(u64),
    /// Start it.
    Start,
    /// Tell it to stop.
    Stop,
    /// Kill its process: it has had its time.
    Kill,
    /// Forget it.
    Forget,
}

impl Instance {
    /// One that was never started.
    pub fn new(owner: String, strategy: Strategy, grace: u64, made: u64) -> Self {
        Self {
            owner,
            strategy,
            grace,
            made,
            order: Order::None,
            restart: false,
            leaving: false,
            last: None,
            failures: 0,
            up: false,
            starts: 0,
            started: 0,
            not_before: 0,
            stopping: None,
            may_move: false,
            forced: None,
        }
    }

    /// What is to be done at `now`. `closing`: the whole fleet is to end.
    pub fn step(&self, now: u64, closing: bool) -> Step {
        let wanted = !self.leaving && !closing && self.strategy.wants_it_up(self.order, self.last);
        match (self.up, wanted && !self.restart) {
            (true, true) => Step::Nothing,
            (true, false) => match self.stopping {
                None => Step::Stop,
                // Its process keeps to limits of its own, and whoever cannot wait tells it once more.
                Some(_) if self.may_move => Step::Nothing,
                Some(since) => {
                    let over = self.forced.unwrap_or(since.saturating_add(self.grace)).saturating_add(SLACK);
                    if now < over { Step::WaitUntil(over) } else { Step::Kill }
                }
            },
            (false, _) if self.leaving => Step::Forget,
            (false, _) if !wanted => Step::Nothing,
            (false, _) if now < self.not_before => Step::WaitUntil(self.not_before),
            (false, _) => Step::Start,
        }
    }

    /// It is being started.
    pub fn starts_at(&mut self, now: u64) {
        self.up = true;
        self.starts += 1;
        self.started = now;
        self.restart = false;
        self.stopping = None;
        self.may_move = false;
        self.forced = None;
    }

    /// It was told to have its guest power off instead of moving. One that has moved, and whose memory is needed, stays.
    pub fn powers_off_at(&mut self, now: u64) {
        self.stopping.get_or_insert(now);
        self.may_move = true;
    }

    /// It was told to end by force.
    pub fn forced_at(&mut self, now: u64) {
        self.stopping.get_or_insert(now);
        self.forced.get_or_insert(now);
        self.may_move = false;
    }

    /// Its process is gone. One that was to start again forgets how it ended, unless it runs elsewhere now; any other that
    /// did not live for long waits, and the longer the more often that happened.
    pub fn ended(&mut self, end: End, now: u64, chance: u64) {
        self.up = false;
        let was_told = self.stopping.take().is_some();
        if std::mem::take(&mut self.restart) && end != End::Moved {
            self.forget_end();
            return;
        }
        self.last = Some(end);
        if was_told || self.came_up(now) {
            self.failures = 0;
            self.not_before = 0;
        } else {
            self.failures = self.failures.saturating_add(1);
            self.not_before = now.saturating_add(backoff::pause(self.failures, chance).as_secs());
        }
    }

    /// Whether one that ends at `now` lived for long enough to count as having come up.
    pub fn came_up(&self, now: u64) -> bool {
        Duration::from_secs(now.saturating_sub(self.started)) >= CAME_UP
    }

    /// The user wants it to run (`virtctl start`).
    ///
    /// # Errors
    /// It runs, or its strategy leaves no say.
    pub fn start(&mut self, key: &Key) -> Result<Done, Refusal> {
        if self.strategy == Strategy::Once {
            return Err(Refusal::conflict("Once does not support manual start requests"));
        }
        if self.up && self.stopping.is_none() {
            return Err(Refusal::conflict(format!("VM {} is already running", key.name)));
        }
        self.ordered(Order::Start);
        Ok(Done::Begun)
    }

    /// The user wants it to end, and not to start again by itself (`virtctl stop`).
    ///
    /// # Errors
    /// It does not run, nor would it.
    pub fn stop(&mut self, key: &Key) -> Result<Done, Refusal> {
        if !self.up && !self.strategy.wants_it_up(self.order, self.last) {
            return Err(Refusal::conflict(format!("VM {} is not running", key.name)));
        }
        self.ordered(Order::Stop);
        Ok(Done::Begun)
    }

    /// The user wants it to end and to start again (`virtctl restart`).
    ///
    /// # Errors
    /// It does not run.
    pub fn restart(&mut self, key: &Key) -> Result<Done, Refusal> {
        if !self.up {
            return Err(Refusal::conflict(format!("VM {} is not running", key.name)));
        }
        self.ordered(Order::Start);
        self.restart = true;
        Ok(Done::Begun)
    }

    /// The user wants it to start, or to stop.
    pub fn ordered(&mut self, order: Order) {
        self.order = order;
        self.restart = false;
        if order == Order::Start {
            self.forget_end();
        }
    }

    fn forget_end(&mut self) {
        self.last = None;
        self.failures = 0;
        self.not_before = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn always() -> Instance {
        Instance::new("vm".into(), Strategy::Always, 60, 0)
    }

    #[test]
    fn it_starts_once_and_again_when_it_ends() {
        let mut vm = always();
        assert_eq!(vm.step(0, false), Step::Start);
        vm.starts_at(100);
        assert_eq!(vm.step(101, false), Step::Nothing);
        vm.ended(End::Failed, 160, 0);
        assert_eq!(vm.step(160, false), Step::Start, "it had come up");
    }

    #[test]
    fn one_that_does_not_come_up_waits_longer_each_time() {
        let mut vm = always();
        let mut now = 1000;
        let mut pauses = Vec::new();
        for _ in 0..4 {
            vm.starts_at(now);
            vm.ended(End::Failed, now + 1, 0);
            let Step::WaitUntil(until) = vm.step(now + 1, false) else { panic!("{vm:?}") };
            pauses.push(until - now - 1);
            now = until;
            assert_eq!(vm.step(now, false), Step::Start);
        }
        assert_eq!(pauses, [10, 40, 90, 160]);
        vm.ordered(Order::Start);
        assert_eq!(vm.failures, 0, "whoever asks for it need not wait");
    }

    #[test]
    fn it_is_told_to_stop_once_and_killed_when_it_does_not() {
        let mut vm = always();
        vm.starts_at(0);
        vm.ordered(Order::Stop);
        assert_eq!(vm.step(5, false), Step::Stop);
        vm.stopping = Some(5);
        assert_eq!(vm.step(6, false), Step::WaitUntil(95));
        assert_eq!(vm.step(95, false), Step::Kill);
        let moving = Instance { may_move: true, ..vm.clone() };
        assert_eq!(moving.step(95, true), Step::Nothing, "one that may be on its way is not killed");
        let mut told = Instance { stopping: None, may_move: false, ..moving.clone() };
        told.powers_off_at(10);
        assert_eq!(told.step(95, true), Step::Nothing, "it is told once, and not killed either");
        let mut forced = moving;
        forced.forced_at(200);
        assert_eq!(
            forced.step(201, true),
            Step::WaitUntil(230),
            "by force it neither moves nor waits for its guest"
        );
        forced.forced_at(220);
        assert_eq!(forced.step(230, true), Step::Kill, "nobody gives it more time by asking again");
        vm.ended(End::Succeeded, 7, 0);
        assert_eq!(vm.step(8, false), Step::Nothing);
        vm.ordered(Order::Start);
        assert_eq!(vm.step(8, false), Step::Start);
    }

    #[test]
    fn a_restart_is_a_stop_and_a_start_whatever_the_strategy() {
        for strategy in [Strategy::Always, Strategy::Manual, Strategy::RerunOnFailure] {
            let mut vm = Instance { strategy, order: Order::Start, ..always() };
            vm.starts_at(0);
            vm.restart = true;
            assert_eq!(vm.step(1, false), Step::Stop);
            vm.stopping = Some(1);
            vm.ended(End::Succeeded, 2, 0);
            assert_eq!(vm.step(2, false), Step::Start, "{strategy:?}");
        }
    }

    #[test]
    fn what_has_moved_away_starts_here_only_for_an_order_that_came_later() {
        let key: Key = "default/vm".parse().unwrap();
        for strategy in [Strategy::Always, Strategy::Halted, Strategy::Manual, Strategy::RerunOnFailure] {
            for restarted in [false, true] {
                let mut vm = Instance { strategy, ..always() };
                vm.ordered(Order::Start);
                vm.starts_at(0);
                if restarted {
                    vm.restart(&key).unwrap();
                    vm.stopping = Some(99);
                }
                vm.ended(End::Moved, 100, 0);
                assert_eq!(vm.step(100, false), Step::Nothing, "{strategy:?}, restarted: {restarted}");
                vm.start(&key).unwrap();
                assert_eq!(vm.step(101, false), Step::Start, "{strategy:?}, restarted: {restarted}");
            }
        }
    }

    #[test]
    fn closing_and_leaving_end_it() {
        let mut vm = always();
        vm.starts_at(0);
        assert_eq!(vm.step(1, true), Step::Stop);
        vm.leaving = true;
        assert_eq!(vm.step(1, false), Step::Stop);
        vm.ended(End::Succeeded, 2, 0);
        assert_eq!(vm.step(2, true), Step::Forget);
        vm.leaving = false;
        assert_eq!(vm.step(2, true), Step::Nothing);
    }
}
