//! How long a machine that does not come up is left alone.

use std::time::Duration;

/// What the first failure costs, and the unit of all others.
const UNIT: u64 = 10;
/// No machine is left alone for longer (KubeVirt's `defaultMaxCrashLoopBackoffDelaySeconds`).
const MOST: u64 = 300;
/// A machine that lived as long came up; if it fails then, it starts again at once.
pub(super) const CAME_UP: Duration = Duration::from_secs(UNIT);

/// The pause after the `failures`-th failure in a row: it grows with its square, and `chance` (any number) adds up to half of
/// it, so that machines which failed together do not come back together. As KubeVirt's VM controller does
/// (`pkg/virt-controller/watch/vm`).
pub(super) fn pause(failures: u32, chance: u64) -> Duration {
    let failures = u64::from(failures.clamp(1, 1000));
    let base = UNIT * failures * failures;
    Duration::from_secs(base.saturating_add(chance % (base / 2 + 1)).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_are_kubevirts() {
        for (failures, least, most) in [
            (0, 10, 15),
            (1, 10, 15),
            (2, 40, 60),
            (3, 90, 135),
            (4, 160, 240),
            (5, 250, 300),
            (6, 300, 300),
            (u32::MAX, 300, 300),
        ] {
            for chance in [0, 1, 7, 100, 12345, u64::MAX] {
                let pause = pause(failures, chance).as_secs();
                assert!((least..=most).contains(&pause), "{failures} failures: {pause} s");
            }
        }
        assert_ne!(pause(3, 1), pause(3, 2));
    }
}
