//! Processors of a plan.

use arch::cpuid::{CpuModel, FeaturePolicy, NamedModel, is_known_feature};
use arch::topology::Topology;
use serde::{Deserialize, Serialize};
use spec::api::{CpuFeature, CpuFeaturePolicy, DomainSpec};

use super::{HyperVPlan, PlanError, hyperv};

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
    /// The guest has no spin locks that wait in KVM.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_pv_spinlocks: bool,
    /// What the guest sees of Hyper-V, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hyperv: Option<HyperVPlan>,
}

/// Plans the processors that `domain` asks for.
pub(super) fn plan(topology: Topology, domain: &DomainSpec) -> Result<CpuPlan, PlanError> {
    let cpu = domain.cpu.as_ref();
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
    let platform = domain.features.as_ref();
    Ok(CpuPlan {
        topology,
        model,
        features,
        kvm_hidden: platform.and_then(|features| features.kvm.as_ref()).is_some_and(|kvm| kvm.hidden),
        without_pv_spinlocks: platform
            .and_then(|features| features.pvspinlock.as_ref())
            .is_some_and(|spinlocks| !spinlocks.is_on()),
        hyperv: hyperv::plan(domain),
    })
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
