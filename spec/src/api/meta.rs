//! Kubernetes' own object parts: metadata, selectors, references.

use std::collections::BTreeMap;

object! {
    /// What every object carries: its name, labels and annotations.
    pub struct ObjectMeta {
        /// The object's name; a VM's name is also the base of its host name and firmware UUID.
        name: String, HONOURED;
        /// A prefix from which a cluster makes a unique name.
        generate_name: String, warn("only migrations that have no name are given one");
        /// The name space, part of the VM's runtime folder and cloud-init identity.
        namespace: String = "default", HONOURED;
        /// Free words to select objects by.
        labels: BTreeMap<String, String>, CLUSTER;
        /// Free notes. Those by which KubeVirt changes a machine are warned of where they have no effect.
        annotations: BTreeMap<String, String>, HONOURED;
        /// The cluster's unique id of the object.
        uid: String, HONOURED;
        /// The object's version in the cluster.
        resource_version: String, CLUSTER;
        /// Counts changes of the specification.
        generation: i64, CLUSTER;
        /// When the cluster took the object in.
        creation_timestamp: Option<Time>, CLUSTER;
        /// When the cluster will have removed the object.
        deletion_timestamp: Option<Time>, CLUSTER;
        /// The seconds of grace given to the removal.
        deletion_grace_period_seconds: Option<i64>, CLUSTER;
        /// Controllers that must act before the object goes.
        finalizers: Vec<String>, CLUSTER;
        /// The objects this one belongs to.
        owner_references: Vec<OwnerReference>, CLUSTER;
        /// Who set which field.
        managed_fields: Vec<ManagedFieldsEntry>, CLUSTER;
        /// The object's old API path.
        self_link: String, CLUSTER;
    }

    /// An object that owns another.
    pub struct OwnerReference {
        /// The owner's API version.
        api_version: String, CLUSTER;
        /// The owner's kind.
        kind: String, CLUSTER;
        /// The owner's name.
        name: String, CLUSTER;
        /// The owner's unique id.
        uid: String, CLUSTER;
        /// Whether the owner manages the object.
        controller: Option<bool>, CLUSTER;
        /// Whether the owner waits for the object to go.
        block_owner_deletion: Option<bool>, CLUSTER;
    }

    /// A record of fields set by one client.
    pub struct ManagedFieldsEntry {
        /// The API version of the record.
        api_version: String, CLUSTER;
        /// The form of the record.
        fields_type: String, CLUSTER;
        /// The fields.
        fields_v1 as "fieldsV1": serde_json::Value, CLUSTER;
        /// The client.
        manager: String, CLUSTER;
        /// Apply or update.
        operation: String, CLUSTER;
        /// The part of the object that was written.
        subresource: String, CLUSTER;
        /// When.
        time: Option<Time>, CLUSTER;
    }

    /// Chooses objects by their labels.
    pub struct LabelSelector {
        /// Labels that must have these values.
        match_labels: BTreeMap<String, String>, CLUSTER;
        /// Conditions on labels.
        match_expressions: Vec<LabelSelectorRequirement>, CLUSTER;
    }

    /// A condition on one label.
    pub struct LabelSelectorRequirement {
        /// The label.
        key: String [required], CLUSTER;
        /// In, NotIn, Exists or DoesNotExist.
        operator: String [required], CLUSTER;
        /// The values for In and NotIn.
        values: Vec<String>, CLUSTER;
    }

    /// The name of an object in the same name space.
    pub struct LocalObjectReference {
        /// The object's name.
        name: String, HONOURED;
    }

    /// An object with no fields: its presence is its meaning.
    pub struct Presence {}
}

/// A moment in RFC 3339 form, kept as written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Time(pub String);

impl super::read::Value for Time {
    const KIND: super::kind::Kind = super::kind::Kind::Time;

    fn read(node: &crate::source::Node, reader: &mut super::read::Reader) -> Self {
        Self(super::read::Value::read(node, reader))
    }

    fn to_json(&self) -> serde_json::Value {
        self.0.as_str().into()
    }

    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
}

impl serde::Serialize for Time {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}
