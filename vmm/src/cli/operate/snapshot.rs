//! `kubevmm snapshot`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::names;
use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::{Format, print, yaml_document};
use crate::snapshot::{Snapshot, check, describe};

/// How long a snapshot may take: a day.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Takes a snapshot, or explains one.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    match args.words()?.as_slice() {
        ["inspect", directory] => inspect(args, Path::new(directory)),
        [machine, directory] => take(args, machine, Path::new(directory)),
        _ => Err(Failure::Usage("give the name of a machine and a directory, or: inspect DIR".into())),
    }
}

fn inspect(args: &Args, directory: &Path) -> Result<u8, Failure> {
    let snapshot = Snapshot::open(directory)?;
    if args.has("check") {
        check(&snapshot)?;
    }
    let text = describe(&snapshot)?;
    match Format::of(args)? {
        Format::Text => print(&text)?,
        Format::Json => print(&format!("{:#}\n", json!(snapshot.manifest)))?,
        Format::Yaml => print(&yaml_document(&json!(snapshot.manifest)))?,
    }
    Ok(0)
}

fn take(args: &Args, machine: &str, directory: &Path) -> Result<u8, Failure> {
    let machine = names::find(args, machine)?;
    let directory = absolute(directory)?;
    let base = args.path("incremental-of").map(|base| absolute(&base)).transpose()?;
    let body = json!({
        "directory": directory,
        "incrementalOf": base,
        "stop": args.has("stop"),
        "track": args.has("track"),
        "copyDisks": args.has("copy-disks"),
    });
    let path = machine.subresource("snapshot");
    let answer = machine.ask_within("PUT", &path, &body.to_string(), PATIENCE)?.json()?;
    let number = |key: &str| answer.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
    print(&format!(
        "VMI {machine} was saved in {}: {:.1} MiB of memory, it stood still for {:.1} ms\n",
        directory.display(),
        number("memoryBytes") as f64 / f64::from(1 << 20),
        number("pauseMicroseconds") as f64 / 1000.0,
    ))?;
    Ok(0)
}

/// The machine's process may be in another directory.
fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|source| Failure::Host { what: "a path could not be found", source })
}
