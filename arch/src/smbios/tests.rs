use proptest::prelude::*;

use super::*;

fn config() -> SmbiosConfig {
    let uuid = *b"\x5a\x9f\xc1\x81\x95\x7e\x5c\x32\x9e\x5a\x2d\xe5\xe9\x67\x35\x31";
    SmbiosConfig::new(uuid, Topology::new(2, 4, 2).unwrap(), RamLayout::new(5 << 30).unwrap())
}

/// A structure as a parser sees it: type, formatted area with header, strings.
type Parsed = (u8, Vec<u8>, Vec<String>);

fn parse(mut bytes: &[u8]) -> Vec<Parsed> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let (formatted, mut rest) = bytes.split_at(bytes[1].into());
        let mut strings = Vec::new();
        while rest[0] != 0 {
            let end = rest.iter().position(|byte| *byte == 0).unwrap();
            strings.push(String::from_utf8(rest[..end].to_vec()).unwrap());
            rest = &rest[end + 1..];
        }
        rest = if strings.is_empty() { &rest[2..] } else { &rest[1..] };
        all.push((formatted[0], formatted.to_vec(), strings));
        bytes = rest;
    }
    all
}

fn structures(config: &SmbiosConfig) -> Vec<Parsed> {
    parse(&Structures::of(config).unwrap())
}

fn find(all: &[Parsed], kind: u8) -> Parsed {
    all.iter().find(|(found, ..)| *found == kind).unwrap().clone()
}

#[test]
fn entry_point_leads_to_the_structures() {
    let mem = GuestRam::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let addr = build(&mem, &config()).unwrap();
    let mut entry = [0; 24];
    mem.read_slice(&mut entry, GuestAddress(addr)).unwrap();
    assert_eq!((&entry[..5], entry[6], entry[7]), (b"_SM3_".as_slice(), 24, 3));
    assert_eq!(entry.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)), 0);
    let length = u32::from_le_bytes(entry[12..16].try_into().unwrap());
    let table = u64::from_le_bytes(entry[16..24].try_into().unwrap());
    let mut bytes = vec![0; length as usize];
    mem.read_slice(&mut bytes, GuestAddress(table)).unwrap();
    let kinds: Vec<_> = parse(&bytes).iter().map(|(kind, ..)| *kind).collect();
    assert_eq!(kinds, [0, 1, 3, 4, 4, 16, 17, 19, 19, 127]);
}

#[test]
fn formatted_areas_have_the_standard_lengths() {
    let all = structures(&config());
    let lengths = [0, 1, 3, 4, 16, 17, 19, 127].map(|kind| find(&all, kind).1.len());
    assert_eq!(lengths, [24, 27, 22, 48, 23, 40, 31, 4]);
    let mut handles: Vec<_> = all.iter().map(|(_, area, _)| [area[2], area[3]]).collect();
    handles.sort_unstable();
    handles.dedup();
    assert_eq!(handles.len(), all.len());
}

#[test]
fn system_carries_names_and_uuid() {
    let mut config = config();
    config.system.serial = "ds=nocloud".into();
    let (_, area, strings) = find(&structures(&config), 1);
    assert_eq!(strings, ["KubeVirt", "None", "ds=nocloud", "KubeVirt"]);
    assert_eq!(area[4..8], [1, 2, 0, 3]);
    assert_eq!(area[8..16], [0x81, 0xC1, 0x9F, 0x5A, 0x7E, 0x95, 0x32, 0x5C]);
    assert_eq!(area[16..24], config.uuid[8..]);
}

#[test]
fn chassis_carries_the_asset_tag() {
    let mut config = config();
    config.chassis = ChassisInfo { asset_tag: "tag-7".into(), sku: "s".into(), ..Default::default() };
    let (_, area, strings) = find(&structures(&config), 3);
    assert_eq!(strings, ["tag-7", "s"]);
    assert_eq!((area[8], area[21]), (1, 2));
}

#[test]
fn memory_sizes_of_any_magnitude() {
    let of = |bytes: u64| {
        let config = SmbiosConfig { ram: RamLayout::new(bytes).unwrap(), ..config() };
        let area = find(&structures(&config), 17).1;
        let short = u16::from_le_bytes(area[12..14].try_into().unwrap());
        (short, u32::from_le_bytes(area[28..32].try_into().unwrap()))
    };
    assert_eq!(of(256 << 20), (256, 256));
    assert_eq!(of(64 << 30), (0x7FFF, 65536));
    let large = SmbiosConfig { ram: RamLayout::new(8 << 40).unwrap(), ..config() };
    let ranges: Vec<_> = structures(&large).into_iter().filter(|(kind, ..)| *kind == 19).collect();
    assert_eq!(ranges[1].1[4..12], [0xFF; 8]);
    assert_eq!(u64::from_le_bytes(ranges[1].1[15..23].try_into().unwrap()), 4 << 30);
}

#[test]
fn hostile_strings_are_refused() {
    let with = |serial: &str| {
        let mut config = config();
        config.system.serial = serial.into();
        Structures::of(&config)
    };
    assert!(matches!(with("a\0b"), Err(SmbiosError::ControlCharacter { .. })));
    assert!(matches!(with("a\nb"), Err(SmbiosError::ControlCharacter { .. })));
    assert!(matches!(with(&"x".repeat(257)), Err(SmbiosError::StringTooLong { length: 257, .. })));
    assert!(with(&"x".repeat(256)).is_ok());
    let mem = GuestRam::from_ranges(&[(GuestAddress(0), 2 << 20)]).unwrap();
    let sockets = SmbiosConfig { topology: Topology::new(4096, 1, 1).unwrap(), ..config() };
    assert!(matches!(build(&mem, &sockets), Err(SmbiosError::TooLarge { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_string_is_carried_or_refused(serial in any::<String>(), tag in "[ -~]{0,300}") {
        let mut config = config();
        config.system.serial = serial.clone();
        config.chassis.asset_tag = tag.clone();
        if let Ok(bytes) = Structures::of(&config) {
            let all = parse(&bytes);
            prop_assert!(serial.is_empty() || find(&all, 1).2.contains(&serial));
            prop_assert!(tag.is_empty() || find(&all, 3).2.contains(&tag));
        }
    }
}
