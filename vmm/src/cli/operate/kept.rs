//! What is asked of a fleet: start, scale, and what is asked of machines that one keeps.

use serde_json::Value;

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::print;
use crate::cli::run::runtime_root;
use crate::client::{Fleet, Kind, fleets, keeper};

use super::names;
use super::table::table;

/// `kubevmm start`.
pub(super) fn start(args: &Args) -> Result<u8, Failure> {
    let words = args.words()?;
    if words.is_empty() {
        return Err(Failure::Usage("give the name of a VirtualMachine that kubevmm up keeps".into()));
    }
    for word in words {
        let (namespace, name) = names::split(args, word)?;
        let kept = keeper(&runtime_root(args), Kind::Machine, &namespace, &name)?;
        let fleet = kept.ok_or_else(|| {
            Failure::Usage(format!(
                "no fleet keeps a VirtualMachine {namespace}/{name}; kubevmm fleet lists all"
            ))
        })?;
        order(&fleet, &namespace, &name, "start")?;
        print(&format!("VM {namespace}/{name} was scheduled to start\n"))?;
    }
    Ok(0)
}

/// Asks the fleet that keeps a VirtualMachine for `verb`; false if none does.
pub(super) fn order_kept(args: &Args, namespace: &str, name: &str, verb: &str) -> Result<bool, Failure> {
    match keeper(&runtime_root(args), Kind::Machine, namespace, name)? {
        Some(fleet) => order(&fleet, namespace, name, verb).map(|()| true),
        None => Ok(false),
    }
}

fn order(fleet: &Fleet, namespace: &str, name: &str, verb: &str) -> Result<(), Failure> {
    let path =
        format!("/apis/subresources.kubevirt.io/v1/namespaces/{namespace}/virtualmachines/{name}/{verb}");
    fleet.ask("PUT", &path, "")?;
    Ok(())
}

/// `kubevmm scale`.
pub(super) fn scale(args: &Args) -> Result<u8, Failure> {
    let usage = || Failure::Usage("give a set: vmirs/NAME or vmpool/NAME".into());
    let words = args.words()?;
    let [word] = words.as_slice() else { return Err(usage()) };
    let (kind, rest) = word.split_once('/').ok_or_else(usage)?;
    let kind = Kind::parse(kind).filter(|kind| *kind != Kind::Machine).ok_or_else(usage)?;
    let (namespace, name) = names::split(args, rest)?;
    let replicas: u32 =
        args.parsed("replicas")?.ok_or_else(|| Failure::Usage("say how many: --replicas N".into()))?;
    let kept = keeper(&runtime_root(args), kind, &namespace, &name)?;
    let fleet = kept.ok_or_else(|| {
        Failure::Usage(format!(
            "no fleet has a {}/{name} in {namespace}; kubevmm fleet lists all",
            kind.short()
        ))
    })?;
    let path = format!("{}/scale", kind.path(&namespace, &name));
    fleet.ask("PUT", &path, &format!("{{\"spec\":{{\"replicas\":{replicas}}}}}"))?;
    print(&format!("{}/{name} scaled\n", kind.short()))?;
    Ok(0)
}

/// `kubevmm fleet`: what fleets there are, and what they keep.
pub(super) fn list(args: &Args) -> Result<u8, Failure> {
    let mut rows = Vec::new();
    for fleet in fleets(&runtime_root(args)) {
        for kind in Kind::ALL {
            rows.extend(fleet.objects(kind)?.iter().map(|object| row(&fleet, kind, object)));
        }
    }
    print(&table(&["FLEET", "NAMESPACE", "OBJECT", "READY", "STATE"], &rows))?;
    Ok(0)
}

fn row(fleet: &Fleet, kind: Kind, object: &Value) -> Vec<String> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |path: &str| object.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let namespace = Some(text("/metadata/namespace")).filter(|namespace| !namespace.is_empty());
    let (ready, state) = match kind {
        Kind::Machine => {
            let is_ready = object.pointer("/status/ready").and_then(Value::as_bool).unwrap_or_default();
            (format!("{}/1", u8::from(is_ready)), text("/status/printableStatus"))
        }
        Kind::Set | Kind::Pool => {
            let (ready, wanted) = (number("/status/readyReplicas"), number("/spec/replicas"));
            (format!("{ready}/{wanted}"), if ready == wanted { "Settled" } else { "Settling" }.into())
        }
    };
    let name = format!("{}/{}", kind.short(), text("/metadata/name"));
    vec![fleet.name.clone(), namespace.unwrap_or_else(|| "default".into()), name, ready, state]
}
