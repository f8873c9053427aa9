use proptest::prelude::*;

use super::*;

fn entry(function: u32, index: u32, [eax, ebx, ecx, edx]: [u32; 4]) -> kvm_cpuid_entry2 {
    kvm_cpuid_entry2 { function, index, eax, ebx, ecx, edx, ..Default::default() }
}

fn vendor_leaf(max: u32, vendor: &[u8; 12]) -> kvm_cpuid_entry2 {
    let word = |n: usize| u32::from_le_bytes(vendor[n..n + 4].try_into().unwrap());
    entry(0, 0, [max, word(0), word(8), word(4)])
}

/// What an Intel server's KVM would say, abridged.
fn intel() -> Vec<kvm_cpuid_entry2> {
    vec![
        vendor_leaf(0x1F, b"GenuineIntel"),
        entry(1, 0, [0x806F8, 0x0740_0800, 0x77FA_3203, 0x0F8B_FBFF]),
        entry(4, 0, [0xFC00_4121, 0, 0, 0]),
        entry(4, 1, [0xFC00_4122, 0, 0, 0]),
        entry(4, 2, [0xFC00_4143, 0, 0, 0]),
        entry(4, 3, [0xFC1F_C163, 0, 0, 0]),
        entry(4, 4, [0; 4]),
        entry(7, 0, [2, 1 << 5, 0, 0]),
        entry(0xA, 0, [0x0830_0805, 0, 7, 0x8604]),
        entry(0xB, 0, [9, 9, 9, 9]),
        entry(0x1F, 0, [9, 9, 9, 9]),
        entry(0x4000_0000, 0, [0x4000_0001, 0, 0, 0]),
        entry(0x4000_0001, 0, [0x0100_7EFB, 0, 0, 0]),
        entry(0x8000_0000, 0, [0x8000_0008, 0, 0, 0]),
        entry(0x8000_0001, 0, [0, 0, 0x121, 0x2C10_0800]),
        entry(0x8000_0007, 0, [0, 0, 0, 0x100]),
        entry(0x8000_0008, 0, [0x3934, 0, 0, 0]),
    ]
}

/// What an AMD server's KVM would say, abridged.
fn amd() -> Vec<kvm_cpuid_entry2> {
    vec![
        vendor_leaf(0xD, b"AuthenticAMD"),
        entry(1, 0, [0x80_0F12, 0x0001_0800, 0xF6D8_3203, 0x0783_FBFF]),
        entry(7, 0, [0, 0, 0, 0]),
        entry(0x4000_0000, 0, [0x4000_0001, 0, 0, 0]),
        entry(0x4000_0001, 0, [0x0100_7EFB, 0, 0, 0]),
        entry(0x8000_0000, 0, [0x8000_0021, 0, 0, 0]),
        entry(0x8000_0001, 0, [0, 0, 1 << 22 | 4, 0]),
        entry(0x8000_0008, 0, [0x3028, 0, 0x7001, 0]),
        entry(0x8000_001D, 0, [0x4121, 0, 0, 0]),
        entry(0x8000_001D, 3, [0x1_C163, 0, 0, 0]),
        entry(0x8000_001D, 4, [0; 4]),
        entry(0x8000_001E, 0, [0; 4]),
    ]
}

fn config(sockets: u32, cores: u32, threads: u32) -> CpuidConfig {
    CpuidConfig::new(Topology::new(sockets, cores, threads).unwrap())
}

fn vcpu(supported: &[kvm_cpuid_entry2], config: &CpuidConfig, index: u32) -> Leaves {
    Leaves::new(&CpuidTemplate::new(supported, config).unwrap().for_vcpu(index))
}

fn with_features(features: &[(&str, FeaturePolicy)]) -> CpuidConfig {
    let features = features.iter().map(|(name, policy)| ((*name).into(), *policy)).collect();
    CpuidConfig { features, ..config(1, 1, 1) }
}

#[test]
fn leaf_1_tells_who_and_how_many() {
    let leaves = vcpu(&intel(), &config(2, 3, 2), 7);
    let leaf = leaves.get(1, 0).unwrap();
    assert_eq!(leaf.ebx, 0x0908_0800, "APIC id 9, 8 ids a socket, the cache line kept");
    assert_eq!(leaf.ecx & (X2APIC | TSC_DEADLINE | HYPERVISOR), X2APIC | TSC_DEADLINE | HYPERVISOR);
    assert_ne!(leaf.edx & 1 << 28, 0);
    let single = vcpu(&intel(), &config(4, 1, 1), 0);
    assert_eq!(single.value(1, 0, Reg::Edx) & 1 << 28, 0, "one thread in a socket is not HTT");
}

#[test]
fn leaves_0b_and_1f_tell_the_levels() {
    let leaves = vcpu(&intel(), &config(2, 3, 2), 7);
    for function in [0xB, 0x1F] {
        let values = |index| {
            let leaf = leaves.get(function, index).unwrap();
            assert_eq!(leaf.flags, 1, "the subleaf matters");
            [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx]
        };
        assert_eq!(values(0), [1, 2, 0x100, 9]);
        assert_eq!(values(1), [3, 6, 0x201, 9]);
        assert_eq!(values(2), [0, 0, 2, 9]);
    }
    let amd = vcpu(&amd(), &config(1, 4, 1), 2);
    assert!(amd.get(0x1F, 0).is_none());
    assert_eq!(amd.value(0xB, 1, Reg::Ebx), 4);
}

#[test]
fn intel_caches_are_shared_by_the_guests_own_threads() {
    let leaves = vcpu(&intel(), &config(1, 4, 2), 0);
    let sharing =
        |index| (leaves.value(4, index, Reg::Eax) >> 14 & 0xFFF, leaves.value(4, index, Reg::Eax) >> 26);
    assert_eq!((sharing(0), sharing(2), sharing(3)), ((1, 3), (1, 3), (7, 3)));
    assert_eq!(leaves.value(4, 4, Reg::Eax), 0, "the end of the list stays");
}

#[test]
fn amd_topology_leaves() {
    let leaves = vcpu(&amd(), &config(2, 4, 2), 13);
    assert_eq!(leaves.value(0x8000_0008, 0, Reg::Ecx), 0x3007);
    let node = leaves.get(0x8000_001E, 0).unwrap();
    assert_eq!([node.eax, node.ebx, node.ecx], [13, 0x102, 1]);
    assert_eq!(leaves.value(0x8000_001D, 3, Reg::Eax) >> 14 & 0xFFF, 7);
    assert_eq!(leaves.value(0x8000_001D, 0, Reg::Eax) >> 14 & 0xFFF, 1);
    assert_ne!(leaves.value(0x8000_0001, 0, Reg::Ecx) & 2, 0, "CmpLegacy");
    let without =
        CpuidConfig { features: vec![("topoext".into(), FeaturePolicy::Disable)], ..config(1, 2, 1) };
    assert!(vcpu(&amd(), &without, 0).get(0x8000_001E, 0).is_none());
}

#[test]
fn amd_threads_are_told_on_hosts_without_topology_extensions() {
    let mut host = amd();
    host.retain(|entry| !matches!(entry.function, 0x8000_001D | 0x8000_001E));
    host.iter_mut().filter(|entry| entry.function == 0x8000_0001).for_each(|entry| entry.ecx = 0);
    let leaves = vcpu(&host, &config(1, 2, 2), 3);
    assert_eq!(leaves.value(0x8000_001E, 0, Reg::Ebx), 0x101);
    assert!(vcpu(&host, &config(1, 4, 1), 3).get(0x8000_001E, 0).is_none());
}

#[test]
fn kvm_tells_its_clocks() {
    let timed = CpuidConfig { tsc_khz: Some(2_592_000), ..config(1, 1, 1) };
    let leaves = vcpu(&intel(), &timed, 0);
    let signature = leaves.get(0x4000_0000, 0).unwrap();
    assert_eq!((signature.eax, signature.ebx), (0x4000_0010, u32::from_le_bytes(*b"KVMK")));
    assert_eq!(leaves.value(0x4000_0001, 0, Reg::Eax), 0x0100_7EFB);
    let timing = leaves.get(0x4000_0010, 0).unwrap();
    assert_eq!((timing.eax, timing.ebx), (2_592_000, 1_000_000));
    let crystal = leaves.get(0x15, 0).unwrap();
    let tsc_hz = u64::from(crystal.ecx) * u64::from(crystal.ebx) / u64::from(crystal.eax);
    assert_eq!(tsc_hz, 2_592_000_000);
    assert_eq!(leaves.value(0x16, 0, Reg::Eax), 2592);
    assert!(vcpu(&amd(), &timed, 0).get(0x15, 0).is_none());
}

#[test]
fn hidden_means_no_kvm_but_still_a_hypervisor() {
    let hidden = CpuidConfig { kvm_hidden: true, tsc_khz: Some(1), ..config(1, 1, 1) };
    let entries = CpuidTemplate::new(&intel(), &hidden).unwrap().for_vcpu(0);
    assert!(entries.iter().all(|entry| entry.function >> 28 != 4));
    assert_ne!(Leaves::new(&entries).value(1, 0, Reg::Ecx) & HYPERVISOR, 0);
}

#[test]
fn models_differ_in_what_ties_to_the_host() {
    let passthrough = CpuidConfig { model: CpuModel::HostPassthrough, ..config(1, 1, 1) };
    assert_eq!(vcpu(&intel(), &passthrough, 0).value(0x8000_0007, 0, Reg::Edx), INVARIANT_TSC);
    assert_ne!(vcpu(&intel(), &passthrough, 0).value(0xA, 0, Reg::Eax), 0);
    let model = vcpu(&intel(), &config(1, 1, 1), 0);
    assert_eq!((model.value(0x8000_0007, 0, Reg::Edx), model.value(0xA, 0, Reg::Eax)), (0, 0));
    let wanted = with_features(&[("invtsc", FeaturePolicy::Require)]);
    assert_eq!(vcpu(&intel(), &wanted, 0).value(0x8000_0007, 0, Reg::Edx), INVARIANT_TSC);
}

#[test]
fn policies_do_what_they_say() {
    use FeaturePolicy::{Disable, Forbid, Force, Optional, Require};
    let avx2 = |supported: &[_], policy| {
        CpuidTemplate::new(supported, &with_features(&[("avx2", policy)]))
            .map(|template| has(&Leaves::new(&template.for_vcpu(0)), 7, 0, Reg::Ebx, 1 << 5))
    };
    let on_host = [Force, Require, Optional, Disable].map(|policy| avx2(&intel(), policy));
    assert_eq!(on_host, [Ok(true), Ok(true), Ok(true), Ok(false)]);
    assert_eq!(avx2(&intel(), Forbid), Err(CpuidError::ForbiddenFeature { name: "avx2" }));
    let missing = [Force, Optional, Disable, Forbid].map(|policy| avx2(&amd(), policy));
    assert_eq!(missing, [Ok(true), Ok(false), Ok(false), Ok(false)]);
    let error = avx2(&amd(), Require).unwrap_err();
    assert!(error.to_string().contains("\"avx2\" is required"), "{error}");
}

#[test]
fn forcing_into_a_leaf_that_is_missing_makes_it() {
    let forced =
        with_features(&[("fred", FeaturePolicy::Force), ("null-sel-clr-base", FeaturePolicy::Force)]);
    let leaves = vcpu(&amd(), &forced, 0);
    assert_eq!(leaves.value(7, 1, Reg::Eax), 1 << 17);
    assert_eq!(leaves.value(7, 0, Reg::Eax), 1, "leaf 7 announces its subleaf");
    assert_eq!(leaves.value(0x8000_0000, 0, Reg::Eax), 0x8000_0021);
}

#[test]
fn beyond_255_vcpus_msis_get_wider() {
    assert_ne!(vcpu(&intel(), &config(2, 128, 1), 0).value(0x4000_0001, 0, Reg::Eax) & 1 << 15, 0);
    assert_eq!(vcpu(&intel(), &config(1, 16, 1), 0).value(0x4000_0001, 0, Reg::Eax) & 1 << 15, 0);
    let last = vcpu(&intel(), &config(2, 128, 2), 511);
    assert_eq!((last.value(0xB, 0, Reg::Edx), last.value(1, 0, Reg::Ebx) >> 24), (511, 0xFF));
}

#[test]
fn nonsense_from_kvm_is_an_error() {
    let error = CpuidTemplate::new(&[], &config(1, 1, 1)).unwrap_err();
    assert_eq!(error, CpuidError::MissingLeaf { leaf: 0 });
    assert_eq!((phys_bits(&intel()), phys_bits(&[])), (52, 36));
}

prop_compose! {
    fn any_entry()(
        function in prop_oneof![0u32..0x25, 0x4000_0000u32..0x4000_0011, 0x8000_0000u32..0x8000_0027, any::<u32>()],
        index in 0u32..5,
        values in any::<[u32; 4]>(),
    ) -> kvm_cpuid_entry2 {
        entry(function, index, values)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn no_host_makes_it_panic(
        mut supported in prop::collection::vec(any_entry(), 0..40),
        amd_like: bool, complete: bool,
        (sockets, cores, threads) in (1u32..9, 1u32..65, 1u32..9),
        name in prop_oneof!["[a-z0-9-]{1,12}", Just("avx2".to_owned()), any::<String>()],
    ) {
        if complete {
            supported.splice(0..0, if amd_like { amd() } else { intel() });
        }
        let mut config = config(sockets, cores.min(4096 / sockets / threads), threads);
        config.tsc_khz = Some(u32::MAX);
        config.apic_bus_khz = u32::MAX;
        config.features = vec![(name, FeaturePolicy::Optional)];
        if let Ok(template) = CpuidTemplate::new(&supported, &config) {
            let last = config.topology.vcpus() - 1;
            let leaves = Leaves::new(&template.for_vcpu(last));
            prop_assert_eq!(leaves.value(0xB, 0, Reg::Edx), config.topology.max_apic_id());
        }
    }
}

#[test]
fn a_guest_misses_nothing_on_the_host_that_it_was_made_for() {
    for supported in [intel(), amd()] {
        let host = HostCpu::new(&supported);
        for mut config in [config(1, 1, 1), config(2, 4, 2), config(1, 300, 1)] {
            config.model = CpuModel::HostPassthrough;
            config.dedicated_cpus = true;
            let guest = HostCpu::new(&CpuidTemplate::new(&supported, &config).unwrap().for_vcpu(0));
            assert!(host.missing_for(&guest).is_empty(), "{:?}", host.missing_for(&guest));
        }
    }
    let (host, other) = (HostCpu::new(&amd()), HostCpu::new(&intel()));
    assert!(!host.missing_for(&other).is_empty());
}

#[test]
fn a_guest_can_go_on_at_the_host_that_it_was_made_for() {
    let mut tried = 0;
    for supported in [intel(), amd()] {
        let host = HostCpu::new(&supported);
        let own = [CpuModel::HostPassthrough, CpuModel::HostModel].into_iter();
        for model in own.chain(NamedModel::all().map(CpuModel::Named)) {
            for hyperv in [None, Some(HyperV::all(&supported))] {
                let mut config = CpuidConfig { model, hyperv, ..config(2, 4, 2) };
                config.tsc_khz = Some(2_000_000);
                let Ok(template) = CpuidTemplate::new(&supported, &config) else { continue };
                let passed = model == CpuModel::HostPassthrough;
                let guest = GuestCpu {
                    seen: HostCpu::new(&template.for_vcpu(3)),
                    forced: Vec::new(),
                    host: passed.then(|| host.clone()),
                };
                assert_eq!(host.fits(&guest), Ok(()), "{model:?}, Hyper-V: {}", config.hyperv.is_some());
                tried += 1;
            }
        }
    }
    assert!(tried >= 8, "{tried}");
}
