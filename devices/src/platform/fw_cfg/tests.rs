use std::sync::Arc;

use ram::Ram;
use vm_memory::{Bytes, GuestAddress};

use super::super::testing::{hammer, read8};
use super::*;

const RAM: usize = 8 << 20;
const REQUEST: u64 = 0x1000;
const BUFFER: u64 = 0x2000;

fn device() -> FwCfg {
    let ram = Ram::from_ranges(&[(GuestAddress(0), RAM)]).unwrap();
    let items = vec![
        FwCfgItem::cpu_count(4),
        FwCfgItem::max_cpus(300),
        FwCfgItem::File("etc/b".to_owned(), b"second".to_vec()),
        FwCfgItem::File("etc/a".to_owned(), b"first".to_vec()),
        FwCfgItem::boot_order(&["/pci@i0cf8/scsi@3".to_owned()]),
        FwCfgItem::Writable("etc/w".to_owned(), vec![0; 16]),
    ];
    FwCfg::new(items, Arc::new(ram)).unwrap()
}

impl FwCfg {
    fn read_item(&self, key: u16, length: usize) -> Vec<u8> {
        let _ = BusDevice::write(self, SELECTOR, &key.to_le_bytes());
        (0..length).map(|_| read8(self, DATA)).collect()
    }

    /// Does a DMA request and gives back its control field.
    fn dma(&self, control: u32, length: u32, address: u64) -> u32 {
        let mut request = control.to_be_bytes().to_vec();
        request.extend(length.to_be_bytes());
        request.extend(address.to_be_bytes());
        self.ram.write_slice(&request, GuestAddress(REQUEST)).unwrap();
        let _ = self.write(DMA_HIGH, &[0; 4]);
        let _ = self.write(DMA_LOW, &u32::try_from(REQUEST).unwrap().to_be_bytes());
        let mut outcome = [0u8; 4];
        self.ram.read_slice(&mut outcome, GuestAddress(REQUEST)).unwrap();
        u32::from_be_bytes(outcome)
    }

    fn buffer(&self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.ram.read_slice(&mut bytes, GuestAddress(BUFFER)).unwrap();
        bytes
    }

    fn fill_buffer(&self) {
        self.ram.write_slice(&[0xee; 64], GuestAddress(BUFFER)).unwrap();
    }
}

#[test]
fn signature_features_and_counts() {
    let device = device();
    assert_eq!(device.read_item(0x00, 6), *b"QEMU\0\0");
    assert_eq!(device.read_item(0x01, 4), [3, 0, 0, 0]);
    assert_eq!(device.read_item(0x05, 2), [4, 0]);
    assert_eq!(device.read_item(0x0f, 2), 300u16.to_le_bytes());
    assert_eq!(device.read_item(0x3fff, 2), [0, 0]);
    let mut signature = [0u8; 8];
    device.read(DMA_HIGH, &mut signature);
    assert_eq!(signature, *b"QEMU CFG");
    device.read(DMA_LOW, &mut signature[..4]);
    assert_eq!(&signature[..4], b" CFG");
}

#[test]
fn files_are_listed_by_name_with_their_keys() {
    let device = device();
    let directory = device.read_item(0x19, 4 + 4 * 64);
    assert_eq!(directory[..4], 4u32.to_be_bytes());
    let entry = |index: usize| {
        let entry = &directory[4 + index * 64..][..64];
        let size = u32::from_be_bytes(entry[..4].try_into().unwrap());
        let key = u16::from_be_bytes(entry[4..6].try_into().unwrap());
        let name = String::from_utf8(entry[8..].to_vec()).unwrap();
        (size, key, name.trim_end_matches('\0').to_owned())
    };
    assert_eq!(entry(0), (18, 0x20, "bootorder".to_owned()));
    assert_eq!(entry(1), (5, 0x21, "etc/a".to_owned()));
    assert_eq!(entry(2), (6, 0x22, "etc/b".to_owned()));
    assert_eq!(device.read_item(0x20, 18), b"/pci@i0cf8/scsi@3\0");
    assert_eq!(device.read_item(0x21, 7), b"first\0\0");
}

#[test]
fn wide_data_reads_go_on_in_the_item() {
    let device = device();
    assert_eq!(device.read_item(0x22, 1), b"s");
    let mut data = [0u8; 4];
    device.read(DATA, &mut data);
    assert_eq!(data, *b"econ");
    device.read(DATA, &mut data);
    assert_eq!(data, *b"d\0\0\0");
}

#[test]
fn dma_selects_skips_and_reads() {
    let device = device();
    device.fill_buffer();
    assert_eq!(device.dma(0x0021_0008 | 4, 2, 0), 0, "select and skip");
    assert_eq!(device.dma(2, 2, BUFFER), 0);
    assert_eq!(device.buffer(3), [b'r', b's', 0xee]);
    assert_eq!(device.dma(2, 4, BUFFER), 0);
    assert_eq!(device.buffer(5), [b't', 0, 0, 0, 0xee], "zeroes follow the end");
    assert_eq!(device.dma(0x0022_000a, 6, BUFFER), 0, "select and read");
    assert_eq!(device.buffer(6), *b"second");
}

#[test]
fn dma_writes_are_refused() {
    let device = device();
    assert_eq!(device.dma(0x0021_0008 | 0x10, 5, BUFFER), 1);
    assert_eq!(device.read_item(0x21, 5), b"first");
}

#[test]
fn dma_outside_ram_or_beyond_reason_is_refused() {
    let device = device();
    let end = u64::try_from(RAM).unwrap();
    let read_first = 0x0021_000a;
    for address in [end - 3, end, u64::MAX, u64::MAX - 3, 1 << 63] {
        assert_eq!(device.dma(read_first, 5, address), 1, "{address:#x}");
    }
    assert_eq!(device.dma(read_first, u32::MAX, 0), 1);
    assert_eq!(device.dma(read_first, 5 + (1 << 20) + 1, BUFFER), 1, "too many zeroes");
    assert_eq!(device.dma(read_first, 5 + (1 << 20), BUFFER), 0);
    assert_eq!(device.dma(read_first, 0, u64::MAX), 0, "nothing to read");
}

#[test]
fn dma_may_overwrite_its_own_request() {
    let device = device();
    assert_eq!(device.dma(0x0021_000a, 16, REQUEST), 0);
}

#[test]
fn requests_outside_ram_are_dropped() {
    let device = device();
    for half in [[0xff; 4], [0x00, 0x7f, 0xff, 0xf8]] {
        let _ = device.write(DMA_HIGH, &half);
        let _ = device.write(DMA_LOW, &half);
    }
    assert_eq!(device.save().dma_high, 0, "the upper half is used once");
}

#[test]
fn impossible_items_are_refused() {
    let make = |items| Items::new(items).map(|_| ());
    let file = |name: &str| FwCfgItem::File(name.to_owned(), vec![]);
    assert_eq!(make(vec![file("a"), file("a")]), Err(ItemError::SameName("a".to_owned())));
    assert_eq!(
        make(vec![FwCfgItem::cpu_count(1), FwCfgItem::cpu_count(2)]),
        Err(ItemError::SameKey(Key::CpuCount))
    );
    for name in ["", "a\0b", &"x".repeat(56)] {
        assert_eq!(make(vec![file(name)]), Err(ItemError::Name(name.to_owned())));
    }
    assert_eq!(make(vec![file(&"x".repeat(55))]), Ok(()));
    let many = (0..=FILES_MAX).map(|index| file(&index.to_string())).collect();
    assert_eq!(make(many), Err(ItemError::TooManyFiles(FILES_MAX + 1)));
}

#[test]
fn state_survives_a_round_trip() {
    let old = device();
    old.read_item(0x22, 3);
    let _ = old.write(DMA_HIGH, &[1, 2, 3, 4]);
    let new = device();
    new.restore(&old.save()).unwrap();
    assert_eq!(new.save(), old.save());
    assert_eq!(read8(&new, DATA), b'o');
    assert!(new.restore(&State { version: 3, ..old.save() }).is_err());
}

#[test]
fn hostile_states_and_accesses_are_harmless() {
    let device = device();
    hammer(&device, SIZE);
    let written = [("etc/a".to_owned(), vec![1]), ("etc/w".to_owned(), vec![1; 99])].into();
    device
        .restore(&State { version: 1, key: 0xffff, offset: u64::MAX, dma_high: u32::MAX, written })
        .unwrap();
    assert!(device.save().written.is_empty(), "a state of other files");
    assert_eq!(read8(&device, DATA), 0);
    hammer(&device, SIZE);
    for control in 0..32 {
        for length in [0, 1, u32::MAX] {
            device.dma(control, length, BUFFER);
            device.dma(control | 0x0021_0000, length, u64::MAX);
        }
    }
}

#[test]
fn a_file_that_is_there_to_be_written_takes_what_fits() {
    let (device, writable, other) = (device(), 0x23_u32, 0x21_u32);
    let write = |key: u32, length| device.dma(key << 16 | SELECT_AND_WRITE, length, BUFFER);
    device.ram.write_slice(&[0xa5; 32], GuestAddress(BUFFER)).unwrap();
    assert_eq!(write(other, 4), 1, "it is read-only");
    assert_eq!(write(writable, 17), 1, "it does not grow");
    assert!(device.save().written.is_empty());
    assert_eq!(write(writable, 12), 0);
    assert_eq!(device.dma(1 << 4, 4, BUFFER), 0, "the rest");
    assert_eq!(device.dma(1 << 4, 1, BUFFER), 1, "there is no more room");
    assert_eq!(write(writable, 4), 0, "again");
    assert_eq!(device.dma(writable << 16 | SELECT_AND_WRITE, 4, u64::MAX), 1, "from nowhere");
    let key = u16::try_from(writable).unwrap();
    assert_eq!(device.read_item(key, 18), [[0xa5; 16].as_slice(), &[0; 2]].concat());
    let new = super::tests::device();
    new.restore(&device.save()).unwrap();
    assert_eq!(new.save(), device.save());
    assert_eq!(new.read_item(key, 1), [0xa5]);
}

const SELECT_AND_WRITE: u32 = 1 << 3 | 1 << 4;
