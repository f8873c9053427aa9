use std::path::Path;
use std::process::Command;

use proptest::prelude::*;

use super::*;
use crate::layout::RamLayout;

const GIB: u64 = 1 << 30;

fn config(sockets: u32, cores: u32) -> AcpiConfig {
    AcpiConfig::new(Topology::new(sockets, cores, 1).unwrap(), 8 * GIB..1 << 40)
}

/// Tables by signature, found as a guest finds them: from the RSDP through XSDT and FADT.
fn walk(image: &[u8], base: u64) -> Vec<(String, Vec<u8>)> {
    let at = |addr: u64| usize::try_from(addr - base).unwrap();
    let u64_at =
        |bytes: &[u8], offset: usize| u64::from_le_bytes(bytes[offset..offset + 8].try_into().unwrap());
    let table = |addr: u64| {
        let bytes = &image[at(addr)..];
        let length = u32::from_le_bytes(bytes[4..8].try_into().unwrap()) as usize;
        (String::from_utf8(bytes[..4].to_vec()).unwrap(), bytes[..length].to_vec())
    };
    assert_eq!(&image[..8], b"RSD PTR ");
    let mut tables = vec![table(u64_at(image, 24))];
    let pointers = tables[0].1[36..].chunks(8).map(|p| u64_at(p, 0)).collect::<Vec<_>>();
    tables.extend(pointers.into_iter().map(table));
    let fadt = tables.iter().find(|(name, _)| name == "FACP").unwrap().1.clone();
    let facs = u32::from_le_bytes(fadt[36..40].try_into().unwrap()).into();
    assert_eq!(facs % 64, 0);
    tables.push(table(facs));
    tables.push(table(u64_at(&fadt, 140)));
    tables
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}

fn find(tables: &[(String, Vec<u8>)], name: &str) -> Vec<u8> {
    tables.iter().find(|(found, _)| found == name).unwrap().1.clone()
}

/// Entries of a MADT as (type, bytes).
fn madt_entries(madt: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut entries = Vec::new();
    let mut rest = &madt[44..];
    while !rest.is_empty() {
        let (entry, tail) = rest.split_at(rest[1].into());
        entries.push((entry[0], entry.to_vec()));
        rest = tail;
    }
    entries
}

#[test]
fn every_table_is_found_and_sums_to_zero() {
    let image = image(&config(1, 4), 0xE_0000).unwrap();
    assert_eq!((sum(&image[..20]), sum(&image[..36])), (0, 0));
    let tables = walk(&image, 0xE_0000);
    let names: Vec<_> = tables.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["XSDT", "FACP", "APIC", "MCFG", "FACS", "DSDT"]);
    for (name, bytes) in tables.iter().filter(|(name, _)| name != "FACS") {
        assert_eq!(sum(bytes), 0, "{name}");
    }
}

#[test]
fn fadt_promises_what_the_machine_has() {
    let fadt = find(&walk(&image(&config(1, 1), 0xE_0000).unwrap(), 0xE_0000), "FACP");
    assert_eq!((fadt.len(), fadt[8]), (276, 6));
    assert_eq!(fadt[46], 9, "SCI");
    let u32_at = |offset: usize| u32::from_le_bytes(fadt[offset..offset + 4].try_into().unwrap());
    assert_eq!([56, 64, 76, 80].map(u32_at), [0x600, 0x604, 0x608, 0x620]);
    assert_eq!(u32_at(48), 0, "no SMI command port");
    let flags = u32_at(112);
    assert_ne!(flags & 1 << 10, 0, "reset register");
    assert_eq!(flags & 1 << 4, 0, "fixed power button");
    assert_eq!(flags & 1 << 20, 0, "not hardware-reduced");
    assert_eq!(fadt[109] & 2, 0, "no 8042");
    assert_eq!((fadt[116], u32_at(120), fadt[128]), (1, 0xCF9, 6));
}

#[test]
fn madt_switches_to_x2apic_entries_at_255() {
    let tables = walk(&image(&config(2, 128), 0xE_0000).unwrap(), 0xE_0000);
    let entries = madt_entries(&find(&tables, "APIC"));
    let of =
        |kind: u8| entries.iter().filter(|(k, _)| *k == kind).map(|(_, e)| e.clone()).collect::<Vec<_>>();
    assert_eq!((of(0).len(), of(9).len()), (255, 1));
    assert_eq!(of(9)[0], [9, 16, 0, 0, 255, 0, 0, 0, 1, 0, 0, 0, 255, 0, 0, 0]);
    assert_eq!(of(2), [[2, 10, 0, 9, 9, 0, 0, 0, 0x0D, 0]], "one override: the SCI");
    assert_eq!((of(4).len(), of(10).len()), (1, 1));
}

#[test]
fn the_largest_topology_fits() {
    let image = image(&config(1, crate::topology::MAX_VCPUS), 0xE_0000).unwrap();
    assert_eq!(madt_entries(&find(&walk(&image, 0xE_0000), "APIC")).len(), 4096 + 4);
}

#[test]
fn bad_windows_are_errors() {
    let mut bad = config(1, 1);
    bad.pci32_window = 0xC000_0000..0x1_0000_0001;
    assert!(matches!(image(&bad, 0xE_0000), Err(AcpiError::BadWindow { bits: 32, .. })));
    bad = AcpiConfig { pci64_window: 0..u64::MAX, ..config(1, 1) };
    assert!(matches!(image(&bad, 0xE_0000), Err(AcpiError::BadWindow { bits: 64, .. })));
    bad = AcpiConfig { ecam_base: 0xFFFF_FFFF_F000, ..config(1, 1) };
    assert!(image(&bad, 0xE_0000).is_err());
    bad = AcpiConfig { pci64_window: 5..5, ..config(1, 1) };
    assert!(image(&bad, 0xE_0000).is_ok(), "no 64-bit window is fine");
}

#[test]
fn the_generation_id_has_a_device_and_an_event() {
    let dsdt = find(&walk(&image(&config(1, 1), 0xE_0000).unwrap(), 0xE_0000), "DSDT");
    let has = |bytes: &[u8]| dsdt.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"VM_Gen_Counter\0") && has(b"_E05"));
    // Package of two: 0x9FD00 as a double word, and zero.
    assert!(has(&[b'A', b'D', b'D', b'R', 0x12, 0x08, 2, 0x0C, 0x00, 0xFD, 0x09, 0, 0x00]));
}

#[test]
fn the_clock_has_a_device_with_its_page_and_an_event() {
    let dsdt = find(&walk(&image(&config(1, 1), 0xE_0000).unwrap(), 0xE_0000), "DSDT");
    let has = |bytes: &[u8]| dsdt.windows(bytes.len()).any(|window| window == bytes);
    assert!(has(b"AMZNC10C\0") && has(b"VMCLOCK\0") && has(b"_E06"));
    // A quad word address space descriptor of fixed, cacheable, read-only memory: granularity, first, last, offset, length.
    let numbers = [0u64, 0xFEFF_B000, 0xFEFF_BFFF, 0, 0x1000].map(u64::to_le_bytes).concat();
    assert!(has(&[&[0x8A, 43, 0, 0, 0x0C, 0x02], numbers.as_slice()].concat()));
}

#[test]
fn lands_in_guest_memory() {
    let mem = GuestRam::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let rsdp = build(&mem, &config(1, 2)).unwrap();
    let mut head = [0; 8];
    mem.read_slice(&mut head, GuestAddress(rsdp)).unwrap();
    assert_eq!(&head, b"RSD PTR ");
    let small = GuestRam::from_ranges(&[(GuestAddress(0), 4096)]).unwrap();
    assert!(matches!(build(&small, &config(1, 2)), Err(AcpiError::Write(_))));
}

/// Intel's compiler takes every table apart and puts the DSDT together again without an error or a warning.
#[test]
fn iasl_accepts_the_tables() {
    if Command::new("iasl").arg("-v").output().is_err() {
        eprintln!("skipped: iasl is not installed (Debian: acpica-tools)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let config = AcpiConfig { com2: true, last_bus: 16, ..config(2, 128) };
    for (name, bytes) in walk(&image(&config, 0xE_0000).unwrap(), 0xE_0000) {
        std::fs::write(dir.path().join(format!("{name}.aml")), bytes).unwrap();
        iasl(dir.path(), &["-d", &format!("{name}.aml")]);
    }
    let report = iasl(dir.path(), &["-vs", "-p", "again", "DSDT.dsl"]);
    assert!(report.contains("0 Errors, 0 Warnings"), "{report}");
    let report = iasl(dir.path(), &["-p", "fadt", "FACP.dsl"]);
    assert!(report.contains("Compilation successful") || report.contains("0 Errors"), "{report}");
}

fn iasl(dir: &Path, arguments: &[&str]) -> String {
    let output = Command::new("iasl").args(arguments).current_dir(dir).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let report = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "iasl {arguments:?}: {report}");
    assert!(!report.contains("Warning") || report.contains("0 Warnings"), "iasl {arguments:?}: {report}");
    report
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn checksums_hold_for_every_machine(
        sockets in 1u32..5, cores in 1u32..100, threads in 1u32..3, gib in 1u64..2000, last_bus in 0u8..=255,
    ) {
        let topology = Topology::new(sockets, cores, threads).unwrap();
        let window = RamLayout::new(gib * GIB).unwrap().pci64_window(46);
        let config = AcpiConfig { last_bus, ..AcpiConfig::new(topology, window) };
        let tables = walk(&image(&config, 0xE_0000).unwrap(), 0xE_0000);
        prop_assert!(tables.iter().filter(|(name, _)| name != "FACS").all(|(_, bytes)| sum(bytes) == 0));
        let cpus = madt_entries(&find(&tables, "APIC")).iter().filter(|(kind, _)| matches!(kind, 0 | 9)).count();
        prop_assert_eq!(cpus, topology.vcpus() as usize);
    }
}
