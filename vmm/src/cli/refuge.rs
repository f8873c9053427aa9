//! Where a machine goes whose process is to end.

use devices::chain;
use spec::api::{MigrationPolicy, VirtualMachineInstance};
use spec::{Manifests, Object};

use super::Failure;
use super::args::Args;
use crate::migration::transport::{Address, Route};
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
    let address = address(&pattern, machine).map_err(usage)?;
    let options = MigrationOptions {
        tls: args.path("evict-tls"),
        tls_peer: args.text("evict-tls-peer")?,
        insecure: args.has("evict-insecure"),
        ..by_policy(machine, manifests).map_err(|error| usage(error.to_string()))?
    };
    // What is wrong with it shows now, not when it is needed.
    Route::new(Address::clone(&address), &options.protection()).map_err(|error| usage(chain(&error)))?;
    Ok(Some(Refuge { address, options }))
}

/// An address for this machine alone: where many have the same command line, each needs a destination of its own.
fn address(pattern: &str, machine: &VirtualMachineInstance) -> Result<Address, String> {
    let named = pattern.replace("{namespace}", machine.namespace()).replace("{name}", &machine.metadata.name);
    named.parse().map_err(|error: crate::migration::transport::BadAddress| error.to_string())
}

/// What the policy says that picks the machine, if any does.
fn by_policy(
    machine: &VirtualMachineInstance,
    manifests: &Manifests,
) -> Result<MigrationOptions, serde_json::Error> {
    let admitted = manifests.documents.iter().filter(|document| document.kind() == "MigrationPolicy");
    let policies: Vec<MigrationPolicy> = admitted
        .map(|document| spec::admit(document, manifests))
        .filter(|verdict| verdict.allowed)
        .filter_map(|verdict| match verdict.object {
            Object::MigrationPolicy(policy) => Some(*policy),
            _ => None,
        })
        .collect();
    let labels = serde_json::json!({"metadata": {"labels": machine.metadata.labels}});
    serde_json::from_value(by_policies(&policies, &labels, machine.namespace()).into())
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
        let address = |pattern| address(pattern, &machine).map(|address| address.to_string());
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
    }
}
