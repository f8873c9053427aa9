//! `kubevmm wait`.

use std::str::FromStr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::print;
use crate::client::{ClientError, Lines, Machine};

use super::names;

/// How long it is waited if nothing else is said, as with kubectl.
const USUAL: Duration = Duration::from_secs(30);
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often it is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(20);

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Goal {
    /// The condition has this status.
    Condition(String, String),
    /// What is at this JSON pointer has this value, or any if there is none.
    Field(String, Option<String>),
    /// The process has ended.
    Gone,
}

/// The text names nothing that can be waited for.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0:?} cannot be waited for: use condition=NAME[=STATUS], phase=PHASE, delete, or jsonpath={{.PATH}}[=VALUE]"
)]
struct NoGoal(String);

impl FromStr for Goal {
    type Err = NoGoal;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let split = |rest: &str| match rest.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (rest.to_owned(), None),
        };
        match text.split_once('=') {
            None if text == "delete" => Ok(Self::Gone),
            Some(("condition", rest)) if !rest.is_empty() => {
                let (name, status) = split(rest);
                Ok(Self::Condition(name, status.unwrap_or_else(|| "True".into())))
            }
            Some(("phase", phase)) if !phase.is_empty() => {
                Ok(Self::Field("/status/phase".into(), Some(phase.into())))
            }
            Some(("jsonpath", rest)) => {
                let (path, value) = split(rest);
                let path = path.trim_matches(['\'', '"']).trim_start_matches('{').trim_end_matches('}');
                let fields: Vec<_> = path.strip_prefix('.').unwrap_or_default().split('.').collect();
                if fields.iter().any(|field| field.is_empty() || field.contains(['[', '*', '/'])) {
                    return Err(NoGoal(text.to_owned()));
                }
                Ok(Self::Field(format!("/{}", fields.join("/")), value))
            }
            _ => Err(NoGoal(text.to_owned())),
        }
    }
}

impl Goal {
    /// Whether the object is as it should be.
    fn is_reached(&self, object: &Value) -> bool {
        match self {
            Self::Condition(name, wanted) => {
                let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
                let mut named = conditions.into_iter().flatten().filter(|condition| {
                    condition["type"].as_str().is_some_and(|kind| kind.eq_ignore_ascii_case(name))
                });
                let status = named.next().and_then(|condition| condition["status"].as_str());
                // A condition that is not there does not hold.
                status.unwrap_or("False").eq_ignore_ascii_case(wanted)
            }
            Self::Field(path, wanted) => match (object.pointer(path), wanted) {
                (Some(Value::String(text)), Some(wanted)) => text == wanted,
                (Some(value), Some(wanted)) => {
                    let text = value.to_string();
                    text == *wanted
                }
                (found, None) => found.is_some_and(|value| !value.is_null()),
                (None, Some(_)) => false,
            },
            Self::Gone => false,
        }
    }
}

/// A length of time.
struct Time(Duration);

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is no length of time: use 30, 30s, 5m or 1h");
        if text.starts_with('-') {
            return Ok(Self(WEEK));
        }
        let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(split);
        let unit = match unit {
            "" | "s" => 1,
            "m" => 60,
            "h" => 3600,
            _ => return Err(bad()),
        };
        let seconds = digits.parse::<u64>().map_err(|_| bad())?.saturating_mul(unit);
        Ok(Self(Duration::from_secs(seconds).min(WEEK)))
    }
}

/// Waits.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let goal = args
        .parsed::<Goal>("for")?
        .ok_or_else(|| Failure::Usage("say what to wait for, such as --for=condition=Ready".into()))?;
    let patience = args.parsed::<Time>("timeout")?.map_or(USUAL, |time| time.0);
    let deadline = Instant::now() + patience;
    let machine = match names::machine(args) {
        // What is not there is deleted.
        Err(Failure::Client(ClientError::NoMachine { namespace, name, .. })) if goal == Goal::Gone => {
            return print(&format!("VMI {namespace}/{name} is gone\n")).map(|()| 0);
        }
        found => found?,
    };
    let is_reached =
        if goal == Goal::Gone { wait_for_end(&machine, deadline) } else { watch(&machine, &goal, deadline)? };
    match is_reached {
        Some(true) => print(&format!("VMI {machine}: condition met\n")).map(|()| 0),
        Some(false) => Err(Failure::NotSo(format!("VMI {machine} has ended, and it is not so"))),
        None => {
            Err(Failure::NotSo(format!("VMI {machine} did not come to be so in {} s", patience.as_secs())))
        }
    }
}

fn wait_for_end(machine: &Machine, deadline: Instant) -> Option<bool> {
    while machine.runs() {
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(LOOK);
    }
    Some(true)
}

/// Watches the machine. `None`: the time is over; false: it has ended.
fn watch(machine: &Machine, goal: &Goal, deadline: Instant) -> Result<Option<bool>, Failure> {
    let path = format!("{}?watch=true&fieldSelector=metadata.name%3D{}", machine.list_path(), machine.name);
    let mut lines = match machine.stream(&path) {
        Ok(lines) => lines,
        Err(ClientError::Ended(_)) => return Ok(Some(goal.is_reached(&machine.object()?))),
        Err(error) => return Err(error.into()),
    };
    let nonsense = |_| ClientError::Nonsense(machine.to_string());
    loop {
        // No time at all would be all the time there is.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        lines.wait_at_most(Some(left))?;
        match lines.next() {
            Some(Ok(line)) => {
                let change: Value = serde_json::from_str(&line).map_err(nonsense)?;
                if goal.is_reached(&change["object"]) {
                    return Ok(Some(true));
                }
            }
            Some(Err(error)) if Lines::is_timeout(&error) => return Ok(None),
            // It has ended, by itself or by force; the last that it said was looked at.
            Some(Err(_)) | None => return Ok(Some(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn goals_are_read_as_kubectl_reads_them() {
        let condition = |name: &str, status: &str| Goal::Condition(name.into(), status.into());
        let field = |path: &str, value: Option<&str>| Goal::Field(path.into(), value.map(str::to_owned));
        for (text, goal) in [
            ("condition=Ready", condition("Ready", "True")),
            ("condition=Paused=false", condition("Paused", "false")),
            ("phase=Running", field("/status/phase", Some("Running"))),
            ("delete", Goal::Gone),
            ("jsonpath={.status.phase}=Running", field("/status/phase", Some("Running"))),
            ("jsonpath='{.status.nodeName}'", field("/status/nodeName", None)),
        ] {
            assert_eq!(text.parse::<Goal>().unwrap(), goal, "{text}");
        }
        for bad in ["", "deleted", "condition=", "phase=", "jsonpath={}", "jsonpath={.a[0]}=b", "Ready"] {
            assert!(bad.parse::<Goal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn goals_are_reached_or_not() {
        let object = json!({"status": {"phase": "Running", "n": 3, "conditions": [{"type": "Ready", "status": "True"}]}});
        for (goal, wanted) in [
            ("condition=ready", true),
            ("condition=Ready=False", false),
            ("condition=Paused", false),
            ("condition=Paused=False", true),
            ("phase=Running", true),
            ("phase=Failed", false),
            ("jsonpath={.status.n}=3", true),
            ("jsonpath={.status.n}", true),
            ("jsonpath={.status.x}", false),
            ("delete", false),
        ] {
            assert_eq!(goal.parse::<Goal>().unwrap().is_reached(&object), wanted, "{goal}");
        }
    }

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| text.parse::<Time>().map(|time| time.0.as_secs()).ok();
        assert_eq!(
            [seconds("30"), seconds("2m"), seconds("1h"), seconds("0s")],
            [Some(30), Some(120), Some(3600), Some(0)]
        );
        assert_eq!(seconds("-1s"), Some(WEEK.as_secs()));
        assert_eq!([seconds("x"), seconds("1d"), seconds("")], [None; 3]);
    }
}
