use std::collections::BTreeSet;
use std::convert::Infallible;

use proptest::prelude::*;

use super::frame::{HEADER, Header, Kind};
use super::*;
use crate::migration::storage::{Answer, Devices, Verdict};

const PAGE: usize = ram::PAGE;

fn written(messages: &[Message]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes);
    messages.iter().for_each(|message| writer.write(message).unwrap());
    bytes
}

fn batch(pages: &[(u64, u8)]) -> Batch {
    let mut batch = Batch::default();
    for (start, byte) in pages {
        batch
            .add::<Infallible>(*start, 1, |to| {
                to.fill(*byte);
                Ok(())
            })
            .unwrap();
    }
    batch
}

fn examples() -> Vec<Message> {
    let facts = [("memory".to_owned(), "\"much\"".to_owned())].into();
    let session = Session::new([7; 16]);
    let testimony = r#"{"host":"h","process":1,"namespace":[4,2],"path":"/run/x","file":[3,5]}"#;
    let testimony = serde_json::from_str(testimony).unwrap();
    vec![
        Message::Hello(Hello {
            format: FORMAT,
            oldest: OLDEST_FORMAT,
            session: session.clone(),
            connections: 4,
            facts,
        }),
        Message::Welcome(Welcome { format: FORMAT, connections: 2, key: Key::new([9; 16]), testimony }),
        Message::Refused("no".into()),
        Message::Pages(batch(&[(0, 0), (0x1000, 0), (0x2000, 1), (0x3000, 2), (0x9000, 3)])),
        Message::Round(Round { number: 1 }),
        Message::RoundTaken(Round { number: 1 }),
        Message::State(vec![1; 1 << 20]),
        Message::Ready,
        Message::Go,
        Message::Running,
        Message::Failed("disk".into()),
        Message::Ask(session),
        Message::Fate(Fate::Never),
        Message::Settled,
        Message::Join(Key::new([9; 16])),
        Message::Joined,
        Message::Holds(Piece { start: 1 << 32, words: vec![1, 0, u64::MAX], last: false }),
        Message::Lacks(Piece { start: 0, words: Vec::new(), last: true }),
        Message::Want(vec![0x1000, u64::MAX]),
        Message::Complete,
        Message::Alive,
        Message::Fetch(Some("id".into())),
        Message::Fetch(None),
        Message::File(FileHead { name: "sums".into(), bytes: 7 }),
        Message::Part(Part { offset: u64::MAX, bytes: vec![1, 2] }),
        Message::Behind,
        Message::Serve(Session::new([8; 16])),
        Message::Devices(Devices {
            host: "here".into(),
            secret: u64::MAX,
            added: Vec::new(),
            disks: Vec::new(),
        }),
        Message::DevicesTaken(vec![Answer { name: "d".into(), verdict: Verdict::CopyDifferences }]),
        Message::Blocks(Blocks { disk: 3, batch: batch(&[(0, 0), (0x1000, 4)]) }),
        Message::Samples(Blocks { disk: u32::MAX, batch: batch(&[(0x1000, 4)]) }),
    ]
}

#[test]
fn messages_arrive_as_they_were_sent() {
    let bytes = written(&examples());
    let mut reader = Reader::new(bytes.as_slice());
    for message in examples() {
        assert_eq!(reader.read().unwrap(), message);
    }
    assert!(matches!(reader.read(), Err(WireError::Lost(_))));
}

/// A message as the fuzz target `stream` takes it: kind, zero, length, payload.
fn seed(message: Message) -> Vec<u8> {
    let message = if let Message::State(_) = message { Message::State(b"{}".to_vec()) } else { message };
    let frame = written(&[message]);
    let (header, payload) = frame.split_at(HEADER);
    let length = u16::try_from(payload.len()).unwrap();
    [&[header[4], 0], &length.to_le_bytes(), payload].concat()
}

/// The kinds of the messages in a seed, behind its first byte.
fn kinds(mut seed: &[u8]) -> BTreeSet<u8> {
    let mut kinds = BTreeSet::new();
    while let [kind, _, low, high, rest @ ..] = seed {
        kinds.insert(*kind);
        seed = rest.get(usize::from(u16::from_le_bytes([*low, *high]))..).unwrap_or_default();
    }
    kinds
}

/// `UPDATE=1` writes the seed anew.
#[test]
fn all_kinds_of_messages_are_in_a_seed_of_the_fuzz_target() {
    let all: Vec<u8> = examples().into_iter().flat_map(seed).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus/stream/messages");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, [&[0], all.as_slice()].concat()).unwrap();
    }
    let there = kinds(std::fs::read(path).unwrap().get(1..).unwrap_or_default());
    assert!(there.is_superset(&kinds(&all)), "UPDATE=1 writes the seed anew");
}

#[test]
fn neighbours_of_one_kind_are_one_run_and_zeroes_take_no_bytes() {
    let batch = batch(&[(0, 0), (0x1000, 0), (0x2000, 1), (0x3000, 2), (0x9000, 3)]);
    let runs: Vec<_> =
        batch.runs().map(|(run, bytes)| (run.start, run.pages, run.zero, bytes.len())).collect();
    assert_eq!(runs, [(0, 2, true, 0), (0x2000, 2, false, 2 * PAGE), (0x9000, 1, false, PAGE)]);
    let mut batch = batch;
    assert_eq!(batch.add(0xa000, 2, |_| Err("cannot be read")), Err("cannot be read"));
    assert_eq!(batch.runs().count(), 3);
}

proptest! {
    /// Whichever pages are zero, and in however many pieces they are added.
    #[test]
    fn pages_come_out_of_a_batch_as_they_went_in(kinds in prop::collection::vec(0..3u8, 1..40), piece in 1..9usize) {
        let mut batch = Batch::default();
        let mut zeroes = 0;
        for (number, kinds) in (0u64..).zip(kinds.chunks(piece)) {
            let start = number * (piece * PAGE) as u64;
            let fill = |to: &mut [u8]| {
                to.chunks_mut(PAGE).zip(kinds).for_each(|(page, kind)| page.fill(*kind));
                Ok::<_, Infallible>(())
            };
            zeroes += batch.add(start, kinds.len(), fill).unwrap();
        }
        let mut seen = Vec::new();
        for (run, bytes) in batch.runs() {
            prop_assert_eq!(run.start, (seen.len() * PAGE) as u64);
            if run.zero {
                seen.extend((0..run.pages).map(|_| 0));
            } else {
                prop_assert_eq!(bytes.len() as u64, run.bytes());
                for page in bytes.chunks(PAGE) {
                    prop_assert!(page.iter().all(|byte| *byte == page[0]) && page[0] != 0);
                    seen.push(page[0]);
                }
            }
        }
        prop_assert_eq!(zeroes, kinds.iter().filter(|kind| **kind == 0).count() as u64);
        prop_assert_eq!(seen, kinds);
    }
}

#[test]
fn what_is_cut_doubled_or_altered_is_found() {
    let bytes = written(&[Message::Ready, Message::Round(Round { number: 7 })]);
    for cut in 0..bytes.len() {
        let mut reader = Reader::new(bytes.get(..cut).unwrap());
        let read: Vec<_> = (0..2).map_while(|_| reader.read().ok()).collect();
        assert_eq!(read.len(), usize::from(cut >= HEADER), "{cut}");
    }
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << bit;
            let mut reader = Reader::new(altered.as_slice());
            assert!((0..2).any(|_| reader.read().is_err()), "byte {at}, bit {bit}");
        }
    }
    let first = written(&[Message::Ready]);
    let doubled = [first.clone(), first].concat();
    let mut reader = Reader::new(doubled.as_slice());
    reader.read().unwrap();
    assert!(matches!(reader.read(), Err(WireError::OutOfOrder { seen: 0, expected: 1 })));
}

#[test]
fn a_frame_that_claims_to_be_long_takes_no_memory_for_it() {
    let longest = Kind::State.limit();
    let mut bytes = Header::over(Kind::State, 0, &[]).unwrap();
    bytes[16..20].copy_from_slice(&longest.to_le_bytes());
    assert!(matches!(Reader::new(bytes.as_slice()).read(), Err(WireError::Lost(_))));
    bytes[16..20].copy_from_slice(&(longest + 1).to_le_bytes());
    assert!(matches!(Reader::new(bytes.as_slice()).read(), Err(WireError::TooLong)));
    let mut bytes = Header::over(Kind::Ready, 0, &[]).unwrap();
    bytes[4] = 99;
    assert!(matches!(Reader::new(bytes.as_slice()).read(), Err(WireError::UnknownKind(99))));
    assert!(matches!(Reader::new(&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..]).read(), Err(WireError::Foreign)));
}

/// A frame of this kind with a right checksum, whatever its payload.
fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
    [&Header::over(kind, 0, &[payload]).unwrap()[..], payload].concat()
}

#[test]
fn runs_that_make_no_sense_are_refused() {
    let run = |start: u64, pages: u32, kind: u32| {
        [&start.to_le_bytes()[..], &pages.to_le_bytes(), &kind.to_le_bytes()].concat()
    };
    let payload = |count: u32, runs: &[Vec<u8>], data: usize| {
        [&count.to_le_bytes()[..], &runs.concat(), &vec![1; data]].concat()
    };
    let good = payload(2, &[run(0, 5, 0), run(0x8000, 1, 1)], PAGE);
    assert!(matches!(Reader::new(frame(Kind::Pages, &good).as_slice()).read(), Ok(Message::Pages(_))));
    for bad in [
        vec![],
        payload(u32::MAX, &[], 0),
        payload(2, &[run(0, 1, 0)], 0),
        payload(1, &[run(0, 0, 0)], 0),
        payload(1, &[run(1, 1, 0)], 0),
        payload(1, &[run(0, 1, 2)], PAGE),
        payload(1, &[run(u64::MAX - 0xfff, 1, 0)], 0),
        payload(1, &[run(0, 1, 1)], PAGE - 1),
        payload(1, &[run(0, 1, 0)], 1),
        payload(1, &[run(0, u32::MAX, 1)], PAGE),
        payload(1, &[run(0, 257, 1)], 257 * PAGE),
    ] {
        let bytes = frame(Kind::Pages, &bad);
        assert!(matches!(Reader::new(bytes.as_slice()).read(), Err(WireError::Senseless)), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn nothing_that_comes_is_too_much(
        kind in 0..48u16,
        payload in prop::collection::vec(any::<u8>(), 0..200),
        noise in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = Reader::new(noise.as_slice()).read();
        let Some(kind) = Kind::of(kind) else { return Ok(()) };
        let _ = Reader::new(frame(kind, &payload).as_slice()).read();
    }

    #[test]
    fn batches_come_out_as_they_went_in(pages in prop::collection::btree_map(0..40u64, 0..3u8, 0..40)) {
        let pages: Vec<_> = pages.into_iter().map(|(page, byte)| (page << 12, byte)).collect();
        let sent = batch(&pages);
        let bytes = written(&[Message::Pages(sent.clone())]);
        let Message::Pages(came) = Reader::new(bytes.as_slice()).read().unwrap() else { panic!("no pages") };
        prop_assert_eq!(&came, &sent);
        let mut seen = Vec::new();
        for (run, bytes) in came.runs() {
            for page in 0..u64::from(run.pages) {
                let at = usize::try_from(page).unwrap() * PAGE;
                seen.push((run.start + (page << 12), if run.zero { 0 } else { bytes[at] }));
            }
        }
        prop_assert_eq!(seen, pages);
    }
}

#[test]
fn of_somebody_who_is_not_known_nothing_but_a_greeting_is_read() {
    for message in examples() {
        let bytes = written(std::slice::from_ref(&message));
        let mut rest = bytes.as_slice();
        let read = Reader::new(&mut rest).read_greeting();
        match message {
            Message::Hello(_)
            | Message::Ask(_)
            | Message::Join(_)
            | Message::Serve(_)
            | Message::Fetch(_) => {
                assert_eq!(read.unwrap(), message);
            }
            _ => {
                assert!(matches!(read, Err(WireError::Unexpected(_))), "{read:?}");
                assert_eq!(rest.len(), bytes.len() - HEADER, "more than the header was read");
            }
        }
    }
}
