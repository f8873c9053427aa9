//! `spec.domain.features`. An empty feature (`{}`) is switched on.

/// Why Hyper-V features only warn.
const HYPERV: super::kind::Support = super::kind::warn_when(
    super::kind::When::On,
    "the guest does not see this Hyper-V enlightenment; Windows runs slower without",
);

object! {
    /// Platform features.
    pub struct Features {
        /// ACPI, by which guests find devices and power off.
        acpi: Option<FeatureState> = "enabled",
            no_when(When::Off, "the machine cannot do without ACPI: leave it on");
        /// The local APIC.
        apic: Option<FeatureApic>, HONOURED;
        /// Hyper-V enlightenments, one by one.
        hyperv: Option<FeatureHyperv>, HONOURED;
        /// All Hyper-V enlightenments of the host.
        hyperv_passthrough: Option<HypervPassthrough>, HONOURED;
        /// System management mode.
        smm: Option<FeatureState> = "disabled", warn_when(When::On, "the guest gets no system management mode");
        /// How KVM shows itself to the guest.
        kvm: Option<FeatureKvm>, HONOURED;
        /// Paravirtual spin locks.
        pvspinlock: Option<FeatureState>,
            warn_when(When::Off, "paravirtual spin locks stay available to the guest");
    }

    /// A feature that is on or off.
    pub struct FeatureState {
        /// Whether it is on.
        enabled: Option<bool> = "true", HONOURED;
    }

    /// The local APIC.
    pub struct FeatureApic {
        /// Whether it is on.
        enabled: Option<bool> = "true", warn_when(When::False, "the local APIC is always on");
        /// The paravirtual end of interrupt.
        end_of_interrupt: bool = "false", HONOURED;
    }

    /// How KVM shows itself to the guest.
    pub struct FeatureKvm {
        /// Hide KVM from the guest.
        hidden: bool = "false", warn_when(When::True, "the guest can still tell that it runs on KVM");
    }

    /// All Hyper-V enlightenments of the host.
    pub struct HypervPassthrough {
        /// Whether it is on.
        enabled: Option<bool> = "true",
            warn_when(When::True, "the guest does not see Hyper-V enlightenments");
    }

    /// Hyper-V enlightenments, which make Windows run better.
    pub struct FeatureHyperv {
        /// Timeouts relaxed for a virtual machine.
        relaxed: Option<FeatureState>, HYPERV;
        /// Virtual APIC pages.
        vapic: Option<FeatureState>, HYPERV;
        /// Spin locks that tell the host when they wait.
        spinlocks: Option<FeatureSpinlocks>, HYPERV;
        /// The index of each vCPU.
        vpindex: Option<FeatureState>, HYPERV;
        /// The time each vCPU has run.
        runtime: Option<FeatureState>, HYPERV;
        /// The synthetic interrupt controller.
        synic: Option<FeatureState>, HYPERV;
        /// Synthetic timers.
        synictimer: Option<SynicTimer>, HYPERV;
        /// Reset by hypercall.
        reset: Option<FeatureState>, HYPERV;
        /// The vendor's name in CPUID.
        vendorid: Option<FeatureVendorId>, HYPERV;
        /// Frequencies of TSC and APIC by register.
        frequencies: Option<FeatureState>, HYPERV;
        /// Notice of a changed TSC frequency.
        reenlightenment: Option<FeatureState>, HYPERV;
        /// TLB flushes by hypercall.
        tlbflush: Option<TlbFlush>, HYPERV;
        /// Interrupts between vCPUs by hypercall.
        ipi: Option<FeatureState>, HYPERV;
        /// Enlightened VMCS for nested guests.
        evmcs: Option<FeatureState>, HYPERV;
    }

    /// Spin locks that tell the host when they wait.
    pub struct FeatureSpinlocks {
        /// Whether it is on.
        enabled: Option<bool> = "true", HONOURED;
        /// Tries before the host is told; 4096 or more.
        spinlocks: Option<u32> = "4096", HONOURED;
    }

    /// The vendor's name in CPUID.
    pub struct FeatureVendorId {
        /// Whether it is on.
        enabled: Option<bool> = "true", HONOURED;
        /// The name, up to 12 characters.
        vendorid: String, HONOURED;
    }

    /// Synthetic timers.
    pub struct SynicTimer {
        /// Whether it is on.
        enabled: Option<bool> = "true", HONOURED;
        /// Expiry by interrupt without a message.
        direct: Option<FeatureState>, HONOURED;
    }

    /// TLB flushes by hypercall.
    pub struct TlbFlush {
        /// Whether it is on.
        enabled: Option<bool> = "true", HONOURED;
        /// Flushes by nested guests too.
        direct: Option<FeatureState>, HONOURED;
        /// Flushes of single ranges.
        extended: Option<FeatureState>, HONOURED;
    }
}

impl FeatureState {
    /// Whether the feature is on: it is unless it says otherwise.
    pub fn is_on(&self) -> bool {
        self.enabled != Some(false)
    }
}
