//! `spec.domain.features`. An empty feature (`{}`) is switched on.

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
        pvspinlock: Option<FeatureState> = "enabled", HONOURED;
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
        hidden: bool = "false",
            warn_when(When::True, "without KVM's clock a Linux guest does not start on hosts whose CPUID tells no TSC frequency (AMD)");
    }

    /// All Hyper-V enlightenments of the host.
    pub struct HypervPassthrough {
        /// Whether it is on.
        enabled: Option<bool> = "true", HONOURED;
    }

    /// Hyper-V enlightenments, which make Windows run better.
    pub struct FeatureHyperv {
        /// Timeouts relaxed for a virtual machine.
        relaxed: Option<FeatureState>, HONOURED;
        /// Virtual APIC pages.
        vapic: Option<FeatureState>, HONOURED;
        /// Spin locks that tell the host when they wait.
        spinlocks: Option<FeatureSpinlocks>, HONOURED;
        /// The index of each vCPU.
        vpindex: Option<FeatureState>, HONOURED;
        /// The time each vCPU has run.
        runtime: Option<FeatureState>, HONOURED;
        /// The synthetic interrupt controller.
        synic: Option<FeatureState>, HONOURED;
        /// Synthetic timers.
        synictimer: Option<SynicTimer>, HONOURED;
        /// Reset by hypercall.
        reset: Option<FeatureState>, HONOURED;
        /// The vendor's name in CPUID.
        vendorid: Option<FeatureVendorId>, HONOURED;
        /// Frequencies of TSC and APIC by register.
        frequencies: Option<FeatureState>, HONOURED;
        /// Notice of a changed TSC frequency.
        reenlightenment: Option<FeatureState>, HONOURED;
        /// TLB flushes by hypercall.
        tlbflush: Option<TlbFlush>, HONOURED;
        /// Interrupts between vCPUs by hypercall.
        ipi: Option<FeatureState>, HONOURED;
        /// Enlightened VMCS for nested guests.
        evmcs: Option<FeatureState>, no_when(When::On, "enlightened VMCS is not offered: remove evmcs");
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
        direct: Option<FeatureState>,
            no_when(When::On, "flushes by nested guests are not offered: remove tlbflush.direct");
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
