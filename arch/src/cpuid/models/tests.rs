use kvm_bindings::kvm_cpuid_entry2;

use super::super::leaves::Reg;
use super::super::{Baseline, CpuModel, CpuidConfig, CpuidTemplate, HostCpu, Obstacle};
use super::*;
use crate::topology::Topology;

/// A host of this maker that has every feature of the tables, and some that no model has.
fn rich(vendor: &[u8; 12]) -> Vec<kvm_cpuid_entry2> {
    let mut leaves = Leaves::new(&[]);
    for feature in FEATURES {
        *reg(leaves.at(feature.leaf, feature.index), feature.reg) |= feature.mask | 1 << 20;
        leaves.announce(feature.leaf);
    }
    let word = |at: usize| u32::from_le_bytes(vendor[at..at + 4].try_into().unwrap());
    let first = leaves.at(0, 0);
    (first.ebx, first.edx, first.ecx) = (word(0), word(4), word(8));
    leaves.at(1, 0).eax = 0x806f8;
    leaves.at(0xD, 0).eax = 0x602e7;
    for (part, size, offset) in [
        (2, 256, 576),
        (5, 64, 1088),
        (6, 512, 1152),
        (7, 1024, 1664),
        (9, 8, 2688),
        (17, 64, 2752),
        (18, 8192, 2816),
    ] {
        let entry = leaves.at(0xD, part);
        (entry.eax, entry.ebx) = (size, offset);
    }
    leaves.at(0xA, 0).eax = 0x0730_0802;
    leaves.into_vec()
}

fn config(model: &str) -> CpuidConfig {
    let mut config = CpuidConfig::new(Topology::new(1, 2, 1).unwrap());
    config.model = CpuModel::Named(NamedModel::find(model).unwrap());
    config
}

fn guest(model: &str) -> Leaves {
    let vendor =
        if NamedModel::find(model).unwrap().is_of(Vendor::Intel) { b"GenuineIntel" } else { b"AuthenticAMD" };
    Leaves::new(&CpuidTemplate::new(&rich(vendor), &config(model)).unwrap().for_vcpu(0))
}

#[test]
fn tables_hold_together() {
    let names: Vec<_> = tables().map(|(model, _)| model.name).collect();
    assert_eq!(names.len(), 79);
    for (at, (model, _)) in tables().enumerate() {
        assert!(
            model.base.is_empty() || names[..at].contains(&model.base),
            "{} comes after {}",
            model.name,
            model.base
        );
        assert!(!names[..at].contains(&model.name));
        assert!(model.brand.len() <= 48, "{}", model.brand);
        for feature in model.adds.split(' ').chain(model.drops.split(' ')).filter(|name| !name.is_empty()) {
            assert_eq!(find(feature).unwrap().name, feature, "of {}", model.name);
        }
    }
    for (alias, full) in aliases::ALIASES {
        assert!(names.contains(full) && !names.contains(alias), "{alias}");
    }
}

#[test]
fn models_have_what_their_makers_tell() {
    let has = |model: &str, feature: &str| NamedModel::find(model).unwrap().features().contains(&feature);
    assert!(has("Haswell", "rtm") && !has("Haswell-noTSX", "rtm") && has("Haswell-noTSX", "avx2"));
    assert!(!has("SandyBridge", "rdrand") && has("IvyBridge", "rdrand"));
    assert!(has("Skylake-Server", "avx512f") && !has("Skylake-Client", "avx512f"));
    assert!(has("SapphireRapids", "amx-tile") && has("EPYC", "sha-ni") && !has("Opteron_G5", "sha-ni"));
    assert!(has("EPYC-Milan", "pku") && has("EPYC-Genoa", "avx512f") && has("Penryn", "sse4-1"));
    assert_eq!(NamedModel::find("Haswell").unwrap().name(), "Haswell");
    assert!(NamedModel::find("haswell").is_none() && NamedModel::find("").is_none());
}

#[test]
fn a_guest_sees_its_model_and_nothing_more() {
    for model in NamedModel::all() {
        let host = HostCpu::new(&guest(model.name()).into_vec());
        let of_machine = ["hypervisor", "x2apic", "tsc-deadline", "topoext", "ht", "cmp-legacy"];
        let seen = host.features.iter().map(String::as_str).filter(|name| !name.starts_with("kvm"));
        let seen: Vec<_> = seen.filter(|name| !of_machine.contains(name)).collect();
        let expected = model.features();
        let expected: Vec<_> = expected.into_iter().filter(|name| !of_machine.contains(name)).collect();
        assert_eq!(seen, expected, "{model:?}");
        assert_eq!((host.family, host.model, host.stepping), model.model.signature, "{model:?}");
    }
    let leaves = guest("Haswell");
    assert_eq!(leaves.value(7, 0, Reg::Ebx) & 1 << 20, 0, "a bit that no model has");
    assert_eq!(leaves.value(0xA, 0, Reg::Eax), 0);
    let brand: Vec<_> = (2..5)
        .flat_map(|at| {
            let entry = *leaves.get(0x8000_0000 + at, 0).unwrap();
            [entry.eax, entry.ebx, entry.ecx, entry.edx].into_iter().flat_map(u32::to_le_bytes)
        })
        .collect();
    assert!(brand.starts_with(b"Intel Core Processor (Haswell)\0"));
}

#[test]
fn the_state_that_xsave_keeps_follows_the_features() {
    let part = |leaves: &Leaves, at| leaves.value(0xD, at, Reg::Eax);
    let haswell = guest("Haswell");
    assert_eq!((part(&haswell, 0), haswell.value(0xD, 0, Reg::Ecx)), (0b111, 832));
    assert_eq!((part(&haswell, 2), part(&haswell, 5)), (256, 0));
    let server = guest("Skylake-Server");
    assert_eq!((part(&server, 0), server.value(0xD, 0, Reg::Ecx)), (0x2e7, 2696));
    assert_eq!(part(&guest("SapphireRapids"), 0), 0x602e7);
    assert_eq!((part(&guest("Nehalem"), 0), part(&guest("Nehalem"), 2)), (0, 0), "it has no XSAVE");
}

#[test]
fn hosts_that_cannot_run_a_model_say_why() {
    let host = guest("Haswell-noTSX").into_vec();
    let error = CpuidTemplate::new(&host, &config("Haswell")).unwrap_err().to_string();
    assert!(error.starts_with("this host lacks features of CPU model Haswell: hle, rtm;"), "{error}");
    let mut without = config("Haswell");
    without.features = [("hle", FeaturePolicy::Disable), ("rtm", FeaturePolicy::Optional)]
        .map(|(name, policy)| (name.into(), policy))
        .to_vec();
    assert!(CpuidTemplate::new(&host, &without).is_ok());
    let error = CpuidTemplate::new(&host, &config("EPYC")).unwrap_err();
    assert!(matches!(error, CpuidError::OtherVendor { model: "EPYC", .. }), "{error}");
}

/// As libvirt's host-model: the model that tells most, and by name what is beyond it.
#[test]
fn a_model_is_its_own_baseline_and_what_is_beyond_it_is_named() {
    for name in ["Penryn", "Haswell-noTSX-IBRS", "SapphireRapids", "phenom", "Opteron_G5", "EPYC-Milan"] {
        let model = NamedModel::find(name).unwrap();
        let host = HostCpu::new(&guest(name).into_vec());
        let plain = Baseline::of(std::slice::from_ref(&host)).unwrap();
        assert_eq!(plain.besides, [] as [&str; 0], "{name} is taken for {}", plain.model.name());
        let mut found = plain.model.features();
        let mut own = model.features();
        found.sort_unstable();
        own.sort_unstable();
        assert_eq!(found, own, "{name} is taken for {}", plain.model.name());
        // No model has it.
        let mut more = host.clone();
        more.features.push("movdir64b".into());
        more.features.push("hypervisor".into());
        let more = Baseline::of(&[more]).unwrap();
        let all: Vec<_> = more.model.features().into_iter().chain(more.besides.clone()).collect();
        assert!(all.contains(&"movdir64b") && !all.contains(&"hypervisor"), "{name}: {more:?}");
        assert!(own.iter().all(|feature| all.contains(feature)), "{name}: {more:?}");
    }
}

#[test]
fn hosts_find_what_they_have_in_common() {
    let host = |model: &str| HostCpu::new(&guest(model).into_vec());
    let (old, new) = (host("Broadwell-noTSX-IBRS"), host("Cascadelake-Server"));
    let baseline = Baseline::of(&[new.clone(), old.clone()]).unwrap();
    assert_eq!(baseline.model.name(), "Broadwell-noTSX-IBRS");
    assert_eq!(baseline.besides, [] as [&str; 0]);
    let model = NamedModel::find("Cascadelake-Server").unwrap();
    assert_eq!(new.obstacle(model), None);
    let Some(Obstacle::Missing(missing)) = old.obstacle(model) else { panic!("it can") };
    assert!(missing.contains(&"avx512f") && !missing.contains(&"avx2"));
    assert_eq!(old.obstacle(NamedModel::find("EPYC").unwrap()), Some(Obstacle::Vendor("AuthenticAMD")));
    assert!(old.lacks(&new).contains(&"avx512vnni") && new.lacks(&old).is_empty());
    let both = Baseline::of(&[old, host("EPYC")]).unwrap();
    assert_eq!(both.model.vendor(), None, "what suits two makers is nobody's");
    assert!(both.besides.contains(&"avx2"));
    assert_eq!(Baseline::of(&[]), None);
}
