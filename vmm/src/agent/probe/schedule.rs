//! What follows from one test after the other: the pure part of probes.

use super::ProbeKind;
use crate::plan::ProbePlan;

/// Counts tests that came out alike.
#[derive(Debug)]
pub(super) struct Schedule {
    kind: ProbeKind,
    successes: u32,
    failures: u32,
    in_a_row: u32,
    last: Option<bool>,
    healthy: bool,
}

impl Schedule {
    /// A guest counts as alive and as not ready until tests say something else (`pkg/kubelet/prober` of Kubernetes).
    pub(super) fn new(kind: ProbeKind, plan: &ProbePlan) -> Self {
        Self {
            kind,
            successes: plan.success_threshold,
            failures: plan.failure_threshold,
            in_a_row: 0,
            last: None,
            healthy: kind == ProbeKind::Liveness,
        }
    }

    /// Takes how a test came out. Gives back whether the guest is healthy, if that is another thing than before; that a
    /// guest is to be ended is said once.
    pub(super) fn tested(&mut self, passed: bool) -> Option<bool> {
        self.in_a_row = if self.last == Some(passed) { self.in_a_row.saturating_add(1) } else { 1 };
        self.last = Some(passed);
        let threshold = match (passed, self.kind) {
            (true, ProbeKind::Readiness) => self.successes,
            (true, ProbeKind::Liveness) => return None,
            (false, _) => self.failures,
        };
        if self.in_a_row < threshold || self.healthy == passed {
            return None;
        }
        self.healthy = passed;
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::ProbeAction;

    fn schedule(kind: ProbeKind) -> Schedule {
        let plan = ProbePlan {
            action: ProbeAction::Ping,
            initial_delay: Duration::ZERO,
            period: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            success_threshold: 2,
            failure_threshold: 3,
        };
        Schedule::new(kind, &plan)
    }

    fn run(kind: ProbeKind, tests: &str) -> String {
        let mut schedule = schedule(kind);
        let said = |passed| match schedule.tested(passed) {
            None => '.',
            Some(true) => 'Y',
            Some(false) => 'N',
        };
        tests.chars().map(|test| test == '+').map(said).collect()
    }

    #[test]
    fn a_guest_is_ready_after_enough_successes_and_not_after_enough_failures() {
        assert_eq!(run(ProbeKind::Readiness, "---++--+---++"), "....Y.....N.Y");
        assert_eq!(run(ProbeKind::Readiness, "+-+-+-"), "......");
    }

    #[test]
    fn a_guest_is_to_be_ended_once() {
        assert_eq!(run(ProbeKind::Liveness, "--+--------"), ".....N.....");
        assert_eq!(run(ProbeKind::Liveness, "+++"), "...");
    }
}
