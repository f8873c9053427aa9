//! Any messages of the other side of a migration. The checksums are made right here, since no search would find them:
//! what is behind them is what has to be checked.

#![no_main]

use libfuzzer_sys::fuzz_target;
use vmm::migration::wire::{Message, Reader, Writer};

/// Frames out of what is left of `data`: kind, length and payload of each.
fn frames(mut data: &[u8]) -> Vec<u8> {
    let mut stream = Vec::new();
    for number in 0u64.. {
        let Some((head, rest)) = data.split_first_chunk::<4>() else { break };
        let [kind, _, low, high] = *head;
        let len = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (payload, rest) = rest.split_at(len);
        data = rest;
        let mut frame = b"KVMM".to_vec();
        frame.extend([kind % 36, 0, 0, 0]);
        frame.extend(number.to_le_bytes());
        frame.extend(u32::try_from(len).unwrap_or_default().to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&frame);
        crc.update(payload);
        frame.extend(crc.finalize().to_le_bytes());
        stream.extend(frame);
        stream.extend_from_slice(payload);
    }
    stream
}

fuzz_target!(|data: &[u8]| {
    let Some((raw, data)) = data.split_first() else { return };
    let stream = if raw & 1 == 0 { frames(data) } else { data.to_vec() };
    let mut reader = Reader::new(stream.as_slice());
    let mut said = Vec::new();
    let mut writer = Writer::new(&mut said);
    let mut messages = Vec::new();
    while let Ok(message) = reader.read() {
        let batch = match &message {
            Message::Pages(batch) => Some(batch),
            Message::Blocks(blocks) | Message::Samples(blocks) => Some(&blocks.batch),
            _ => None,
        };
        if let Some(batch) = batch {
            for (run, bytes) in batch.runs() {
                assert!(run.zero == bytes.is_empty() && run.pages > 0);
                assert!(run.zero || u64::try_from(bytes.len()) == Ok(run.bytes()));
            }
        }
        writer.write(&message).expect("what was read can be written");
        messages.push(message);
    }
    // What is understood is understood again.
    let mut reader = Reader::new(said.as_slice());
    for message in messages {
        assert_eq!(reader.read().expect("what was written can be read"), message);
    }
});
