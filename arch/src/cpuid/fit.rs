//! Whether a guest that has seen one processor can go on with another.

use serde::{Deserialize, Serialize};

use super::HostCpu;

/// IA32_ARCH_CAPABILITIES (Intel SDM vol. 4): each bit says that something is so, most of them that the processor is immune.
pub const IA32_ARCH_CAPABILITIES: u32 = 0x10A;
/// IA32_PERF_CAPABILITIES.
pub const IA32_PERF_CAPABILITIES: u32 = 0x345;
/// Registers that tell of features, each with the feature without which no guest looks at it.
const REGISTERS: [(u32, &str, &str); 2] = [
    (IA32_ARCH_CAPABILITIES, "IA32_ARCH_CAPABILITIES", "arch-capabilities"),
    (IA32_PERF_CAPABILITIES, "IA32_PERF_CAPABILITIES", "pdcm"),
];
/// Counters whose rates differ by less are taken for the same, as KVM itself does (`tsc_tolerance_ppm`).
const TOLERANCE_PPM: u64 = 250;

/// Whether a guest whose time stamp counter had the rate `seen` finds nothing changed where it has the rate `here`, both in kHz. A rate of
/// 0 is not known, and taken for the same.
pub fn is_same_rate(seen: u32, here: u32) -> bool {
    let apart = u64::from(seen.abs_diff(here)).saturating_mul(1_000_000);
    seen == 0 || here == 0 || apart <= u64::from(here).saturating_mul(TOLERANCE_PPM)
}

/// A guest's processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GuestCpu {
    /// What the guest has seen.
    pub seen: HostCpu,
    /// Features that its manifest forces upon it, whether a host has them or not.
    pub forced: Vec<String>,
    /// The host that it was given all of (`host-passthrough`): only one that is the same does.
    pub host: Option<HostCpu>,
}

/// What guests see of a host's processor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Offer {
    /// What they are to see, out of all this.
    Chosen(HostCpu),
    /// The host's own, whatever they are to see. Features cannot be missed there, only the rate of the counter.
    Own(HostCpu),
}

impl Offer {
    /// The first thing that keeps the guest from going on here.
    ///
    /// # Errors
    /// There is such a thing.
    pub fn fits(&self, guest: &GuestCpu) -> Result<(), Misfit> {
        match self {
            Self::Chosen(host) => host.fits(guest),
            Self::Own(host) => host.keeps_rate(&guest.seen),
        }
    }
}

/// Why a guest cannot go on with another processor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// It is another maker's.
    #[error("the guest's processor is {seen}'s, this host's is {host}'s")]
    Vendor {
        /// Whose the guest's is.
        seen: String,
        /// Whose the host's is.
        host: String,
    },
    /// It lacks features.
    #[error("the guest's processor has {0}, which this host cannot give")]
    Features(String),
    /// It lacks bits that have no name here.
    #[error(
        "the guest's processor has the bits {bits:#x} in CPUID leaf {place}, which this host cannot give"
    )]
    Bits {
        /// Leaf, subleaf and register.
        place: String,
        /// Which.
        bits: u32,
    },
    /// Its addresses are shorter.
    #[error("the guest's processor has {seen} physical address bits, this host {host}")]
    Addresses {
        /// The guest's.
        seen: u8,
        /// The host's.
        host: u8,
    },
    /// A part of its state is elsewhere, or of another size, or not there.
    #[error("part {part} of the state that XSAVE keeps is another one on this host than the guest has seen")]
    Xsave {
        /// Its number.
        part: u32,
    },
    /// Its counter has another rate, and cannot have the guest's.
    #[error(
        "the guest's time stamp counter counts {seen} kHz, this host's {host} kHz, and its KVM cannot make guests' counters go \
         at another rate (TSC scaling)"
    )]
    Tsc {
        /// The guest's rate.
        seen: u32,
        /// The host's.
        host: u32,
    },
    /// A register tells of features that are not there.
    #[error("the guest has seen {seen:#x} in {register}, this host has {host:#x}")]
    Register {
        /// Its name.
        register: &'static str,
        /// What the guest has seen.
        seen: u64,
        /// What this host can give.
        host: u64,
    },
    /// It is to be the same processor (`host-passthrough`), and is not.
    #[error("cpu.model is host-passthrough, and this host's processor is another one: {0}")]
    NotTheSame(String),
}

impl HostCpu {
    /// The first thing that keeps the guest from going on here with exactly what it has seen.
    ///
    /// # Errors
    /// There is such a thing.
    pub fn fits(&self, guest: &GuestCpu) -> Result<(), Misfit> {
        if let Some(host) = &guest.host {
            self.is_same(host).map_err(Misfit::NotTheSame)?;
        }
        let seen = &guest.seen;
        if seen.vendor != self.vendor {
            return Err(Misfit::Vendor { seen: seen.vendor.clone(), host: self.vendor.clone() });
        }
        let mut missing = self.missing_for(seen);
        missing.retain(|feature| guest.forced.iter().all(|forced| forced != feature));
        if !missing.is_empty() {
            return Err(Misfit::Features(missing.join(", ")));
        }
        self.has_bits(seen)?;
        self.has_sizes(seen)?;
        self.keeps_rate(seen)?;
        self.has_registers(seen)
    }

    fn has_bits(&self, seen: &Self) -> Result<(), Misfit> {
        for (place, bits) in &seen.limits.unnamed {
            let bits = bits & !self.limits.unnamed.get(place).copied().unwrap_or(0);
            if bits != 0 {
                return Err(Misfit::Bits { place: place.clone(), bits });
            }
        }
        Ok(())
    }

    fn has_sizes(&self, seen: &Self) -> Result<(), Misfit> {
        let (theirs, ours) = (&seen.limits, &self.limits);
        if theirs.physical_bits > ours.physical_bits {
            return Err(Misfit::Addresses { seen: theirs.physical_bits, host: ours.physical_bits });
        }
        let other = theirs.xsave.iter().find(|(number, part)| ours.xsave.get(number) != Some(part));
        if let Some((part, _)) = other {
            return Err(Misfit::Xsave { part: *part });
        }
        Ok(())
    }

    /// Whether the guest's counter can go on at its rate.
    fn keeps_rate(&self, seen: &Self) -> Result<(), Misfit> {
        let (theirs, ours) = (&seen.limits, &self.limits);
        if !ours.scales_tsc && !is_same_rate(theirs.tsc_khz, ours.tsc_khz) {
            return Err(Misfit::Tsc { seen: theirs.tsc_khz, host: ours.tsc_khz });
        }
        Ok(())
    }

    fn has_registers(&self, seen: &Self) -> Result<(), Misfit> {
        for (number, register, feature) in REGISTERS {
            let value = |cpu: &Self| cpu.limits.registers.get(&number).copied().unwrap_or(0);
            let (theirs, ours) = (value(seen), value(self));
            if seen.has(feature) && theirs & !ours != 0 {
                return Err(Misfit::Register { register, seen: theirs, host: ours });
            }
        }
        Ok(())
    }

    /// Whether this host's processor is the same as another host's.
    fn is_same(&self, other: &Self) -> Result<(), String> {
        let signature = |cpu: &Self| {
            format!("{} family {}, model {}, stepping {}", cpu.vendor, cpu.family, cpu.model, cpu.stepping)
        };
        if signature(self) != signature(other) {
            return Err(format!("{}, and was {}", signature(self), signature(other)));
        }
        for (one, another, what) in
            [(self, other, "it lacks"), (other, self, "it has, and the other had not,")]
        {
            let lacks = one.lacks(another);
            if !lacks.is_empty() {
                return Err(format!("{what} {}", lacks.join(", ")));
            }
        }
        let (ours, theirs) = (&self.limits, &other.limits);
        let is_same = ours.physical_bits == theirs.physical_bits
            && ours.xsave == theirs.xsave
            && ours.unnamed == theirs.unnamed
            && ours.registers == theirs.registers;
        is_same
            .then_some(())
            .ok_or_else(|| "its sizes, or bits that have no name here, are others".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Limits, XsavePart};
    use super::*;

    /// A made-up host, and a guest that has seen all of it.
    fn host() -> HostCpu {
        let features = ["lm", "sse2", "avx2", "arch-capabilities", "kvmclock", "kvm-steal-time"];
        HostCpu {
            vendor: "GenuineIntel".into(),
            family: 6,
            model: 85,
            stepping: 7,
            features: features.iter().map(|name| (*name).to_owned()).collect(),
            limits: Limits {
                physical_bits: 46,
                xsave: [(2, XsavePart { size: 256, offset: 576 }), (9, XsavePart { size: 8, offset: 2688 })]
                    .into(),
                unnamed: [("0x7.0 ECX".to_owned(), 0x100)].into(),
                tsc_khz: 2_500_000,
                scales_tsc: false,
                registers: [(IA32_ARCH_CAPABILITIES, 0b101)].into(),
            },
        }
    }

    fn guest(seen: HostCpu) -> GuestCpu {
        GuestCpu { seen, forced: Vec::new(), host: None }
    }

    /// What keeps a guest of `host()` from going on where `change` was made.
    fn misfit(change: impl FnOnce(&mut HostCpu)) -> Option<String> {
        let mut there = host();
        change(&mut there);
        there.fits(&guest(host())).err().map(|misfit| misfit.to_string())
    }

    #[track_caller]
    fn says(misfit: Option<String>, word: &str) {
        assert!(misfit.as_deref().is_some_and(|text| text.contains(word)), "{misfit:?} without {word:?}");
    }

    #[test]
    fn a_guest_goes_on_where_all_is_there_that_it_has_seen() {
        assert_eq!(misfit(|_| ()), None);
        let richer = |there: &mut HostCpu| {
            there.features.push("avx512f".into());
            (there.model, there.stepping) = (106, 6);
            there.limits.physical_bits = 52;
            there.limits.xsave.insert(5, XsavePart { size: 64, offset: 1088 });
            there.limits.unnamed.insert("0x7.0 EDX".into(), 1);
            there.limits.registers.insert(IA32_ARCH_CAPABILITIES, 0b1111);
        };
        assert_eq!(misfit(richer), None, "a newer host");
    }

    #[test]
    fn what_is_missing_is_told_by_its_name() {
        says(misfit(|there| there.vendor = "AuthenticAMD".into()), "AuthenticAMD");
        says(misfit(|there| there.features.retain(|name| name != "avx2")), "has avx2");
        says(misfit(|there| there.features.retain(|name| name != "kvm-steal-time")), "kvm-steal-time");
        says(misfit(|there| there.limits.unnamed.clear()), "0x7.0 ECX");
        says(misfit(|there| there.limits.physical_bits = 39), "46 physical address bits, this host 39");
        says(misfit(|there| there.limits.xsave.clear()), "part 2");
        let elsewhere = XsavePart { size: 8, offset: 2440 };
        says(misfit(|there| there.limits.xsave.extend([(9, elsewhere)])), "part 9");
        says(misfit(|there| there.limits.registers.clear()), "IA32_ARCH_CAPABILITIES");
    }

    #[test]
    fn a_counter_of_another_rate_wants_scaling() {
        says(misfit(|there| there.limits.tsc_khz = 2_800_000), "TSC scaling");
        let scales =
            |there: &mut HostCpu| (there.limits.tsc_khz, there.limits.scales_tsc) = (2_800_000, true);
        assert_eq!(misfit(scales), None);
        assert_eq!(misfit(|there| there.limits.tsc_khz = 2_500_600), None, "240 ppm");
        says(misfit(|there| there.limits.tsc_khz = 2_500_700), "TSC scaling");
        assert_eq!(misfit(|there| there.limits.tsc_khz = 0), None, "not known");
    }

    #[test]
    fn where_guests_see_the_hosts_own_processor_only_the_rate_matters() {
        let offer = |change: fn(&mut HostCpu)| {
            let mut there = host();
            change(&mut there);
            Offer::Own(there).fits(&guest(host())).err().map(|misfit| misfit.to_string())
        };
        assert_eq!(offer(|there| (there.vendor, there.features) = ("AuthenticAMD".into(), Vec::new())), None);
        says(offer(|there| there.limits.tsc_khz = 2_800_000), "TSC scaling");
        assert!(Offer::Chosen(HostCpu { features: Vec::new(), ..host() }).fits(&guest(host())).is_err());
    }

    #[test]
    fn registers_count_for_guests_that_know_of_them() {
        let mut seen = host();
        seen.features.retain(|name| name != "arch-capabilities");
        let mut there = host();
        there.limits.registers.clear();
        assert_eq!(there.fits(&guest(seen)), Ok(()));
    }

    #[test]
    fn forced_features_need_not_be_there() {
        let mut seen = guest(host());
        seen.seen.features.push("vmx".into());
        assert!(host().fits(&seen).is_err());
        seen.forced.push("vmx".into());
        assert_eq!(host().fits(&seen), Ok(()));
    }

    #[test]
    fn host_passthrough_wants_the_same_processor() {
        let passed = GuestCpu { host: Some(host()), ..guest(host()) };
        assert_eq!(host().fits(&passed), Ok(()));
        let other = |change: fn(&mut HostCpu)| {
            let mut there = host();
            change(&mut there);
            there.fits(&passed).err().map(|misfit| misfit.to_string())
        };
        says(other(|there| there.stepping = 6), "stepping 6");
        says(other(|there| there.features.push("avx512f".into())), "avx512f");
        says(other(|there| there.limits.physical_bits = 52), "sizes");
        // The rate of its counter is KVM's to see to.
        assert_eq!(other(|there| there.limits.scales_tsc = true), None);
    }

    #[test]
    fn rates_of_counters_are_the_same_within_what_kvm_tolerates() {
        assert!(is_same_rate(2_596_124, 2_596_124) && is_same_rate(2_596_124, 2_596_700));
        assert!(!is_same_rate(2_596_124, 2_597_124) && !is_same_rate(u32::MAX, 1));
        assert!(is_same_rate(0, 2_596_124) && is_same_rate(2_596_124, 0), "a rate that is not known");
    }
}
