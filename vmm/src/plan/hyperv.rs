//! What of Hyper-V's interface a guest sees.

use arch::cpuid::{Enlightenment, HyperV};
use serde::{Deserialize, Serialize};
use spec::api::{DomainSpec, FeatureHyperv, FeatureState};

/// What of Hyper-V's interface a guest sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HyperVPlan {
    /// This; a host that cannot do it all cannot run the machine.
    These(HyperV),
    /// Whatever the host can do.
    All,
}

/// Plans what `domain` asks for, if it asks for any of it.
pub(super) fn plan(domain: &DomainSpec) -> Option<HyperVPlan> {
    let features = domain.features.as_ref();
    let passthrough = features.and_then(|features| features.hyperv_passthrough.as_ref());
    if passthrough.is_some_and(|passthrough| passthrough.enabled != Some(false)) {
        return Some(HyperVPlan::All);
    }
    let mut hyperv = HyperV::default();
    if let Some(wanted) = features.and_then(|features| features.hyperv.as_ref()) {
        hyperv.enlightenments.extend(named(wanted).into_iter().filter_map(|(on, one)| on.then_some(one)));
        let spinlocks = wanted.spinlocks.as_ref().filter(|spinlocks| spinlocks.enabled != Some(false));
        hyperv.spinlock_retries = spinlocks.map(|spinlocks| spinlocks.spinlocks.unwrap_or(4096));
        let vendor = wanted.vendorid.as_ref().filter(|vendor| vendor.enabled != Some(false));
        hyperv.vendor = vendor.map(|vendor| vendor.vendorid.clone()).filter(|vendor| !vendor.is_empty());
    }
    let timer = domain.clock.as_ref().and_then(|clock| clock.timer.as_ref()?.hyperv.as_ref());
    if timer.is_some_and(|timer| timer.present != Some(false)) {
        hyperv.enlightenments.insert(Enlightenment::Time);
    }
    (hyperv != HyperV::default()).then_some(HyperVPlan::These(hyperv))
}

fn named(wanted: &FeatureHyperv) -> [(bool, Enlightenment); 13] {
    let is_on = |state: &Option<FeatureState>| state.as_ref().is_some_and(FeatureState::is_on);
    let timer = wanted.synictimer.as_ref().filter(|timer| timer.enabled != Some(false));
    let flush = wanted.tlbflush.as_ref().filter(|flush| flush.enabled != Some(false));
    [
        (is_on(&wanted.relaxed), Enlightenment::Relaxed),
        (is_on(&wanted.vapic), Enlightenment::Vapic),
        (is_on(&wanted.vpindex), Enlightenment::VpIndex),
        (is_on(&wanted.runtime), Enlightenment::Runtime),
        (is_on(&wanted.synic), Enlightenment::Synic),
        (timer.is_some(), Enlightenment::SynicTimer),
        (timer.is_some_and(|timer| is_on(&timer.direct)), Enlightenment::DirectTimer),
        (is_on(&wanted.reset), Enlightenment::Reset),
        (is_on(&wanted.frequencies), Enlightenment::Frequencies),
        (is_on(&wanted.reenlightenment), Enlightenment::Reenlightenment),
        (flush.is_some(), Enlightenment::TlbFlush),
        (flush.is_some_and(|flush| is_on(&flush.extended)), Enlightenment::ExtendedTlbFlush),
        (is_on(&wanted.ipi), Enlightenment::Ipi),
    ]
}

#[cfg(test)]
mod tests {
    use spec::api::{FeatureSpinlocks, Features, HypervPassthrough, TlbFlush};

    use super::*;

    fn domain(features: Features) -> DomainSpec {
        DomainSpec { features: Some(features), ..DomainSpec::default() }
    }

    #[test]
    fn what_is_named_is_offered_unless_it_is_off() {
        assert_eq!(plan(&DomainSpec::default()), None);
        let on = || Some(FeatureState::default());
        let hyperv = FeatureHyperv {
            relaxed: on(),
            vapic: Some(FeatureState { enabled: Some(false) }),
            spinlocks: Some(FeatureSpinlocks { spinlocks: Some(8191), ..FeatureSpinlocks::default() }),
            tlbflush: Some(TlbFlush { extended: on(), ..TlbFlush::default() }),
            ..FeatureHyperv::default()
        };
        let features = Features { hyperv: Some(hyperv), ..Features::default() };
        let Some(HyperVPlan::These(planned)) = plan(&domain(features)) else { panic!("nothing is planned") };
        let expected =
            [Enlightenment::Relaxed, Enlightenment::TlbFlush, Enlightenment::ExtendedTlbFlush].into();
        assert_eq!((planned.enlightenments, planned.spinlock_retries), (expected, Some(8191)));
        let all = Features { hyperv_passthrough: Some(HypervPassthrough::default()), ..Features::default() };
        assert_eq!(plan(&domain(all)), Some(HyperVPlan::All));
    }
}
