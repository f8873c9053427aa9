//! Networks of Multus, out of the NetworkAttachmentDefinitions among the given objects.

use super::{Missing, Resolved, Search};
use crate::admit::Object;
use crate::api::NetworkSource;

impl Search<'_> {
    /// Looks up all networks that the machine is on. One that is not found is no fault here: it may be there already.
    pub(super) fn networks(&self, resolved: &mut Resolved) {
        for (index, network) in self.machine.spec.networks.iter().enumerate() {
            let NetworkSource::Multus(multus) = &network.source else { continue };
            let (namespace, name) = match multus.network_name.split_once('/') {
                Some((namespace, name)) => (namespace, name),
                None => (self.machine.metadata.namespace.as_str(), multus.network_name.as_str()),
            };
            let Some(document) = self.manifests.find("NetworkAttachmentDefinition", namespace, name) else {
                continue;
            };
            let Object::NetworkAttachmentDefinition(found) = crate::admit(document, self.manifests).object
            else {
                continue;
            };
            match found.cni() {
                Ok(Some(config)) => {
                    resolved.networks.insert(network.name.clone(), config);
                }
                Ok(None) => {}
                Err(error) => {
                    let location = document.locate("spec.config");
                    let message = format!("the NetworkAttachmentDefinition {name:?} ({location}) {error}");
                    let path = format!("spec.networks[{index}].multus.networkName");
                    resolved.missing.push(Missing { path, message });
                }
            }
        }
    }
}
