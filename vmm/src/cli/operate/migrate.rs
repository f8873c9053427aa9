//! `kubevmm migrate` and `kubevmm migrate-cancel`.

use std::io::{ErrorKind, IsTerminal, Write as _};
use std::time::Duration;

use serde_json::{Value, json};

use super::migrate_order::Order;
use super::names;
use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::print;
use crate::client::{ClientError, Machine};

/// How often it is looked how far a migration is.
const LOOK: Duration = Duration::from_millis(100);
/// Annotation that says so.
const PROGRESS: &str = "/metadata/annotations/kubevmm.io~1migration-progress";

/// Moves a machine, and waits until it has moved, or stays.
pub(super) fn migrate(args: &Args) -> Result<u8, Failure> {
    let order = Order::read(args)?;
    let machine = names::find(args, order.machine())?;
    let body = order.body(args, &machine)?;
    machine.ask("PUT", &machine.vm_subresource("migrate"), &body)?;
    if args.has("no-wait") {
        return print(&format!("VM {machine} was scheduled to migrate\n")).map(|()| 0);
    }
    wait(&machine)?;
    print(&format!("VMI {machine} was moved to {}\n", order.address())).map(|()| 0)
}

/// Has a machine stay that is being moved.
pub(super) fn cancel(args: &Args) -> Result<u8, Failure> {
    let machine = names::machine(args)?;
    let body = json!({ "force": args.has("force") }).to_string();
    machine.ask("PUT", &machine.subresource("migratecancel"), &body)?;
    print(&format!("the migration of VMI {machine} is cancelled\n")).map(|()| 0)
}

/// Waits until the machine has moved.
fn wait(machine: &Machine) -> Result<(), Failure> {
    let shows = std::io::stderr().is_terminal();
    loop {
        // Read before, so that what is seen of a process that ends meanwhile is its last word.
        let runs = machine.runs();
        let object = match machine.object() {
            Ok(object) => object,
            Err(ClientError::Ended(_)) if runs => continue,
            // Its process ended before it had answered.
            Err(ClientError::Broken { source, .. })
                if runs && source.kind() == ErrorKind::ConnectionReset =>
            {
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let state = &object["status"]["migrationState"];
        let show = |line: &str| {
            if shows {
                // Whoever took the terminal away is not interested.
                let _ = write!(std::io::stderr(), "\r\x1b[K{line}");
            }
        };
        if state["completed"] == true {
            show("");
            return match state["failureReason"].as_str() {
                Some(why) if state["failed"] == true => {
                    Err(Failure::NotSo(format!("VMI {machine} stays: {why}")))
                }
                _ => Ok(()),
            };
        }
        if !runs {
            show("");
            return Err(Failure::NotSo(format!("VMI {machine} has ended before it was moved")));
        }
        show(&line(&object));
        std::thread::sleep(LOOK);
    }
}

/// How far it is, in one line.
fn line(object: &Value) -> String {
    let text = object.pointer(PROGRESS).and_then(Value::as_str).unwrap_or_default();
    let progress: Value = serde_json::from_str(text).unwrap_or_default();
    let mib = |name: &str| progress[name].as_u64().unwrap_or(0) >> 20;
    let downtime = progress["estimatedDowntimeMs"].as_u64();
    let downtime = downtime.map(|time| format!(", it would stand still for {time} ms")).unwrap_or_default();
    format!(
        "{}: {} rounds, {} MiB sent, {} MiB left, {} MiB/s; the guest writes {} MiB/s{downtime}",
        progress["phase"].as_str().unwrap_or("Connecting"),
        progress["rounds"],
        mib("sentBytes"),
        mib("remainingBytes"),
        mib("bytesPerSecond"),
        mib("dirtyBytesPerSecond"),
    )
}
