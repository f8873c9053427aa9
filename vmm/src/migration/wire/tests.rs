use std::convert::Infallible;

use proptest::prelude::*;

use super::frame::{HEADER, Header, Kind};
use super::*;

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
            .add::<Infallible>(*start, |to| {
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
    vec![
        Message::Hello(Hello { format: FORMAT, oldest: OLDEST_FORMAT, session: session.clone(), facts }),
        Message::Welcome { format: FORMAT },
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

#[test]
fn neighbours_of_one_kind_are_one_run_and_zeroes_take_no_bytes() {
    let batch = batch(&[(0, 0), (0x1000, 0), (0x2000, 1), (0x3000, 2), (0x9000, 3)]);
    let runs: Vec<_> =
        batch.runs().map(|(run, bytes)| (run.start, run.pages, run.zero, bytes.len())).collect();
    assert_eq!(runs, [(0, 2, true, 0), (0x2000, 2, false, 2 * PAGE), (0x9000, 1, false, PAGE)]);
    let mut batch = batch;
    assert_eq!(batch.add(0xa000, |_| Err("cannot be read")), Err("cannot be read"));
    assert_eq!(batch.runs().count(), 3);
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
        kind in 0..16u16,
        payload in prop::collection::vec(any::<u8>(), 0..200),
        noise in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let _ = Reader::new(noise.as_slice()).read();
        let Some(kind) = (1..15u16).find(|known| *known == kind) else { return Ok(()) };
        let kind = match kind {
            1 => Kind::Hello, 2 => Kind::Welcome, 3 => Kind::Refused, 4 => Kind::Pages, 5 => Kind::Round,
            6 => Kind::RoundTaken, 7 => Kind::State, 8 => Kind::Ready, 9 => Kind::Go, 10 => Kind::Running,
            11 => Kind::Failed, 12 => Kind::Ask, 13 => Kind::Fate, _ => Kind::Settled,
        };
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
