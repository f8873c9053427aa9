use std::sync::Arc;

use ram::Ram;

use super::super::wire::{Message, Reader};
use super::*;

fn ram() -> GuestRam {
    let ranges = [(GuestAddress(0), 600 * PAGE), (GuestAddress(1 << 30), 3 * PAGE)];
    Arc::new(Ram::from_ranges(&ranges).unwrap())
}

#[test]
fn memory_arrives_as_it_was_and_zeroes_take_next_to_nothing() {
    let (from, to) = (ram(), ram());
    for page in [0u64, 1, 300, 599] {
        from.write_slice(&vec![u8::try_from(page % 255 + 1).unwrap(); PAGE], GuestAddress(page << 12))
            .unwrap();
    }
    from.write_obj(7u8, GuestAddress((1 << 30) + 0x2fff)).unwrap();
    let mut bytes = Vec::new();
    let mut sender = Sender::new(Writer::new(&mut bytes), Vec::new(), None);
    let copied = sender.send(&from, &PageSet::all(&from), &|| false).unwrap();
    assert_eq!((copied.pages, copied.zero), (603, 598));
    assert!(copied.sent < 6 * PAGE_BYTES, "{}", copied.sent);
    let mut reader = Reader::new(bytes.as_slice());
    while let Ok(Message::Pages(batch)) = reader.read() {
        put(&to, &batch, true).unwrap();
    }
    // Zeroes over what was there.
    to.write_obj(1u8, GuestAddress(0x5000)).unwrap();
    let mut reader = Reader::new(bytes.as_slice());
    while let Ok(Message::Pages(batch)) = reader.read() {
        put(&to, &batch, false).unwrap();
    }
    let all = |ram: &GuestRam| {
        let (mut low, mut high) = (vec![0u8; 600 * PAGE], vec![0u8; 3 * PAGE]);
        ram.read_slice(&mut low, GuestAddress(0)).unwrap();
        ram.read_slice(&mut high, GuestAddress(1 << 30)).unwrap();
        (low, high)
    };
    assert!(all(&from) == all(&to));
    assert!(matches!(
        sender_of(&mut Vec::new()).send(&from, &PageSet::all(&from), &|| true),
        Err(CopyError::Cancelled)
    ));
}

fn sender_of(bytes: &mut Vec<u8>) -> Sender<&mut Vec<u8>> {
    Sender::new(Writer::new(bytes), Vec::new(), None)
}

#[test]
fn pages_that_are_not_in_memory_are_refused() {
    let ram = ram();
    for start in [600u64 << 12, (1 << 30) + 0x2000, u64::MAX << 12] {
        for (byte, fresh) in [(0u8, true), (0, false), (1, true)] {
            let mut batch = Batch::default();
            for page in 0..2 {
                let fill = |to: &mut [u8]| {
                    to.fill(byte);
                    Ok::<_, ()>(())
                };
                batch.add(start.wrapping_add(page << 12), 1, fill).unwrap();
            }
            assert!(put(&ram, &batch, fresh).is_err(), "{start:#x} {byte} {fresh}");
        }
    }
}
