//! From files to the one machine that a command is about.

use std::fs;
use std::path::Path;

use devices::chain;
use spec::cloud_init::SecretValues;
use spec::{Document, Manifests, Object, Verdict};

use super::Failure;
use super::args::Args;
use super::locate::{Level, say, say_plan};
use crate::plan::{self, Options, Plan};

/// Kinds that describe a machine.
const MACHINES: [&str; 2] = ["VirtualMachine", "VirtualMachineInstance"];

/// Reads all files; every error is said.
pub(super) fn load(args: &Args) -> Result<Manifests, Failure> {
    spec::load(args.files()?).map_err(|errors| {
        for error in &errors {
            eprintln!("{}: error: {}", place(error), chain(error));
            if let Some(location) = error.location() {
                eprintln!("{}", location.excerpt());
            }
        }
        Failure::Rejected
    })
}

fn place(error: &spec::LoadError) -> String {
    match error.location() {
        Some(location) => location.to_string(),
        None => error.file().display().to_string(),
    }
}

/// Plans the machine that the command line names. Faults and warnings are said at their lines; `admitted` is called
/// between admission and planning.
pub(super) fn plan(args: &Args, admitted: impl FnOnce()) -> Result<Plan, Failure> {
    let options = Options {
        kernel: args.path("kernel"),
        initrd: args.path("initrd"),
        append: args.text("append")?,
        volumes: args.path("volumes"),
        taps: args.pairs("tap")?,
    };
    let manifests = load(args)?;
    let document = choose(&manifests, args.text("name")?.as_deref())?;
    let verdict = spec::admit(document, &manifests);
    say_verdict(&verdict);
    let Some(machine) = verdict.machine().filter(|_| verdict.allowed) else { return Err(Failure::Rejected) };
    admitted();
    let prefix = if document.kind() == "VirtualMachine" { "spec.template." } else { "" };
    let directory = args.path("secrets");
    let secrets = |name: &str| secret(&manifests, machine.namespace(), name, directory.as_deref());
    match plan::make(machine, &options, &secrets) {
        Ok((plan, warnings)) => {
            say_plan(Level::Warning, document, prefix, &warnings);
            Ok(plan)
        }
        Err(errors) => {
            say_plan(Level::Error, document, prefix, &errors);
            Err(Failure::Rejected)
        }
    }
}

/// Says everything that is wrong or odd, in manifest order.
pub(super) fn say_verdict(verdict: &Verdict) {
    for cause in &verdict.causes {
        say(Level::Error, &cause.location, &cause.path, &cause.message);
    }
    for warning in &verdict.warnings {
        say(Level::Warning, &warning.location, &warning.path, &warning.message);
    }
}

/// The one machine of the manifests, or the one called `name`.
fn choose<'a>(manifests: &'a Manifests, name: Option<&str>) -> Result<&'a Document, Failure> {
    let machines: Vec<_> =
        manifests.documents.iter().filter(|document| MACHINES.contains(&document.kind())).collect();
    let names = || machines.iter().map(|document| document.name()).collect::<Vec<_>>().join(", ");
    match (name, machines.as_slice()) {
        (_, []) => {
            let kinds: Vec<_> = manifests.documents.iter().map(Document::kind).collect();
            eprintln!(
                "kubevmm: the manifests hold no VirtualMachine and no VirtualMachineInstance (found: {})",
                kinds.join(", ")
            );
            Err(Failure::Rejected)
        }
        (None, [one]) => Ok(one),
        (None, _) => Err(Failure::Usage(format!(
            "the manifests hold several machines; choose one with --name: {}",
            names()
        ))),
        (Some(name), _) => {
            machines.iter().find(|document| document.name() == name).copied().ok_or_else(|| {
                Failure::Usage(format!("the manifests hold no machine {name:?}, but: {}", names()))
            })
        }
    }
}

/// The values of a Secret: of the manifests, or of the directory of secrets.
fn secret(
    manifests: &Manifests,
    namespace: &str,
    name: &str,
    directory: Option<&Path>,
) -> Option<SecretValues> {
    if let Some(document) = manifests.find("Secret", namespace, name) {
        let Object::Secret(secret) = spec::admit(document, manifests).object else { return None };
        let plain = secret.string_data.into_iter().map(|(key, text)| (key, text.into_bytes()));
        return Some(secret.data.into_iter().map(|(key, bytes)| (key, bytes.0)).chain(plain).collect());
    }
    let directory = directory?.join(name);
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let entries = fs::read_dir(directory).ok()?;
    // Kubernetes mounts secrets with links to hidden directories, which are not keys.
    let files = entries.flatten().filter(|entry| entry.path().is_file());
    Some(
        files
            .filter_map(|entry| {
                let key = entry.file_name().into_string().ok().filter(|key| !key.starts_with('.'))?;
                Some((key, fs::read(entry.path()).ok()?))
            })
            .collect(),
    )
}
