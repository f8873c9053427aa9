//! Kubernetes' own objects that a VM points to.

use std::collections::BTreeMap;

use super::{Bytes, ObjectMeta};

object! {
    /// Data that is not for everybody.
    pub struct Secret {
        /// `v1`.
        api_version: String, HONOURED;
        /// `Secret`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// The data in base64.
        data: BTreeMap<String, Bytes>, HONOURED;
        /// The data as plain text; wins over `data`.
        string_data: BTreeMap<String, String>, HONOURED;
        /// What the data is, e.g. Opaque.
        r#type as "type": String = "Opaque", CLUSTER;
        /// The data can never change.
        immutable: Option<bool>, CLUSTER;
    }

    /// Data that is for everybody.
    pub struct ConfigMap {
        /// `v1`.
        api_version: String, HONOURED;
        /// `ConfigMap`.
        kind: String, HONOURED;
        /// Name and labels.
        metadata: ObjectMeta, HONOURED;
        /// The data as plain text.
        data: BTreeMap<String, String>, HONOURED;
        /// Data that is not text, in base64.
        binary_data: BTreeMap<String, Bytes>, HONOURED;
        /// The data can never change.
        immutable: Option<bool>, CLUSTER;
    }
}

impl ConfigMap {
    /// All values by key, in the order of the keys.
    pub fn values(&self) -> BTreeMap<String, Vec<u8>> {
        let text = self.data.iter().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
        let bytes = self.binary_data.iter().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
        text.chain(bytes).collect()
    }
}

impl Secret {
    /// The value of a key; plain text wins over base64, as it does in a cluster.
    pub fn value(&self, key: &str) -> Option<&[u8]> {
        match self.string_data.get(key) {
            Some(text) => Some(text.as_bytes()),
            None => self.data.get(key).map(|bytes| bytes.0.as_slice()),
        }
    }

    /// All values by key, in the order of the keys.
    pub fn values(&self) -> BTreeMap<String, Vec<u8>> {
        let mut values: BTreeMap<_, _> =
            self.data.iter().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect();
        values.extend(self.string_data.iter().map(|(key, text)| (key.clone(), text.clone().into_bytes())));
        values
    }
}
