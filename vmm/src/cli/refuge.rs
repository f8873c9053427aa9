//! Where a machine goes whose process is to end.

use devices::chain;
use spec::api::{MigrationPolicy, VirtualMachineInstance};
use spec::{Manifests, Object};

use super::Failure;
use super::args::Args;
use super::manifest::refuse;
use crate::migration::transport::{Address, BadAddress, Protection, Route};
use crate::migration::{MigrationOptions, by_policies};
use crate::state::Refuge;

/// Where `machine` goes, by the command line; how, by that and by the MigrationPolicies among the manifests.
pub(super) fn refuge(
    args: &Args,
    machine: &VirtualMachineInstance,
    manifests: &Manifests,
) -> Result<Option<Refuge>, Failure> {
    let usage = |why: String| Failure::Usage(format!("--evict-to: {why}"));
    let Some(pattern) = args.text("evict-to")? else { return Ok(None) };
    let address = address(&pattern, machine.namespace(), &machine.metadata.name).map_err(usage)?;
    let options = MigrationOptions {
        tls: args.path("evict-tls"),
        tls_peer: args.text("evict-tls-peer")?,
        insecure: args.has("evict-insecure"),
        ..by_policy(machine, manifests)?
    };
    // What is wrong with it shows now, not when it is needed.
    Route::new(Address::clone(&address), &options.protection()).map_err(|error| usage(chain(&error)))?;
    Ok(Some(Refuge { address, options }))
}

/// An address for one machine alone: where many have the same command line, each needs a destination of its own.
fn address(pattern: &str, namespace: &str, name: &str) -> Result<Address, String> {
    let named = pattern.replace("{namespace}", namespace).replace("{name}", name);
    named.parse().map_err(|error: BadAddress| error.to_string())
}

/// What is wrong with where many machines are to go shows here, before one of them is started. Whether each of them has an address of
/// its own.
pub(super) fn check(args: &Args) -> Result<bool, Failure> {
    let usage = |why: String| Failure::Usage(format!("--evict-to: {why}"));
    let Some(pattern) = args.text("evict-to")? else { return Ok(true) };
    let protection = Protection {
        folder: args.path("evict-tls"),
        peer: args.text("evict-tls-peer")?,
        insecure: args.has("evict-insecure"),
    };
    let address = address(&pattern, "default", "vm").map_err(usage)?;
    Route::new(address, &protection).map_err(|error| usage(chain(&error)))?;
    Ok(pattern.contains("{name}"))
}

/// What the policy says that picks the machine, if any does.
fn by_policy(machine: &VirtualMachineInstance, manifests: &Manifests) -> Result<MigrationOptions, Failure> {
    let mut policies: Vec<MigrationPolicy> = Vec::new();
    for document in manifests.documents.iter().filter(|document| document.kind() == "MigrationPolicy") {
        let verdict = spec::admit(document, manifests);
        if !verdict.allowed {
            return Err(refuse(&verdict));
        }
        if let Object::MigrationPolicy(policy) = verdict.object {
            policies.push(*policy);
        }
    }
    let labels = serde_json::json!({"metadata": {"labels": machine.metadata.labels}});
    serde_json::from_value(by_policies(&policies, &labels, machine.namespace()).into())
        .map_err(|error| Failure::Usage(format!("--evict-to: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = "
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata: {name: web-1, namespace: shop, labels: {app: web}}
spec: {domain: {devices: {}, memory: {guest: 64Mi}}}
---
apiVersion: migrations.kubevirt.io/v1alpha1
kind: MigrationPolicy
metadata: {name: slow}
spec:
  bandwidthPerMigration: 1Mi
  selectors: {virtualMachineInstanceSelector: {app: web}}
";

    fn objects() -> (VirtualMachineInstance, Manifests) {
        let manifests = Manifests::parse("x", OBJECTS).unwrap();
        let verdict = spec::admit(&manifests.documents[0], &manifests);
        (verdict.machine().cloned().unwrap(), manifests)
    }

    #[test]
    fn each_machine_has_an_address_of_its_own() {
        let (machine, _) = objects();
        let address = |pattern| {
            address(pattern, machine.namespace(), &machine.metadata.name).map(|address| address.to_string())
        };
        assert_eq!(address("unix:/in/{namespace}/{name}.sock").unwrap(), "unix:/in/shop/web-1.sock");
        assert_eq!(address("tcp://{name}.b:49152").unwrap(), "tcp://web-1.b:49152");
        assert!(address("{name}").is_err());
    }

    #[test]
    fn the_policy_that_picks_a_machine_says_how_it_goes() {
        let (mut machine, manifests) = objects();
        let options = by_policy(&machine, &manifests).unwrap();
        assert_eq!(options.policy.as_deref(), Some("slow"));
        machine.metadata.labels.clear();
        assert_eq!(by_policy(&machine, &manifests).unwrap().policy, None);
        let odd = OBJECTS.replace("bandwidthPerMigration: 1Mi", "maxDowntimeMs: 0");
        let odd = Manifests::parse("x", &odd).unwrap();
        assert!(matches!(by_policy(&machine, &odd), Err(Failure::Rejected)), "it is not left out in silence");
    }
}
