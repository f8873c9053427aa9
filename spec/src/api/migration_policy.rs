//! How machines with certain labels are to be moved.

use std::collections::BTreeMap;

use super::{ExperimentalMigrationOptions, ObjectMeta, Quantity};

const EXPERIMENTAL: &str =
    "the stream is not compressed, and rounds end by kubevmm's own estimate of the downtime";

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
        allow_post_copy: Option<bool> = "false", HONOURED;
        /// Stop the guest for as long as it takes when needed.
        allow_workload_disruption: Option<bool> = "what allowPostCopy says", HONOURED;
        /// The most bytes a second.
        bandwidth_per_migration: Option<Quantity> = "no limit", HONOURED;
        /// Seconds for each GiB of memory.
        completion_timeout_per_gi_b: Option<i64> = "150", HONOURED;
        /// How long the guest may stand still, in milliseconds: 1 to 2,000,000.
        max_downtime_ms: Option<u64> = "300", HONOURED;
        /// Options on trial.
        experimental: Option<ExperimentalMigrationOptions>, warn(EXPERIMENTAL);
    }

    /// Which machines a policy is for: those that have all labels of both.
    pub struct MigrationSelectors {
        /// Labels of their namespace.
        namespace_selector: BTreeMap<String, String>, HONOURED;
        /// Their own labels.
        virtual_machine_instance_selector: BTreeMap<String, String>, HONOURED;
    }
}

/// How well a policy picks a machine: by how many labels in all, and how many of them are the machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    all: usize,
    own: usize,
}

impl MigrationPolicy {
    /// Of `policies` the one that says how the machine with the labels `machine`, in a namespace with the labels `namespace`, is
    /// moved: the one that names most of them, of several the one that names more of the machine's own, and of those the
    /// first by name (KubeVirt: `pkg/virt-controller/watch/migration/migrationpolicy.go`). One without any label picks nothing.
    pub fn choose<'a>(
        policies: impl IntoIterator<Item = &'a Self>,
        machine: &BTreeMap<String, String>,
        namespace: &BTreeMap<String, String>,
    ) -> Option<&'a Self> {
        let scored = policies.into_iter().filter_map(|policy| {
            let score = policy.spec.selectors.score(machine, namespace)?;
            Some((score, std::cmp::Reverse(policy.metadata.name.as_str()), policy))
        });
        scored.max_by_key(|(score, name, _)| (*score, *name)).map(|(_, _, policy)| policy)
    }
}

impl MigrationPolicySpec {
    /// Whether the guest may be stopped for as long as it takes; `None` if the policy leaves that open. One that says nothing of
    /// it but allows post-copy allows it, as KubeVirt has it.
    pub fn allows_disruption(&self) -> Option<bool> {
        self.allow_workload_disruption.or(self.allow_post_copy)
    }
}

impl MigrationSelectors {
    /// How well they pick a machine; `None` if they do not.
    fn score(
        &self,
        machine: &BTreeMap<String, String>,
        namespace: &BTreeMap<String, String>,
    ) -> Option<Score> {
        let has = |labels: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
            wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
        };
        let own = self.virtual_machine_instance_selector.len();
        let all = own + self.namespace_selector.len();
        let picks = all > 0
            && has(machine, &self.virtual_machine_instance_selector)
            && has(namespace, &self.namespace_selector);
        picks.then_some(Score { all, own })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    fn labels(pairs: Pairs<'_>) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn policy(name: &str, namespace: Pairs<'_>, machine: Pairs<'_>) -> MigrationPolicy {
        let selectors = MigrationSelectors {
            namespace_selector: labels(namespace),
            virtual_machine_instance_selector: labels(machine),
        };
        MigrationPolicy {
            metadata: ObjectMeta { name: name.into(), ..ObjectMeta::default() },
            spec: MigrationPolicySpec { selectors, ..MigrationPolicySpec::default() },
            ..MigrationPolicy::default()
        }
    }

    fn chosen(policies: &[MigrationPolicy]) -> &str {
        let (machine, namespace) = (labels(&[("a", "1"), ("b", "2")]), labels(&[("n", "x"), ("m", "y")]));
        MigrationPolicy::choose(policies, &machine, &namespace)
            .map_or("", |policy| policy.metadata.name.as_str())
    }

    #[test]
    fn a_policy_picks_machines_that_have_all_its_labels() {
        assert_eq!(chosen(&[policy("p", &[], &[("a", "1")])]), "p");
        assert_eq!(chosen(&[policy("p", &[("n", "x")], &[("a", "1"), ("b", "2")])]), "p");
        assert_eq!(chosen(&[policy("p", &[("n", "y")], &[("a", "1")])]), "");
        assert_eq!(chosen(&[policy("p", &[], &[("a", "2")])]), "");
        assert_eq!(chosen(&[policy("p", &[], &[])]), "", "a policy without labels is for nobody");
    }

    #[test]
    fn the_policy_that_says_most_of_the_machine_counts() {
        let one = policy("one", &[], &[("a", "1")]);
        let two_outside = policy("outside", &[("n", "x"), ("m", "y")], &[]);
        let mixed = policy("mixed", &[("n", "x")], &[("a", "1")]);
        let two_own = policy("z-own", &[], &[("a", "1"), ("b", "2")]);
        assert_eq!(chosen(&[one.clone(), two_outside.clone()]), "outside");
        assert_eq!(chosen(&[mixed.clone(), two_outside.clone(), one.clone()]), "mixed");
        assert_eq!(chosen(&[two_outside, two_own, mixed]), "z-own");
        let again = policy("a", &[], &[("b", "2")]);
        assert_eq!(chosen(&[one.clone(), again.clone()]), "a", "the first by name");
        assert_eq!(chosen(&[again, one]), "a");
    }

    #[test]
    fn post_copy_brings_disruption_along_unless_something_is_said_of_it() {
        let spec = |post_copy, disruption| MigrationPolicySpec {
            allow_post_copy: post_copy,
            allow_workload_disruption: disruption,
            ..MigrationPolicySpec::default()
        };
        assert_eq!(spec(None, None).allows_disruption(), None);
        assert_eq!(spec(Some(true), None).allows_disruption(), Some(true));
        assert_eq!(spec(Some(true), Some(false)).allows_disruption(), Some(false));
    }
}
