//! How machines with certain labels are to be moved.

use std::collections::BTreeMap;

use super::{ObjectMeta, Quantity};

const NO_POST_COPY: &str =
    "a guest is moved when its memory has been copied: what is not copied in time is not moved afterwards";

object! {
    /// How machines with certain labels are to be moved.
    pub struct MigrationPolicy {
        /// `migrations.kubevirt.io/v1alpha1`.
        api_version: String, HONOURED;
        /// `MigrationPolicy`.
        kind: String, HONOURED;
        /// Its name.
        metadata: ObjectMeta, HONOURED;
        /// Which machines, and how.
        spec: MigrationPolicySpec [required], HONOURED;
        /// Written by the cluster and ignored on input.
        status: Option<serde_json::Value>, CLUSTER;
    }

    /// Which machines are moved how.
    pub struct MigrationPolicySpec {
        /// Which machines it is for.
        selectors: MigrationSelectors [required], HONOURED;
        /// Slow the guest down when needed.
        allow_auto_converge: Option<bool> = "false", HONOURED;
        /// Move the guest before its memory when needed.
        allow_post_copy: Option<bool> = "false", warn(NO_POST_COPY);
        /// Stop the guest for as long as it takes when needed.
        allow_workload_disruption: Option<bool> = "false", HONOURED;
        /// The most bytes a second.
        bandwidth_per_migration: Option<Quantity> = "no limit", HONOURED;
        /// Seconds for each GiB of memory.
        completion_timeout_per_gi_b: Option<i64> = "150", HONOURED;
    }

    /// Which machines a policy is for: those that have all labels of both.
    pub struct MigrationSelectors {
        /// Labels of their namespace.
        namespace_selector: BTreeMap<String, String>, HONOURED;
        /// Their own labels.
        virtual_machine_instance_selector: BTreeMap<String, String>, HONOURED;
    }
}

impl MigrationPolicySpec {
    /// How many labels pick the machine with these labels, in a namespace with those; `None` if it is not picked. Of
    /// several policies, the one with the most counts (KubeVirt: `pkg/virt-controller/watch/migration/policy.go`).
    pub fn picks(
        &self,
        machine: &BTreeMap<String, String>,
        namespace: &BTreeMap<String, String>,
    ) -> Option<usize> {
        let MigrationSelectors { namespace_selector, virtual_machine_instance_selector } = &self.selectors;
        let has = |labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        let all = has(machine, virtual_machine_instance_selector) && has(namespace, namespace_selector);
        let count = namespace_selector.len() + virtual_machine_instance_selector.len();
        (all && count > 0).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_policy_picks_machines_that_have_all_its_labels() {
        let policy = |namespace, machine| MigrationPolicySpec {
            selectors: MigrationSelectors {
                namespace_selector: labels(namespace),
                virtual_machine_instance_selector: labels(machine),
            },
            ..MigrationPolicySpec::default()
        };
        let (machine, namespace) = (labels(&[("a", "1"), ("b", "2")]), labels(&[("n", "x")]));
        let picks = |policy: MigrationPolicySpec| policy.picks(&machine, &namespace);
        assert_eq!(picks(policy(&[], &[("a", "1")])), Some(1));
        assert_eq!(picks(policy(&[("n", "x")], &[("a", "1"), ("b", "2")])), Some(3));
        assert_eq!(picks(policy(&[("n", "y")], &[("a", "1")])), None);
        assert_eq!(picks(policy(&[], &[("a", "2")])), None);
        assert_eq!(picks(policy(&[], &[])), None, "KubeVirt wants at least one label");
    }
}
