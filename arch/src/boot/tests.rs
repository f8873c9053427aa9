use std::io::Write;

use linux_loader::bootparam::boot_params;
use linux_loader::start_info::{hvm_memmap_table_entry, hvm_modlist_entry, hvm_start_info};
use proptest::prelude::*;
use vm_memory::ByteValued;

use super::*;
use crate::layout::{BOOT_PML4, PAGE_SIZE, PVH_MODLIST, PVH_START_INFO, ZERO_PAGE};

const MIB: u64 = 1 << 20;

fn machine(mib: u64) -> (GuestRam, RamLayout) {
    let ram = RamLayout::new(mib * MIB).unwrap();
    let ranges: Vec<_> =
        ram.regions().map(|r| (GuestAddress(r.start), usize::try_from(r.size).unwrap())).collect();
    (GuestRam::from_ranges(&ranges).unwrap(), ram)
}

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn load(bytes: &[u8], mib: u64) -> Result<LoadedKernel, BootError> {
    let (mem, ram) = machine(mib);
    load_kernel(&mem, &file(bytes), &ram)
}

/// Program header: type, file offset, physical address, size in the file and in memory.
type Header = (u32, u64, u64, u64, u64);

const NOTES: u64 = 0x400;
const CODE: u64 = 0x1000;
const CODE_SIZE: u64 = 0x800;

fn note(name: &[u8], kind: u32, desc: &[u8]) -> Vec<u8> {
    let sizes = [u32::try_from(name.len()).unwrap(), u32::try_from(desc.len()).unwrap(), kind];
    let mut bytes: Vec<u8> = sizes.into_iter().flat_map(u32::to_le_bytes).collect();
    for part in [name, desc] {
        bytes.extend_from_slice(part);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    bytes
}

fn elf_with(headers: &[Header], notes: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend_from_slice(&[2, 0, 62, 0, 1, 0, 0, 0]);
    bytes.extend_from_slice(&0u64.to_le_bytes());
    bytes.extend_from_slice(&64u64.to_le_bytes());
    bytes.resize(52, 0);
    bytes.extend_from_slice(&[64, 0, 56, 0, u8::try_from(headers.len()).unwrap(), 0]);
    bytes.resize(64, 0);
    for (kind, offset, addr, file_size, memory_size) in headers {
        bytes.extend_from_slice(&kind.to_le_bytes());
        bytes.extend_from_slice(&[7, 0, 0, 0]);
        for field in [*offset, 0xFFFF_FFFF_8000_0000, *addr, *file_size, *memory_size, 0x1000] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
    }
    bytes.resize(usize::try_from(NOTES).unwrap(), 0);
    bytes.extend_from_slice(notes);
    bytes.resize(usize::try_from(CODE).unwrap(), 0);
    bytes.resize(usize::try_from(CODE + CODE_SIZE).unwrap(), 0xF4);
    bytes
}

/// A kernel of one segment at 16 MiB with a little bss, and Linux's order of notes.
fn elf() -> Vec<u8> {
    let notes = [note(b"Linux\0", 0x101, b"x"), note(b"Xen\0", 18, &0x0100_0010u64.to_le_bytes())].concat();
    let size = notes.len() as u64;
    elf_with(&[(1, CODE, 16 * MIB, CODE_SIZE, 0x2000), (4, NOTES, 0, size, size)], &notes)
}

/// A bzImage of one setup sector after the boot sector and 4 KiB of kernel.
fn bzimage() -> Vec<u8> {
    let hdr = setup_header {
        setup_sects: 1,
        boot_flag: 0xAA55,
        jump: 0x6AEB,
        header: 0x5372_6448,
        version: 0x20F,
        loadflags: 1,
        syssize: 0x100,
        initrd_addr_max: 0x7FFF_FFFF,
        kernel_alignment: 0x20_0000,
        relocatable_kernel: 1,
        xloadflags: 1,
        cmdline_size: 2047,
        pref_address: 16 * MIB,
        init_size: 0x10_0000,
        ..Default::default()
    };
    let params = boot_params { hdr, ..Default::default() };
    let mut bytes = params.as_slice()[..1024].to_vec();
    bytes.resize(1024 + 0x1000, 0xF4);
    bytes
}

fn edit_bzimage(edit: impl Fn(&mut setup_header)) -> Vec<u8> {
    let mut bytes = bzimage();
    let mut params = boot_params::default();
    params.as_mut_slice()[..1024].copy_from_slice(&bytes[..1024]);
    let mut header = params.hdr;
    edit(&mut header);
    params.hdr = header;
    bytes[..1024].copy_from_slice(&params.as_slice()[..1024]);
    bytes
}

fn message(result: Result<LoadedKernel, BootError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn elf_goes_to_its_place() {
    let (mem, ram) = machine(64);
    let kernel = load_kernel(&mem, &file(&elf()), &ram).unwrap();
    assert_eq!(kernel.entry, Entry::Pvh { addr: 0x0100_0010 });
    assert_eq!((kernel.highest, kernel.initrd_limit), (16 * MIB + 0x2000, 64 * MIB));
    let at = |addr: u64| mem.read_obj::<u8>(GuestAddress(addr)).unwrap();
    assert_eq!((at(16 * MIB), at(16 * MIB + CODE_SIZE - 1), at(16 * MIB + CODE_SIZE)), (0xF4, 0xF4, 0));
}

#[test]
fn kinds_are_told_by_their_headers() {
    assert_eq!(Kernel::identify(&file(&elf())).unwrap(), KernelKind::Elf);
    assert_eq!(Kernel::identify(&file(&bzimage())).unwrap(), KernelKind::BzImage);
    assert!(message(load(b"\x1f\x8b\x08\0\0\0\0\0\0", 64)).contains("gzip"));
    assert!(message(load(b"070701000000000000", 64)).contains("initrd"));
    assert!(message(load(b"", 64)).contains("fewer than 8 bytes"));
}

#[test]
fn elf_without_pvh_note_says_what_to_do() {
    let plain = elf_with(&[(1, CODE, 16 * MIB, CODE_SIZE, CODE_SIZE)], &[]);
    assert!(message(load(&plain, 64)).contains("CONFIG_PVH"));
    let other = note(b"GNU\0", 18, &[0; 8]);
    let size = other.len() as u64;
    let headers = [(1, CODE, 16 * MIB, CODE_SIZE, CODE_SIZE), (4, NOTES, 0, size, size)];
    assert!(matches!(load(&elf_with(&headers, &other), 64), Err(BootError::NoPvhNote)));
}

#[test]
fn damaged_elf_files_have_clear_errors() {
    let overlap = [(1, CODE, 16 * MIB, 0x800, 0x2000), (1, CODE, 16 * MIB + 0x1000, 0x800, 0x800)];
    assert!(matches!(load(&elf_with(&overlap, &[]), 64), Err(BootError::OverlappingSegments { .. })));
    let low = [(1, CODE, 0x8000, 0x800, 0x800)];
    assert!(matches!(load(&elf_with(&low, &[]), 64), Err(BootError::TooLow { start: 0x8000 })));
    let wrapping = [(1, CODE, u64::MAX - 5, 0x10, 0x10)];
    assert!(message(load(&elf_with(&wrapping, &[]), 64)).contains("beyond all addresses"));
    let bigger_in_file = [(1, CODE, 16 * MIB, 0x800, 0x400)];
    assert!(message(load(&elf_with(&bigger_in_file, &[]), 64)).contains("larger in the file"));
    let huge = [(1, CODE, 16 * MIB, 0x800, 1 << 40)];
    assert!(message(load(&elf_with(&huge, &[]), 64)).contains("more memory"));
    let nothing = [(4, NOTES, 0, 0, 0)];
    assert!(message(load(&elf_with(&nothing, &[]), 64)).contains("nothing to load"));
    let outside = note(b"Xen\0", 18, &[0; 4]);
    let headers = [(1, CODE, 16 * MIB, 0x800, 0x800), (4, NOTES, 0, 20, 20)];
    assert!(message(load(&elf_with(&headers, &outside), 64)).contains("in no segment"));
    let cut = &elf()[..0x1200];
    assert!(message(load(cut, 64)).contains("cut short"));
    let mut arm = elf();
    arm[18] = 183;
    assert!(message(load(&arm, 64)).contains("another processor"));
}

#[test]
fn bzimage_goes_to_its_preferred_place_or_lower() {
    let (mem, ram) = machine(64);
    let kernel = load_kernel(&mem, &file(&bzimage()), &ram).unwrap();
    let Entry::Linux64 { addr, setup_header } = &kernel.entry else { panic!("{kernel:?}") };
    assert_eq!((*addr, kernel.highest, kernel.cmdline_limit), (16 * MIB + 0x200, 17 * MIB, 2047));
    assert_eq!({ setup_header.code32_start }, 0x100_0000);
    assert_eq!(mem.read_obj::<u8>(GuestAddress(*addr)).unwrap(), 0xF4);
    let small = load(&bzimage(), 8).unwrap();
    assert!(matches!(small.entry, Entry::Linux64 { addr: 0x20_0200, .. }));
    let fixed = edit_bzimage(|header| header.relocatable_kernel = 0);
    assert!(matches!(load(&fixed, 8), Err(BootError::KernelTooLarge { needed: 0x110_0000, .. })));
}

#[test]
fn unusable_bzimages_have_clear_errors() {
    let unpacks_too_large = edit_bzimage(|header| header.init_size = 0x8000_0000);
    assert!(matches!(load(&unpacks_too_large, 64), Err(BootError::KernelTooLarge { .. })));
    assert!(message(load(&edit_bzimage(|header| header.version = 0x20A), 64)).contains("2.12"));
    assert!(message(load(&edit_bzimage(|header| header.xloadflags = 0), 64)).contains("32-bit"));
    assert!(message(load(&edit_bzimage(|header| header.loadflags = 0), 64)).contains("zImage"));
    assert!(message(load(&edit_bzimage(|header| header.syssize = 0), 64)).contains("size field"));
    assert!(message(load(&edit_bzimage(|header| header.boot_flag = 0), 64)).contains("signature"));
    assert!(message(load(&bzimage()[..3000], 64)).contains("cut short"));
    assert!(message(load(&bzimage()[..0x220], 64)).contains("setup header"));
    let odd = edit_bzimage(|header| (header.kernel_alignment, header.pref_address) = (3, u64::MAX));
    assert!(matches!(load(&odd, 64), Err(BootError::KernelTooLarge { .. })));
}

#[test]
fn initrd_lies_high_and_page_aligned() {
    let (mem, ram) = machine(64);
    let kernel = load_kernel(&mem, &file(&elf()), &ram).unwrap();
    let span = load_initrd(&mem, &file(&[7; 5000]), &kernel).unwrap();
    assert_eq!(span, InitrdSpan { addr: 0x400_0000 - 0x2000, size: 5000 });
    assert_eq!(mem.read_obj::<u8>(GuestAddress(u64::from(span.addr) + 4999)).unwrap(), 7);
    let limited = LoadedKernel { initrd_limit: 0x300_0000, ..kernel.clone() };
    assert_eq!(load_initrd(&mem, &file(&[7; 4096]), &limited).unwrap().addr, 0x2FF_F000);
    assert!(matches!(load_initrd(&mem, &file(&[]), &kernel), Err(BootError::EmptyInitrd)));
    let tight = LoadedKernel { highest: 0x3FF_F001, ..kernel.clone() };
    let error = load_initrd(&mem, &file(&[7; 10]), &tight).unwrap_err();
    assert!(error.to_string().contains("does not fit"), "{error}");
    let sparse = tempfile::tempfile().unwrap();
    sparse.set_len(1 << 40).unwrap();
    assert!(matches!(load_initrd(&mem, &sparse, &kernel), Err(BootError::InitrdTooLarge { .. })));
}

#[test]
fn cmdline_is_bounded_and_ends_in_nul() {
    let (mem, ram) = machine(64);
    let kernel = load_kernel(&mem, &file(&bzimage()), &ram).unwrap();
    write_cmdline(&mem, b"console=ttyS0", &kernel).unwrap();
    let mut text = [1; 14];
    mem.read_slice(&mut text, GuestAddress(CMDLINE)).unwrap();
    assert_eq!(&text, b"console=ttyS0\0");
    assert!(write_cmdline(&mem, &[b'x'; 2047], &kernel).is_ok());
    let error = write_cmdline(&mem, &[b'x'; 2048], &kernel).unwrap_err();
    assert!(matches!(error, BootError::CmdlineTooLong { length: 2048, limit: 2047 }));
    assert!(matches!(write_cmdline(&mem, b"a\0b", &kernel), Err(BootError::CmdlineHasNul)));
}

#[test]
fn pvh_start_info_is_complete() {
    let (mem, ram) = machine(3072);
    let initrd = Some(InitrdSpan { addr: 0x7000_0000, size: 77 });
    write_pvh_start_info(&mem, &StartInfo { ram: &ram, rsdp: 0xE_0000, initrd }).unwrap();
    let start: hvm_start_info = mem.read_obj(GuestAddress(PVH_START_INFO)).unwrap();
    assert_eq!((start.magic, start.version, start.nr_modules), (0x336E_C578, 1, 1));
    assert_eq!(
        (start.cmdline_paddr, start.rsdp_paddr, start.modlist_paddr),
        (CMDLINE, 0xE_0000, PVH_MODLIST)
    );
    let module: hvm_modlist_entry = mem.read_obj(GuestAddress(start.modlist_paddr)).unwrap();
    assert_eq!((module.paddr, module.size), (0x7000_0000, 77));
    let last = start.memmap_paddr + u64::from(start.memmap_entries - 1) * 24;
    let high: hvm_memmap_table_entry = mem.read_obj(GuestAddress(last)).unwrap();
    assert_eq!((high.addr, high.size, high.type_), (1 << 32, 1 << 30, 1));
}

#[test]
fn zero_page_is_complete() {
    let (mem, ram) = machine(64);
    let kernel = load_kernel(&mem, &file(&bzimage()), &ram).unwrap();
    let initrd = Some(InitrdSpan { addr: 0x300_0000, size: 77 });
    write_start(&mem, &kernel, &StartInfo { ram: &ram, rsdp: 0xE_0000, initrd }).unwrap();
    let params: boot_params = mem.read_obj(GuestAddress(ZERO_PAGE)).unwrap();
    let header = params.hdr;
    assert_eq!(({ params.acpi_rsdp_addr }, params.e820_entries), (0xE_0000, 7));
    assert_eq!(({ header.cmd_line_ptr }, header.type_of_loader), (0x2_0000, 0xFF));
    assert_eq!(({ header.ramdisk_image }, { header.ramdisk_size }), (0x300_0000, 77));
    assert_eq!({ params.e820_table[4].size }, 63 * MIB);
}

/// Walks the page tables as the processor would.
#[test]
fn page_tables_map_low_ram_onto_itself() {
    let (mem, ram) = machine(64);
    let info = StartInfo { ram: &ram, rsdp: 0, initrd: None };
    write_boot_params(&mem, &setup_header::default(), &info).unwrap();
    let entry = |table: u64, index: u64| mem.read_obj::<u64>(GuestAddress(table + index * 8)).unwrap();
    for addr in [0, 0x1234, 16 * MIB, 0x3FFF_FFFF, 0x4000_0000, 0x7FFF_FFFF] {
        let next = [addr >> 39 & 511, addr >> 30 & 511].into_iter().fold(BOOT_PML4, |table, index| {
            let next = entry(table, index);
            assert_eq!(next & 0xFFF, 3, "{addr:#x}");
            next & !0xFFF
        });
        let leaf = entry(next, addr >> 21 & 511);
        assert_eq!((leaf & 0x83, leaf & !0x1F_FFFF), (0x83, addr & !0x1F_FFFF), "{addr:#x}");
    }
    assert_eq!(entry(BOOT_PML4 + PAGE_SIZE, 2), 0, "nothing above low RAM");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn damage_never_panics(
        use_elf: bool,
        flips in prop::collection::vec((0usize..0x600, any::<u8>()), 0..6),
        keep in prop_oneof![Just(usize::MAX), 0usize..0x2000],
    ) {
        let mut bytes = if use_elf { elf() } else { bzimage() };
        for (place, value) in flips {
            bytes[place] = value;
        }
        bytes.truncate(keep);
        if let Ok(kernel) = load(&bytes, 32) {
            prop_assert!(kernel.highest <= 32 * MIB);
        }
    }

    #[test]
    fn noise_never_panics(magic in 0usize..3, noise in prop::collection::vec(any::<u8>(), 0..2000)) {
        let mut bytes = noise;
        let (place, word) = [(0, b"\x7fELF"), (0x202, b"HdrS"), (0, b"MZ\0\0")][magic];
        if let Some(target) = bytes.get_mut(place..place + 4) {
            target.copy_from_slice(word);
        }
        // Noise behind a magic number may even make a kernel of sorts; it must only never panic or hang.
        drop(load(&bytes, 4));
    }
}
