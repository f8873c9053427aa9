//! Frames in all pieces that a stream can come in, and connections that break.

use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::testing::{io_buf, settle, socket_buffer, wait_readable};

const HEADER: usize = 12;

fn pair() -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (Stream::from_socket(ours), theirs)
}

fn frame(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at % 251).unwrap() ^ seed).collect()
}

fn on_the_wire(frame: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    bytes
}

/// Receives into two buffers, the first of `split` bytes.
fn receive(queue: &mut dyn FrameQueue, split: usize) -> io::Result<Vec<u8>> {
    let mut memory = vec![0xee; 70_000];
    let (first, second) = memory.split_at_mut(split);
    let len = queue.receive(&[io_buf(first), io_buf(second)])?;
    memory.truncate(len);
    assert_eq!(memory.drain(..HEADER).collect::<Vec<_>>(), [0; HEADER]);
    Ok(memory)
}

fn send(queue: &mut dyn FrameQueue, frame: &[u8], split: usize) -> io::Result<()> {
    let mut memory = vec![0xee; HEADER];
    memory.extend_from_slice(frame);
    let (first, second) = memory.split_at_mut(split);
    queue.send(&[io_buf(first), io_buf(second)])
}

fn would_block<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn frames_come_out_whole_however_the_stream_is_cut(
        lens in proptest::collection::vec(0_usize..3000, 1..8),
        cuts in proptest::collection::vec(1_usize..2000, 1..20),
        split in 0_usize..100,
    ) {
        let (stream, mut theirs) = pair();
        let mut queue = stream.open_queue(0).unwrap();
        let frames = lens.iter().zip(0..).map(|(len, seed)| frame(*len, seed)).collect::<Vec<_>>();
        let wire = frames.iter().flat_map(|frame| on_the_wire(frame)).collect::<Vec<_>>();
        let (mut received, mut at) = (Vec::new(), 0);
        for cut in cuts.iter().cycle() {
            let end = (at + cut).min(wire.len());
            theirs.write_all(&wire[at..end]).unwrap();
            at = end;
            loop {
                match receive(&mut *queue, split) {
                    Ok(frame) => received.push(frame),
                    Err(error) => {
                        prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        break;
                    }
                }
            }
            // A queue that is stopped and started goes on where it was.
            queue = stream.open_queue(0).unwrap();
            if at == wire.len() {
                break;
            }
        }
        let good = frames.iter().filter(|frame| frame.len() >= 14).cloned().collect::<Vec<_>>();
        prop_assert_eq!(stream.dropped(), u64::try_from(frames.len() - good.len()).unwrap());
        prop_assert_eq!(received, good);
    }

    #[test]
    fn garbage_is_no_more_than_dropped(
        bytes in proptest::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..4000),
    ) {
        let (stream, mut theirs) = pair();
        let mut queue = stream.open_queue(0).unwrap();
        theirs.write_all(&bytes).unwrap();
        drop(theirs);
        let mut frames = 0;
        while stream.is_connected() {
            match receive(&mut *queue, 20) {
                Ok(frame) => {
                    frames += 1;
                    prop_assert!(frame.len() >= 14 && frame.len() < bytes.len());
                }
                Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            prop_assert!(frames <= bytes.len());
        }
    }

    #[test]
    fn a_slow_peer_gets_every_frame_once(
        lens in proptest::collection::vec(14_usize..60_000, 1..12),
        chunk in 1_usize..50_000,
        split in 0_usize..40,
    ) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        socket_buffer(&ours, 4096);
        let stream = Stream::from_socket(ours);
        let mut queue = stream.open_queue(0).unwrap();
        let frames = lens.iter().zip(0..).map(|(len, seed)| frame(*len, seed)).collect::<Vec<_>>();
        let mut wire = Vec::new();
        for frame in &frames {
            while let Err(error) = send(&mut *queue, frame, split) {
                prop_assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                let mut bytes = vec![0; chunk];
                let count = theirs.read(&mut bytes).unwrap();
                wire.extend_from_slice(&bytes[..count]);
            }
        }
        drop((queue, stream));
        theirs.read_to_end(&mut wire).unwrap();
        let expected = frames.iter().flat_map(|frame| on_the_wire(frame)).collect::<Vec<_>>();
        prop_assert!(wire == expected);
    }
}

#[test]
fn what_does_not_fit_is_cut_off_and_the_next_frame_is_found() {
    let (stream, mut theirs) = pair();
    let mut queue = stream.open_queue(0).unwrap();
    theirs.write_all(&[on_the_wire(&frame(1000, 1)), on_the_wire(&frame(20, 2))].concat()).unwrap();
    let mut small = [0; 100];
    assert_eq!(queue.receive(&[io_buf(&mut small)]).unwrap(), 100);
    assert_eq!(small[HEADER..], frame(1000, 1)[..88]);
    assert_eq!(receive(&mut *queue, 5).unwrap(), frame(20, 2));
    assert!(would_block(&receive(&mut *queue, 5)));
}

#[test]
fn lengths_that_no_frame_has_end_the_connection() {
    for prefix in [u32::MAX, 70_000, 0x4745_5420] {
        let (stream, mut theirs) = pair();
        let mut queue = stream.open_queue(0).unwrap();
        theirs.write_all(&prefix.to_be_bytes()).unwrap();
        assert!(would_block(&receive(&mut *queue, 12)));
        assert!(!stream.is_connected() && stream.dropped() == 1);
        let lost = send(&mut *queue, &frame(60, 0), 12).map_err(|error| error.kind());
        assert_eq!(lost, Err(io::ErrorKind::NotConnected));
    }
    let (stream, theirs) = pair();
    let mut queue = stream.open_queue(0).unwrap();
    for len in [0, 13, 70_000] {
        let refused = send(&mut *queue, &frame(len, 0), 0).map_err(|error| error.kind());
        assert_eq!(refused, Err(io::ErrorKind::InvalidInput), "{len}");
    }
    drop(theirs);
    settle();
    assert!(send(&mut *queue, &frame(60, 0), 12).is_err());
    assert!(!stream.is_connected(), "no signal, no panic");
}

#[test]
fn a_device_that_is_reset_does_not_disturb_the_stream() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    socket_buffer(&ours, 4096);
    let stream = Stream::from_socket(ours);
    let mut queue = stream.open_queue(0).unwrap();
    let mut whole = 0;
    while send(&mut *queue, &frame(30_000, 1), 12).is_ok() {
        whole += 1;
    }
    // The blocked frame never comes again; another does.
    drop(queue);
    let mut queue = stream.open_queue(0).unwrap();
    let reader = thread::spawn(move || {
        let mut wire = Vec::new();
        theirs.read_to_end(&mut wire).unwrap();
        wire
    });
    while let Err(error) = send(&mut *queue, &frame(100, 2), 12) {
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        thread::sleep(Duration::from_millis(1));
    }
    drop((queue, stream));
    let wire = reader.join().unwrap();
    let mut expected = on_the_wire(&frame(30_000, 1)).repeat(whole + 1);
    if wire.len() < expected.len() {
        // Nothing of the last one was sent.
        expected = on_the_wire(&frame(30_000, 1)).repeat(whole);
    }
    expected.extend(on_the_wire(&frame(100, 2)));
    assert!(wire == expected, "{} {}", wire.len(), expected.len());
}

#[test]
fn a_peer_that_comes_back_is_found_again_and_rings() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer.sock");
    assert!(Stream::connect(&path).is_err());
    let listener = crate::socket::listen(&path).unwrap();
    let stream = Stream::connect(&path).unwrap();
    let (mut rx, mut tx) = (stream.open_queue(0).unwrap(), stream.open_queue(0).unwrap());
    let fd = rx.fd().as_raw_fd();
    for round in 0..3 {
        let (mut theirs, _) = listener.accept().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !stream.is_connected() {
            assert!(Instant::now() < deadline);
            thread::sleep(Duration::from_millis(5));
        }
        theirs.write_all(&on_the_wire(&frame(64, round))).unwrap();
        assert!(wait_readable(rx.fd(), Duration::from_secs(60)));
        assert_eq!(receive(&mut *rx, 12).unwrap(), frame(64, round));
        assert!(would_block(&receive(&mut *rx, 12)) && !wait_readable(rx.fd(), Duration::ZERO));
        send(&mut *tx, &frame(99, round), 12).unwrap();
        let mut wire = [0; 103];
        theirs.read_exact(&mut wire).unwrap();
        assert_eq!(wire[4..], frame(99, round));
        // Half a frame, and it is gone.
        theirs.write_all(&on_the_wire(&frame(64, 9))[..30]).unwrap();
        drop(theirs);
        assert!(wait_readable(rx.fd(), Duration::from_secs(60)));
        assert!(would_block(&receive(&mut *rx, 12)));
        assert_eq!(rx.fd().as_raw_fd(), fd, "whoever watches it need not know");
    }
}

#[test]
fn an_edge_tells_of_frames_that_came_while_nobody_looked() {
    let (stream, mut theirs) = pair();
    let mut queue = stream.open_queue(0).unwrap();
    let watch = crate::testing::Edge::new(queue.fd());
    for round in 0..3 {
        theirs.write_all(&on_the_wire(&frame(60, round))).unwrap();
        assert!(watch.fires(), "round {round}");
        assert_eq!(receive(&mut *queue, 12).unwrap(), frame(60, round));
        assert!(would_block(&receive(&mut *queue, 12)));
        assert!(!watch.fires());
    }
    drop(OwnedFd::from(theirs));
    settle();
    assert!(watch.fires());
}
