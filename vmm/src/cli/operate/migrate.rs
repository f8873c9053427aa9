//! `kubevmm migrate` and `kubevmm migrate-cancel`.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write as _};
use std::time::Duration;

use serde_json::{Map, Value, json};
use spec::Object;
use spec::api::{MigrationPolicy, Quantity};

use super::names;
use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::manifest;
use crate::cli::output::{print, say};
use crate::client::{ClientError, Machine};

/// How often it is looked how far a migration is.
const LOOK: Duration = Duration::from_millis(100);
/// Annotation that says so.
const PROGRESS: &str = "/metadata/annotations/kubevmm.io~1migration-progress";

/// Moves a machine, and waits until it has moved, or stays.
pub(super) fn migrate(args: &Args) -> Result<u8, Failure> {
    let words = args.words()?;
    let [name, address] = words.as_slice() else {
        return Err(Failure::Usage("give the name of a machine, and the address where it goes".into()));
    };
    let machine = names::find(args, name)?;
    let body = body(args, &machine, address)?;
    machine.ask("PUT", &machine.vm_subresource("migrate"), &body)?;
    if args.has("no-wait") {
        return print(&format!("VM {machine} was scheduled to migrate\n")).map(|()| 0);
    }
    wait(&machine)?;
    print(&format!("VMI {machine} was moved to {address}\n")).map(|()| 0)
}

/// Has a machine stay that is being moved.
pub(super) fn cancel(args: &Args) -> Result<u8, Failure> {
    let machine = names::machine(args)?;
    let body = json!({ "force": args.has("force") }).to_string();
    machine.ask("PUT", &machine.subresource("migratecancel"), &body)?;
    print(&format!("the migration of VMI {machine} is cancelled\n")).map(|()| 0)
}

/// The policy of the files given that picks the machine, if any does.
fn policy(args: &Args, machine: &Machine) -> Result<Option<MigrationPolicy>, Failure> {
    let files: Vec<_> = args.texts("policy")?.into_iter().map(std::path::PathBuf::from).collect();
    if files.is_empty() {
        return Ok(None);
    }
    let manifests = manifest::load_files(&files)?;
    let object = machine.object()?;
    let labels: BTreeMap<String, String> =
        serde_json::from_value(object["metadata"]["labels"].clone()).unwrap_or_default();
    // What Kubernetes puts onto every namespace.
    let namespace = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), machine.namespace.clone())]);
    let mut best: Option<(usize, MigrationPolicy)> = None;
    for document in &manifests.documents {
        let verdict = spec::admit(document, &manifests);
        if !verdict.allowed || !verdict.warnings.is_empty() {
            say(&spec::report::text(&verdict));
        }
        if !verdict.allowed {
            return Err(Failure::Rejected);
        }
        let Object::MigrationPolicy(policy) = verdict.object else { continue };
        let count = policy.spec.picks(&labels, &namespace);
        if let Some(count) = count.filter(|count| best.as_ref().is_none_or(|(most, _)| count > most)) {
            best = Some((count, *policy));
        }
    }
    Ok(best.map(|(_, policy)| policy))
}

fn body(args: &Args, machine: &Machine, address: &str) -> Result<String, Failure> {
    let mut body = Map::from_iter([("address".to_owned(), Value::from(absolute(address)))]);
    let mut put = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
    if let Some(policy) = policy(args, machine)? {
        let spec = policy.spec;
        if let Some(bytes) = spec.bandwidth_per_migration.and_then(|bandwidth| bandwidth.bytes()) {
            // KubeVirt: none is no limit.
            put("bandwidth", Some(bytes).filter(|bytes| *bytes > 0).into());
        }
        if let Some(seconds) = spec.completion_timeout_per_gi_b {
            put("completionTimeoutPerGiB", seconds.into());
        }
        put("autoConverge", spec.allow_auto_converge.unwrap_or(false).into());
        put("allowWorkloadDisruption", spec.allow_workload_disruption.unwrap_or(false).into());
    }
    if let Some(bandwidth) = args.parsed::<Quantity>("bandwidth")? {
        let bytes = bandwidth.bytes().filter(|bytes| *bytes > 0);
        let bytes = bytes.ok_or_else(|| Failure::Usage("--bandwidth is to be a size, as in 64Mi".into()))?;
        put("bandwidth", bytes.into());
    }
    for (option, name) in [
        ("downtime", "downtimeMs"),
        ("completion-timeout", "completionTimeoutPerGiB"),
        ("progress-timeout", "progressTimeout"),
    ] {
        if let Some(number) = args.parsed::<u64>(option)? {
            put(name, number.into());
        }
    }
    for (option, name) in [
        ("auto-converge", "autoConverge"),
        ("allow-disruption", "allowWorkloadDisruption"),
        ("insecure", "insecure"),
    ] {
        if args.has(option) {
            put(name, true.into());
        }
    }
    Ok(Value::Object(body).to_string())
}

/// The machine's process is in another directory, perhaps.
fn absolute(address: &str) -> String {
    let Some(path) = address.strip_prefix("unix:") else { return address.to_owned() };
    std::path::absolute(path.strip_prefix("//").unwrap_or(path))
        .map_or_else(|_| address.to_owned(), |path| format!("unix:{}", path.display()))
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
