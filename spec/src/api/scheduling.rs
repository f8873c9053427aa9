//! What the cluster's scheduler and network read: affinity, tolerations, spreading, DNS. It is parsed and checked,
//! and has no effect on the machine.

use super::LabelSelector;

object! {
    /// Which nodes and neighbours a pod likes.
    pub struct Affinity {
        /// Which nodes.
        node_affinity: Option<NodeAffinity>, CLUSTER;
        /// Which pods to be near.
        pod_affinity: Option<PodAffinity>, CLUSTER;
        /// Which pods to be far from.
        pod_anti_affinity: Option<PodAntiAffinity>, CLUSTER;
    }

    /// Which nodes a pod likes.
    pub struct NodeAffinity {
        /// What a node must fulfil.
        required_during_scheduling_ignored_during_execution: Option<NodeSelector>, CLUSTER;
        /// What is liked about a node.
        preferred_during_scheduling_ignored_during_execution: Vec<PreferredSchedulingTerm>, CLUSTER;
    }

    /// What a node must fulfil: any of the terms.
    pub struct NodeSelector {
        /// The terms.
        node_selector_terms: Vec<NodeSelectorTerm> [required], CLUSTER;
    }

    /// Conditions on a node, all of which must hold.
    pub struct NodeSelectorTerm {
        /// Conditions on labels.
        match_expressions: Vec<NodeSelectorRequirement>, CLUSTER;
        /// Conditions on fields.
        match_fields: Vec<NodeSelectorRequirement>, CLUSTER;
    }

    /// A condition on a node's label or field.
    pub struct NodeSelectorRequirement {
        /// The label or field.
        key: String [required], CLUSTER;
        /// In, NotIn, Exists, DoesNotExist, Gt or Lt.
        operator: String [required], CLUSTER;
        /// The values.
        values: Vec<String>, CLUSTER;
    }

    /// Something liked about a node.
    pub struct PreferredSchedulingTerm {
        /// How much, 1 to 100.
        weight: i32 [required], CLUSTER;
        /// The conditions.
        preference: NodeSelectorTerm [required], CLUSTER;
    }

    /// Which pods to be near.
    pub struct PodAffinity {
        /// What must hold.
        required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>, CLUSTER;
        /// What is liked.
        preferred_during_scheduling_ignored_during_execution: Vec<WeightedPodAffinityTerm>, CLUSTER;
    }

    /// Which pods to be far from.
    pub struct PodAntiAffinity {
        /// What must hold.
        required_during_scheduling_ignored_during_execution: Vec<PodAffinityTerm>, CLUSTER;
        /// What is liked.
        preferred_during_scheduling_ignored_during_execution: Vec<WeightedPodAffinityTerm>, CLUSTER;
    }

    /// A set of pods, and what "near" means.
    pub struct PodAffinityTerm {
        /// The pods.
        label_selector: Option<LabelSelector>, CLUSTER;
        /// Their name spaces.
        namespaces: Vec<String>, CLUSTER;
        /// The node label that makes two nodes near.
        topology_key: String [required], CLUSTER;
        /// Their name spaces, by labels.
        namespace_selector: Option<LabelSelector>, CLUSTER;
        /// Labels whose values must be equal.
        match_label_keys: Vec<String>, CLUSTER;
        /// Labels whose values must differ.
        mismatch_label_keys: Vec<String>, CLUSTER;
    }

    /// A liked set of pods.
    pub struct WeightedPodAffinityTerm {
        /// How much, 1 to 100.
        weight: i32 [required], CLUSTER;
        /// The pods.
        pod_affinity_term: PodAffinityTerm [required], CLUSTER;
    }

    /// A taint of nodes that a pod bears.
    pub struct Toleration {
        /// The taint's key.
        key: String, CLUSTER;
        /// Exists or Equal.
        operator: String, CLUSTER;
        /// The taint's value.
        value: String, CLUSTER;
        /// The taint's effect.
        effect: String, CLUSTER;
        /// For how long.
        toleration_seconds: Option<i64>, CLUSTER;
    }

    /// How VMs are spread over nodes and zones.
    pub struct TopologySpreadConstraint {
        /// How uneven the spread may be.
        max_skew: i32 [required], CLUSTER;
        /// The node label that makes a zone.
        topology_key: String [required], CLUSTER;
        /// What happens when it cannot be: DoNotSchedule or ScheduleAnyway.
        when_unsatisfiable: String [required], CLUSTER;
        /// The VMs that are counted.
        label_selector: Option<LabelSelector>, CLUSTER;
        /// The fewest zones.
        min_domains: Option<i32>, CLUSTER;
        /// Whether node affinity counts: Honor or Ignore.
        node_affinity_policy: Option<String>, CLUSTER;
        /// Whether node taints count: Honor or Ignore.
        node_taints_policy: Option<String>, CLUSTER;
        /// Labels whose values must be equal.
        match_label_keys: Vec<String>, CLUSTER;
    }

    /// Name servers and search domains of a pod.
    pub struct PodDnsConfig {
        /// Name servers by address.
        nameservers: Vec<String>, CLUSTER;
        /// Domains in which short names are looked up.
        searches: Vec<String>, CLUSTER;
        /// Resolver options.
        options: Vec<PodDnsConfigOption>, CLUSTER;
    }

    /// A resolver option.
    pub struct PodDnsConfigOption {
        /// Its name.
        name: Option<String>, CLUSTER;
        /// Its value.
        value: Option<String>, CLUSTER;
    }
}
