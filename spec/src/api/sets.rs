//! Kinds made of machines: replica sets, pools, presets; and objects beside them.

use super::{
    DomainSpec, IntOrString, LabelSelector, LocalObjectReference, ObjectMeta,
    VirtualMachineInstanceTemplateSpec, VirtualMachineSpec,
};

object! {
    /// A number of equal machines.
    pub struct VirtualMachineInstanceReplicaSet {
        /// `kubevirt.io/v1`.
        api_version: String, HONOURED;
        /// `VirtualMachineInstanceReplicaSet`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// How many, and what.
        spec: VirtualMachineInstanceReplicaSetSpec [required], HONOURED;
        /// Written by the cluster and ignored on input.
        status: Option<serde_json::Value>, CLUSTER;
    }

    /// How many machines, and what they are.
    pub struct VirtualMachineInstanceReplicaSetSpec {
        /// How many.
        replicas: Option<i32> = "1", warn_when(When::Given, "`kubevmm run` runs one machine of the set, `kubevmm up` all of them");
        /// The labels by which the set knows its machines.
        selector: Option<LabelSelector> [required], CLUSTER;
        /// The machine.
        template: VirtualMachineInstanceTemplateSpec [required], HONOURED;
        /// Leave the number as it is.
        paused: bool = "false", HONOURED;
    }

    /// A number of machines, each with a life of its own.
    pub struct VirtualMachinePool {
        /// `pool.kubevirt.io/v1beta1`.
        api_version: String, HONOURED;
        /// `VirtualMachinePool`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// How many, and what.
        spec: VirtualMachinePoolSpec [required], HONOURED;
        /// Written by the cluster and ignored on input.
        status: Option<serde_json::Value>, CLUSTER;
    }

    /// How many machines a pool has, and what they are.
    pub struct VirtualMachinePoolSpec {
        /// How many.
        replicas: Option<i32> = "1", warn_when(When::Given, "`kubevmm run` runs one machine of the pool, `kubevmm up` all of them");
        /// The labels by which the pool knows its machines.
        selector: Option<LabelSelector> [required], CLUSTER;
        /// The machine.
        virtual_machine_template: VirtualMachineTemplateSpec [required], HONOURED;
        /// Leave the number as it is.
        paused: bool = "false", HONOURED;
        /// How machines and what they refer to are named.
        name_generation: Option<NameGeneration>, CLUSTER;
        /// How many may be missing during an update.
        max_unavailable: Option<IntOrString>, CLUSTER;
        /// Which machines go first.
        scale_in_strategy: Option<serde_json::Value>, CLUSTER;
        /// How an update reaches the machines.
        update_strategy: Option<serde_json::Value>, CLUSTER;
        /// What becomes of machines that fail to start.
        autohealing: Option<Autohealing>, CLUSTER;
    }

    /// The machine of a pool.
    pub struct VirtualMachineTemplateSpec {
        /// Labels and annotations of the machine.
        metadata: ObjectMeta, HONOURED;
        /// When it runs, and what.
        spec: VirtualMachineSpec [required], HONOURED;
    }

    /// How the machines of a pool and what they refer to are named.
    pub struct NameGeneration {
        /// Give each machine a ConfigMap of its own.
        append_index_to_config_map_refs: Option<bool>, CLUSTER;
        /// Give each machine a Secret of its own.
        append_index_to_secret_refs: Option<bool>, CLUSTER;
    }

    /// What becomes of machines that fail to start.
    pub struct Autohealing {
        /// How many failures make a machine broken.
        start_up_failure_threshold: Option<i32>, CLUSTER;
        /// For how long at least.
        min_failing_to_start_duration: Option<String>, CLUSTER;
    }

    /// Parts of a machine that are added to all machines with certain labels.
    pub struct VirtualMachineInstancePreset {
        /// `kubevirt.io/v1`.
        api_version: String, HONOURED;
        /// `VirtualMachineInstancePreset`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// Which machines, and what is added.
        spec: VirtualMachineInstancePresetSpec, HONOURED;
    }

    /// Which machines, and what is added to them.
    pub struct VirtualMachineInstancePresetSpec {
        /// The labels of the machines.
        selector: LabelSelector [required], HONOURED;
        /// What is added.
        domain: Option<DomainSpec>, CLUSTER;
    }

    /// A network that machines can be attached to.
    pub struct NetworkAttachmentDefinition {
        /// `k8s.cni.cncf.io/v1`.
        api_version: String, HONOURED;
        /// `NetworkAttachmentDefinition`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// What the network is.
        spec: NetworkAttachmentDefinitionSpec, HONOURED;
    }

    /// What a network is.
    pub struct NetworkAttachmentDefinitionSpec {
        /// The CNI configuration as JSON text.
        config: String, HONOURED;
    }

    /// An identity that pods act under.
    pub struct ServiceAccount {
        /// `v1`.
        api_version: String, HONOURED;
        /// `ServiceAccount`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// Secrets that pods under it may use.
        secrets: Vec<serde_json::Value>, CLUSTER;
        /// Secrets with which images are fetched.
        image_pull_secrets: Vec<LocalObjectReference>, CLUSTER;
        /// Whether pods get its token.
        automount_service_account_token: Option<bool>, CLUSTER;
    }
}
