//! What holds of the machine at present.

use std::borrow::Cow;

use spec::api::{Condition, Time};

use super::Phase;

/// Why a machine is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Its user wants it.
    User,
    /// A disk waits for the host.
    Disk,
    /// The rest of its memory cannot be reached.
    Memory,
}

/// Sets a condition, or removes it. A condition whose status stays keeps the time of its last change.
pub(super) fn set(conditions: &mut Vec<Condition>, kind: &str, wanted: Option<Wanted>, now: &Time) {
    let before = conditions.iter().position(|condition| condition.r#type == kind);
    match (before.and_then(|at| conditions.get_mut(at)), wanted) {
        (None, None) => {}
        (Some(_), None) => conditions.retain(|condition| condition.r#type != kind),
        (Some(condition), Some(wanted)) => {
            if condition.status != wanted.status() {
                condition.last_transition_time = Some(now.clone());
                condition.status = wanted.status().into();
            }
            condition.reason = wanted.reason.into();
            condition.message = wanted.message.into_owned();
        }
        (None, Some(wanted)) => conditions.push(Condition {
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now.clone()),
            reason: wanted.reason.into(),
            status: wanted.status().into(),
            message: wanted.message.into_owned(),
            r#type: kind.into(),
        }),
    }
}

/// A condition as it is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) holds: bool,
    pub(super) reason: &'static str,
    pub(super) message: Cow<'static, str>,
}

impl Wanted {
    fn status(&self) -> &'static str {
        if self.holds { "True" } else { "False" }
    }
}

pub(super) const READY: &str = "Ready";
pub(super) const PAUSED: &str = "Paused";
pub(super) const LIVE_MIGRATABLE: &str = "LiveMigratable";
pub(super) const AGENT_CONNECTED: &str = "AgentConnected";
pub(super) const AGENT_VERSION: &str = "AgentVersionNotSupported";
pub(super) const CREDENTIALS: &str = "AccessCredentialsSynchronized";
pub(super) const DATA_VOLUMES_READY: &str = "DataVolumesReady";

/// KubeVirt's `Ready`: the guest runs, is not paused, and its readiness probe has nothing against it.
pub(super) fn ready(phase: Phase, pause: Option<Pause>, unready: Option<&str>) -> Wanted {
    let because = |reason, message: &'static str| Wanted { holds: false, reason, message: message.into() };
    match (phase, pause) {
        (Phase::Running, None) => match unready {
            None => Wanted { holds: true, reason: "", message: "".into() },
            Some(why) => {
                let message = format!("containers with unready status: [compute]: {why}");
                Wanted { holds: false, reason: "ContainersNotReady", message: message.into() }
            }
        },
        (Phase::Running, Some(_)) => because(
            "ReadinessGatesNotReady",
            "the VMI is paused, so that \"kubevirt.io/virtual-machine-unpaused\" is False",
        ),
        (Phase::Pending | Phase::Scheduling | Phase::Scheduled, _) => {
            because("GuestNotRunning", "Guest VM is not reported as running")
        }
        (Phase::Succeeded | Phase::Failed, _) => because("PodTerminating", "the guest has ended"),
    }
}

/// KubeVirt's `Paused`, which is there only while it holds.
pub(super) fn paused(pause: Option<Pause>) -> Option<Wanted> {
    let (reason, message) = match pause? {
        Pause::User => ("PausedByUser", "VMI was paused by user"),
        Pause::Disk => ("PausedIOError", "VMI was paused, low-level IO error detected"),
        // As libvirt calls it, wherever the rest is.
        Pause::Memory => ("PostcopyFailed", "VMI was paused, the rest of its memory cannot be reached"),
    };
    Some(Wanted { holds: true, reason, message: message.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_changes_its_time_with_its_status_alone() {
        let at = |text: &str| Time(text.into());
        let mut all = Vec::new();
        set(&mut all, READY, Some(ready(Phase::Scheduled, None, None)), &at("1"));
        set(&mut all, READY, Some(ready(Phase::Succeeded, None, None)), &at("2"));
        assert_eq!(
            (all[0].reason.as_str(), all[0].last_transition_time.clone()),
            ("PodTerminating", Some(at("1")))
        );
        set(&mut all, READY, Some(ready(Phase::Running, None, None)), &at("3"));
        assert_eq!((all[0].status.as_str(), all[0].last_transition_time.clone()), ("True", Some(at("3"))));
        set(&mut all, PAUSED, paused(Some(Pause::Disk)), &at("4"));
        assert_eq!(all[1].reason, "PausedIOError");
        set(&mut all, PAUSED, paused(None), &at("5"));
        assert_eq!(all.len(), 1);
    }
}
