//! `kubevmm ps` and `kubevmm status`.

use std::fmt::Write as _;
use std::str::FromStr;

use serde_json::{Value, json};

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::{print, yaml_document};
use crate::cli::run::runtime_root;
use crate::client::{self, Machine};

use super::table::table;
use super::{age, names};

/// How machines are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum View {
    #[default]
    Text,
    Wide,
    Name,
    Json,
    Yaml,
}

/// The text names no view.
#[derive(Debug, thiserror::Error)]
#[error("there is no view {0:?}: use text, wide, name, json or yaml")]
struct NoSuchView(String);

impl FromStr for View {
    type Err = NoSuchView;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "text" => Self::Text,
            "wide" => Self::Wide,
            "name" => Self::Name,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            other => return Err(NoSuchView(other.to_owned())),
        })
    }
}

/// A machine and its object.
struct Seen {
    machine: Machine,
    object: Value,
    runs: bool,
}

impl Seen {
    fn text(&self, path: &str) -> &str {
        self.object.pointer(path).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.object.pointer(path).and_then(Value::as_u64)
    }

    fn list(&self, path: &str) -> &[Value] {
        self.object.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// Its phase; with a question mark if it cannot be, because its process is gone.
    fn phase(&self) -> String {
        let phase = self.text("/status/phase");
        let is_final = matches!(phase, "Succeeded" | "Failed");
        if self.runs || is_final { phase.to_owned() } else { format!("{phase}?") }
    }

    fn condition(&self, name: &str) -> Option<&Value> {
        self.list("/status/conditions").iter().find(|condition| condition["type"] == name)
    }

    /// Status of a condition: `True`, `False`, or nothing.
    fn holds(&self, name: &str) -> &str {
        self.condition(name).and_then(|condition| condition["status"].as_str()).unwrap_or_default()
    }

    /// What it does in one word.
    fn state(&self) -> String {
        if self.runs && self.holds("Paused") == "True" { "Paused".into() } else { self.phase() }
    }

    fn address(&self) -> &str {
        let interfaces = self.list("/status/interfaces").iter();
        interfaces.filter_map(|interface| interface["ipAddress"].as_str()).next().unwrap_or_default()
    }

    fn pid(&self) -> String {
        let pid = self.machine.pid().filter(|_| self.runs);
        pid.map(|pid| pid.to_string()).unwrap_or_default()
    }

    /// Number of vCPUs.
    fn vcpus(&self) -> Option<u64> {
        let part = |name| self.number(&format!("/status/currentCPUTopology/{name}"));
        Some(part("sockets")? * part("cores")? * part("threads")?)
    }
}

/// Lists machines.
pub(super) fn ps(args: &Args) -> Result<u8, Failure> {
    if let Some(word) = args.words()?.first() {
        return Err(Failure::Usage(format!("ps takes no {word:?}; kubevmm status shows one machine")));
    }
    let namespace = names::namespace(args)?;
    let all = client::all(&runtime_root(args));
    let wanted =
        all.into_iter().filter(|machine| namespace.as_ref().is_none_or(|only| *only == machine.namespace));
    let seen: Vec<Seen> = wanted
        .filter_map(|machine| {
            // One that ends just now, or whose files are not whole, is no machine to be listed.
            let object = machine.object().ok()?;
            Some(Seen { runs: machine.runs(), object, machine })
        })
        .collect();
    print(&match view(args)? {
        View::Json => format!("{:#}\n", list(&seen)),
        View::Yaml => yaml_document(&list(&seen)),
        View::Name => names_of(&seen),
        View::Text | View::Wide if seen.is_empty() => "No machines found.\n".to_owned(),
        View::Text => rows(&seen, false),
        View::Wide => rows(&seen, true),
    })?;
    Ok(0)
}

fn view(args: &Args) -> Result<View, Failure> {
    Ok(args.parsed("output")?.unwrap_or_default())
}

fn list(seen: &[Seen]) -> Value {
    let items: Vec<&Value> = seen.iter().map(|seen| &seen.object).collect();
    json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items})
}

fn names_of(seen: &[Seen]) -> String {
    seen.iter().map(|seen| format!("{}\n", seen.machine)).collect()
}

fn rows(seen: &[Seen], wide: bool) -> String {
    let mut head = vec!["NAMESPACE", "NAME", "AGE", "PHASE", "READY", "PID"];
    if wide {
        head.extend(["IP", "VCPUS", "MEMORY", "AGENT"]);
    }
    let row = |seen: &Seen| {
        let ready = if seen.runs { seen.holds("Ready") } else { "False" };
        let mut row = vec![
            seen.machine.namespace.clone(),
            seen.machine.name.clone(),
            age::since(seen.text("/metadata/creationTimestamp")),
            seen.state(),
            ready.to_owned(),
            seen.pid(),
        ];
        if wide {
            row.push(seen.address().to_owned());
            row.push(seen.vcpus().map(|vcpus| vcpus.to_string()).unwrap_or_default());
            row.push(seen.text("/status/memory/guestCurrent").to_owned());
            row.push(seen.holds("AgentConnected").to_owned());
        }
        row
    };
    table(&head, &seen.iter().map(row).collect::<Vec<_>>())
}

/// Shows machines.
pub(super) fn status(args: &Args) -> Result<u8, Failure> {
    let view = view(args)?;
    let mut all = Vec::new();
    for machine in names::machines(args)? {
        let object = machine.object()?;
        all.push(Seen { runs: machine.runs(), object, machine });
    }
    print(&match (view, all.as_slice()) {
        (View::Json, [one]) => format!("{:#}\n", one.object),
        (View::Yaml, [one]) => spec::yaml::write(&one.object),
        (View::Json, all) => format!("{:#}\n", list(all)),
        (View::Yaml, all) => spec::yaml::write(&list(all)),
        (View::Name, all) => names_of(all),
        (View::Wide, all) => rows(all, true),
        (View::Text, all) => all.iter().map(page).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(0)
}

/// All that a person may want to know.
fn page(seen: &Seen) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{:<12} {value}", format!("{name}:"));
        }
    };
    line("Name", &seen.machine.name);
    line("Namespace", &seen.machine.namespace);
    line("UID", seen.text("/metadata/uid"));
    line("Phase", &seen.phase());
    line("Reason", seen.text("/status/reason"));
    if let Some(to) = seen.machine.handed_over_to() {
        line("Handed over", &format!("to {to}: see there whether it runs"));
    }
    line("Age", &age::since(seen.text("/metadata/creationTimestamp")));
    line("Process", &seen.pid());
    line("Machine", seen.text("/status/machine/type"));
    line("vCPUs", &seen.vcpus().map(|vcpus| vcpus.to_string()).unwrap_or_default());
    line("Memory", seen.text("/status/memory/guestCurrent"));
    line("Guest", seen.text("/status/guestOSInfo/prettyName"));
    text.push_str(&part(
        "Conditions",
        &["TYPE", "STATUS", "REASON", "MESSAGE"],
        seen.list("/status/conditions"),
        |one| ["/type", "/status", "/reason", "/message"].map(|path| cell(one, path)).to_vec(),
    ));
    text.push_str(&part(
        "Interfaces",
        &["NAME", "MAC", "IP", "LINK"],
        seen.list("/status/interfaces"),
        |one| ["/name", "/mac", "/ipAddress", "/linkState"].map(|path| cell(one, path)).to_vec(),
    ));
    text.push_str(&part("Volumes", &["NAME", "TARGET", "SIZE"], seen.list("/status/volumeStatus"), |one| {
        ["/name", "/target", "/size"].map(|path| cell(one, path)).to_vec()
    }));
    text
}

fn part(title: &str, head: &[&str], items: &[Value], row: impl Fn(&Value) -> Vec<String>) -> String {
    if items.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    let mut text = format!("{title}:\n");
    for line in table(head, &rows).lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn cell(item: &Value, path: &str) -> String {
    match item.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}
