//! Processors of a plan.

use arch::cpuid::{CpuModel, FeaturePolicy, NamedModel, is_known_feature};
use arch::topology::Topology;
use serde::{Deserialize, Serialize};
use spec::api::{Cpu, CpuFeature, CpuFeaturePolicy};

use super::PlanError;

/// Processors as the guest sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CpuPlan {
    /// Sockets, cores and threads.
    pub topology: Topology,
    /// Which model the guest sees.
    pub model: CpuModel,
    /// Feature bits that the manifest names, by libvirt's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub features: Vec<(String, FeaturePolicy)>,
    /// The guest is not told that it runs on KVM.
    #[serde(default)]
    pub kvm_hidden: bool,
}

/// Plans the processors that `cpu` asks for.
pub(super) fn plan(topology: Topology, cpu: Option<&Cpu>, kvm_hidden: bool) -> Result<CpuPlan, PlanError> {
    let model = match cpu.and_then(|cpu| cpu.model.as_deref()) {
        None | Some("" | "host-model") => CpuModel::HostModel,
        Some("host-passthrough") => CpuModel::HostPassthrough,
        Some(name) => CpuModel::Named(NamedModel::find(name).ok_or_else(|| {
            PlanError::at(
                "spec.domain.cpu.model",
                format!("there is no processor model called {name:?}: `kubevmm cpu models` lists them"),
            )
        })?),
    };
    let features = cpu.map(|cpu| cpu.features.as_slice()).unwrap_or_default();
    let features = features.iter().enumerate().map(feature).collect::<Result<_, _>>()?;
    Ok(CpuPlan { topology, model, features, kvm_hidden })
}

fn feature((index, feature): (usize, &CpuFeature)) -> Result<(String, FeaturePolicy), PlanError> {
    if !is_known_feature(&feature.name) {
        let field = format!("spec.domain.cpu.features[{index}].name");
        return Err(PlanError::at(field, format!("there is no CPU feature called {:?}", feature.name)));
    }
    let policy = match feature.policy {
        Some(CpuFeaturePolicy::Force) => FeaturePolicy::Force,
        Some(CpuFeaturePolicy::Optional) => FeaturePolicy::Optional,
        Some(CpuFeaturePolicy::Disable) => FeaturePolicy::Disable,
        Some(CpuFeaturePolicy::Forbid) => FeaturePolicy::Forbid,
        _ => FeaturePolicy::Require,
    };
    Ok((feature.name.clone(), policy))
}
