//! Copies of disks that are written to meanwhile, against what the disk really is.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;
use crate::disk::{Completion, Disk, DiskError, DiskInfo, DiskQueue, Request, SubmitError};

const GRAINS: u64 = 70;
const SECTOR: u64 = 512;

/// A disk whose requests reach it piece by piece, when the test wants it so.
#[derive(Debug)]
struct SlowDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// A byte for each sector.
    sectors: Vec<u8>,
    /// Tokens, sectors that are yet to be written, and what with.
    begun: VecDeque<(u64, VecDeque<usize>, u8)>,
    over: VecDeque<u64>,
    fails: bool,
}

impl State {
    /// A piece of the request number `which` reaches the disk; when there is none left, it is over.
    fn step(&mut self, which: usize) {
        let Some(at) = which.checked_rem(self.begun.len()) else { return };
        let (_, left, byte) = &mut self.begun[at];
        if let Some(sector) = left.pop_front() {
            self.sectors[sector] = *byte;
        } else if let Some((token, ..)) = self.begun.remove(at) {
            self.over.push_back(token);
        }
    }
}

impl Disk for SlowDisk {
    fn info(&self) -> DiskInfo {
        DiskInfo {
            size_bytes: GRAINS * GRAIN,
            logical_block_size: 512,
            physical_block_size: 512,
            read_only: false,
            discard: None,
            write_zeroes: None,
            rotational: None,
            write_cache: false,
        }
    }

    fn open_queue(&self, _: u16) -> Result<Box<dyn DiskQueue>, DiskError> {
        Ok(Box::new(SlowQueue(Arc::clone(&self.0), std::io::stdin())))
    }

    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

struct SlowQueue(Arc<Mutex<State>>, std::io::Stdin);

impl DiskQueue for SlowQueue {
    fn submit(&mut self, request: Request, token: u64) -> Result<(), SubmitError> {
        let (range, byte) = match request {
            Request::Write { offset, bufs } => {
                let mut byte = [0];
                bufs.copy_out(&mut byte);
                (offset..offset + bufs.total_len(), byte[0])
            }
            Request::Discard { offset, len } | Request::WriteZeroes { offset, len, .. } => {
                (offset..offset + len, 0)
            }
            Request::Read { .. } | Request::Flush => (0..0, 0),
        };
        if range.end > GRAINS * GRAIN {
            return Err(SubmitError::OutOfRange { offset: range.start, len: 0, size: 0 });
        }
        let sectors = range.step_by(512).map(|at| usize::try_from(at / SECTOR).unwrap()).collect();
        self.0.lock().unwrap().begun.push_back((token, sectors, byte));
        Ok(())
    }

    fn flush_submissions(&mut self) {}

    fn completion_fd(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }

    fn acknowledge(&mut self) {}

    fn next_completion(&mut self) -> Option<Completion> {
        let mut state = self.0.lock().unwrap();
        let token = state.over.pop_front()?;
        Some(Completion { token, result: if state.fails { Err(std::io::Error::other("no")) } else { Ok(0) } })
    }

    fn in_flight(&self) -> usize {
        let state = self.0.lock().unwrap();
        state.begun.len() + state.over.len()
    }

    fn wait(&mut self) {
        self.0.lock().unwrap().step(0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// The guest writes so many sectors from one on.
    Write { sector: u64, count: u64, byte: u8 },
    /// The guest discards or zeroes.
    Zero { sector: u64, count: u64, discard: bool },
    /// A request goes on.
    Device(usize),
    /// The guest takes a completion.
    Take,
    /// Requests fail from now on, or do no longer.
    Fail(bool),
    /// The queue is closed and opened again.
    Reopen,
    /// The copy begins.
    Begin,
    /// One part is copied, of those that are known to be written.
    Copy,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sectors = GRAINS * GRAIN / SECTOR;
    let range = move || (0..sectors, 1..300u64).prop_map(move |(at, len)| (at, len.min(sectors - at)));
    let step = prop_oneof![
        3 => (range(), 1..255u8).prop_map(|((sector, count), byte)| Step::Write { sector, count, byte }),
        1 => (range(), any::<bool>()).prop_map(|((sector, count), discard)| Step::Zero { sector, count, discard }),
        12 => any::<usize>().prop_map(Step::Device),
        3 => Just(Step::Take),
        1 => any::<bool>().prop_map(Step::Fail),
        1 => Just(Step::Reopen),
        1 => Just(Step::Begin),
        8 => Just(Step::Copy),
    ];
    prop::collection::vec(step, 0..400)
}

/// Who copies.
#[derive(Default)]
struct Copier {
    copy: Vec<u8>,
    left: Written,
    begun: bool,
}

impl Copier {
    fn begin(&mut self, marks: &Marks) {
        marks.begin(GRAINS * GRAIN);
        self.copy = vec![0xee; usize::try_from(GRAINS * GRAIN / SECTOR).unwrap()];
        self.left = Written::default();
        self.left.add_bytes(0..GRAINS * GRAIN);
        self.begun = true;
    }

    /// Copies one part; false if there is none.
    fn step(&mut self, marks: &Marks, disk: &Mutex<State>) -> bool {
        if self.left.is_empty() {
            self.left = marks.take();
        }
        let Some(part) = self.left.parts().next() else { return false };
        let sectors =
            usize::try_from(part.start / SECTOR).unwrap()..usize::try_from(part.end / SECTOR).unwrap();
        self.copy[sectors.clone()].copy_from_slice(&disk.lock().unwrap().sectors[sectors]);
        let mut rest = Written::default();
        self.left.parts().skip(1).for_each(|part| rest.add_bytes(part));
        self.left = rest;
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_copy_has_all_that_was_written_whenever_it_reached_the_disk(steps in steps()) {
        let state = Arc::new(Mutex::new(State {
            sectors: vec![1; usize::try_from(GRAINS * GRAIN / SECTOR).unwrap()],
            ..State::default()
        }));
        let disk = MarkedDisk::new(Arc::new(SlowDisk(Arc::clone(&state))));
        let mut queue = disk.open_queue(0).unwrap();
        let mut copier = Copier::default();
        let (mut tokens, mut expected) = (0u64, Vec::new());
        let mut memory = vec![0u8; 300 * 512];
        for step in steps {
            match step {
                Step::Write { sector, count, byte } => {
                    memory.fill(byte);
                    let bytes = &memory[..usize::try_from(count * SECTOR).unwrap()];
                    let bufs = crate::Bufs::borrowing_const(bytes);
                    tokens += 1;
                    queue.submit(Request::Write { offset: sector * SECTOR, bufs }, tokens).unwrap();
                    expected.push(tokens);
                }
                Step::Zero { sector, count, discard } => {
                    let (offset, len) = (sector * SECTOR, count * SECTOR);
                    tokens += 1;
                    let request = if discard {
                        Request::Discard { offset, len }
                    } else {
                        Request::WriteZeroes { offset, len, unmap: true }
                    };
                    queue.submit(request, tokens).unwrap();
                    expected.push(tokens);
                }
                Step::Device(which) => state.lock().unwrap().step(which),
                Step::Take => {
                    if let Some(completion) = queue.next_completion() {
                        let at = expected.iter().position(|token| *token == completion.token);
                        prop_assert!(at.is_some(), "token {} was never given", completion.token);
                        expected.swap_remove(at.unwrap());
                    }
                }
                Step::Fail(fails) => state.lock().unwrap().fails = fails,
                Step::Reopen => {
                    drop(queue);
                    queue = disk.open_queue(0).unwrap();
                    expected.clear();
                }
                Step::Begin => copier.begin(disk.marks()),
                Step::Copy => {
                    if copier.begun {
                        copier.step(disk.marks(), &state);
                    }
                }
            }
        }
        // The guest stops: its queue is emptied, and the rest is copied.
        drop(queue);
        if !copier.begun {
            copier.begin(disk.marks());
        }
        while copier.step(disk.marks(), &state) {}
        prop_assert_eq!(&copier.copy, &state.lock().unwrap().sectors);
    }
}

#[test]
fn nothing_is_marked_that_is_only_read_or_that_nobody_asks_for() {
    let state =
        State { sectors: vec![0; usize::try_from(GRAINS * GRAIN / SECTOR).unwrap()], ..State::default() };
    let disk = MarkedDisk::new(Arc::new(SlowDisk(Arc::new(Mutex::new(state)))));
    let mut queue = disk.open_queue(1).unwrap();
    let mut run = |request| {
        queue.submit(request, 5).unwrap();
        queue.drain(&mut |completion| assert_eq!(completion.token, 5));
    };
    run(Request::WriteZeroes { offset: 0, len: 512, unmap: false });
    disk.marks().begin(GRAINS * GRAIN);
    assert!(disk.marks().take().is_empty());
    run(Request::Flush);
    run(Request::Read { offset: 0, bufs: crate::Bufs::new() });
    run(Request::Discard { offset: 512, len: 0 });
    assert!(disk.marks().take().is_empty());
    run(Request::Discard { offset: 2 * GRAIN - 512, len: 1024 });
    let taken = disk.marks().take();
    assert_eq!(taken.parts().collect::<Vec<_>>(), [GRAIN..2 * GRAIN, 2 * GRAIN..3 * GRAIN]);
    assert_eq!(taken.bytes(), 2 * GRAIN);
    assert!(disk.marks().take().is_empty(), "marks are taken once");
    disk.marks().end();
    run(Request::WriteZeroes { offset: 0, len: 512, unmap: false });
    assert!(disk.marks().take().is_empty());
    let refused = queue.submit(Request::Discard { offset: GRAINS * GRAIN, len: 512 }, 6);
    assert!(refused.is_err() && queue.in_flight() == 0);
}
