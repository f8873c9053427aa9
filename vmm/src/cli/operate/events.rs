//! `kubevmm events`.

use serde_json::Value;

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::{Format, print, yaml_document};
use crate::client::{ClientError, Machine};

use super::table::table;
use super::{age, names};

const HEAD: [&str; 4] = ["LAST SEEN", "TYPE", "REASON", "MESSAGE"];

/// Lists events, and with `--watch` tells of new ones until the machine ends.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let (machine, format) = (names::machine(args)?, Format::of(args)?);
    let events = machine.events()?;
    match format {
        Format::Text => print(&table(&HEAD, &events.iter().map(row).collect::<Vec<_>>()))?,
        _ => events.iter().try_for_each(|event| one(event, format))?,
    }
    if args.has("watch") {
        watch(&machine, &events, format)?;
    }
    Ok(0)
}

fn watch(machine: &Machine, before: &[Value], format: Format) -> Result<(), Failure> {
    let version = before.last().and_then(|event| event.pointer("/metadata/resourceVersion")?.as_str());
    let path = format!("{}?watch=true&resourceVersion={}", machine.events_path(), version.unwrap_or("0"));
    let lines = match machine.stream(&path) {
        Ok(lines) => lines,
        // It has ended, and nothing more is going to happen.
        Err(ClientError::Ended(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for line in lines {
        let nonsense = |_| ClientError::Nonsense(machine.to_string());
        let change: Value = serde_json::from_str(&line?).map_err(nonsense)?;
        one(&change["object"], format)?;
    }
    Ok(())
}

fn one(event: &Value, format: Format) -> Result<(), Failure> {
    print(&match format {
        Format::Text => {
            let [seen, kind, reason, message] = cells(event);
            format!("{seen:<11} {kind:<8} {reason:<14} {message}\n")
        }
        Format::Json => format!("{event}\n"),
        Format::Yaml => yaml_document(event),
    })
}

fn row(event: &Value) -> Vec<String> {
    cells(event).to_vec()
}

fn cells(event: &Value) -> [String; 4] {
    let text = |key: &str| event.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    [age::since(&text("lastTimestamp")), text("type"), text("reason"), text("message")]
}
