//! Platform features and timers.

use crate::api::{Clock, CpuFeature, CpuFeaturePolicy, DomainSpec, FeatureHyperv, FeatureState, Features};

const ON: FeatureState = FeatureState { enabled: Some(true) };

/// ACPI is on; a feature that is named is on unless it says otherwise.
pub(super) fn acpi(features: &mut Features) {
    features.acpi.get_or_insert_default();
    let states = [&mut features.acpi, &mut features.smm, &mut features.pvspinlock];
    states.into_iter().flatten().for_each(name_it);
    if let Some(apic) = &mut features.apic {
        apic.enabled.get_or_insert(true);
    }
    if let Some(passthrough) = &mut features.hyperv_passthrough {
        passthrough.enabled.get_or_insert(true);
    }
}

fn name_it(state: &mut FeatureState) {
    state.enabled.get_or_insert(true);
}

/// Hyper-V features that are named are on, and so is what they need, unless it is switched off.
pub(super) fn hyperv(domain: &mut DomainSpec) {
    let Some(hyperv) = domain.features.as_mut().and_then(|features| features.hyperv.as_mut()) else { return };
    switch_on_named(hyperv);
    let is_on = |feature: &Option<FeatureState>| feature.as_ref().is_some_and(FeatureState::is_on);
    let timer = hyperv.synictimer.as_ref().is_some_and(|timer| timer.enabled == Some(true));
    let flush = hyperv.tlbflush.as_ref().is_some_and(|flush| flush.enabled == Some(true));
    if timer {
        hyperv.synic.get_or_insert(ON);
    }
    if is_on(&hyperv.synic) || is_on(&hyperv.ipi) || flush {
        hyperv.vpindex.get_or_insert(ON);
    }
    if is_on(&hyperv.evmcs) {
        hyperv.vapic.get_or_insert(ON);
        require_vmx(domain);
    }
}

fn switch_on_named(hyperv: &mut FeatureHyperv) {
    let states = [
        &mut hyperv.relaxed,
        &mut hyperv.vapic,
        &mut hyperv.vpindex,
        &mut hyperv.runtime,
        &mut hyperv.synic,
        &mut hyperv.reset,
        &mut hyperv.frequencies,
        &mut hyperv.reenlightenment,
        &mut hyperv.ipi,
        &mut hyperv.evmcs,
    ];
    states.into_iter().flatten().for_each(name_it);
    if let Some(spinlocks) = &mut hyperv.spinlocks {
        let enabled = *spinlocks.enabled.get_or_insert(true);
        if enabled {
            spinlocks.spinlocks.get_or_insert(4096);
        }
    }
    if let Some(vendor) = &mut hyperv.vendorid {
        vendor.enabled.get_or_insert(true);
    }
    if let Some(timer) = &mut hyperv.synictimer {
        timer.enabled.get_or_insert(true);
        timer.direct.iter_mut().for_each(name_it);
    }
    if let Some(flush) = &mut hyperv.tlbflush {
        flush.enabled.get_or_insert(true);
        flush.direct.iter_mut().for_each(name_it);
        flush.extended.iter_mut().for_each(name_it);
    }
}

/// Enlightened VMCS is of use to nested guests only, which need VMX.
fn require_vmx(domain: &mut DomainSpec) {
    let features = &mut domain.cpu.get_or_insert_default().features;
    match features.iter_mut().find(|feature| feature.name == "vmx") {
        Some(feature) => feature.policy = Some(CpuFeaturePolicy::Require),
        None => features.push(CpuFeature { name: "vmx".into(), policy: Some(CpuFeaturePolicy::Require) }),
    }
}

/// A timer that is named is present unless it says otherwise.
pub(super) fn timers(clock: Option<&mut Clock>) {
    let Some(timer) = clock.and_then(|clock| clock.timer.as_mut()) else { return };
    let present = [
        timer.hpet.as_mut().map(|timer| &mut timer.present),
        timer.kvm.as_mut().map(|timer| &mut timer.present),
        timer.pit.as_mut().map(|timer| &mut timer.present),
        timer.rtc.as_mut().map(|timer| &mut timer.present),
        timer.hyperv.as_mut().map(|timer| &mut timer.present),
    ];
    for present in present.into_iter().flatten() {
        present.get_or_insert(true);
    }
}
