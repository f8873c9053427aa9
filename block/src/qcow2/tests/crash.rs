//! Power failures: the write path on a disk that loses any of what was not flushed, at every step.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use super::super::chain::{Chain, Layer};
use super::super::core::Core;
use super::super::image::Image;
use super::judge::judge;
use super::oracle::{Dir, available};
use crate::buf::Bufs;
use crate::storage::Storage;

/// What reached the disk's cache, in order.
#[derive(Clone, Debug)]
enum Event {
    Write(u64, Vec<u8>),
    Punch(u64, u64),
    Sync,
}

/// A disk that remembers everything that was ever done to it.
#[derive(Debug)]
struct Tape {
    now: Mutex<Vec<u8>>,
    events: Mutex<Vec<Event>>,
    /// Writes left until the disk is full.
    space: AtomicU64,
}

fn apply(bytes: &mut Vec<u8>, event: &Event) {
    let (at, len) = match event {
        Event::Write(at, data) => (*at, data.len()),
        Event::Punch(at, len) => (*at, usize::try_from(*len).unwrap()),
        Event::Sync => return,
    };
    let at = usize::try_from(at).unwrap_or(0);
    match event {
        Event::Write(_, data) => {
            bytes.resize(bytes.len().max(at + len), 0);
            bytes[at..at + len].copy_from_slice(data);
        }
        _ => {
            let end = (at + len).min(bytes.len());
            bytes[at.min(end)..end].fill(0);
        }
    }
}

/// A write of which any sector may be lost: a disk promises no more than whole sectors.
fn write_torn(bytes: &mut Vec<u8>, mut at: u64, mut data: &[u8], keep: &mut dyn FnMut() -> bool) {
    while !data.is_empty() {
        let rest = usize::try_from(512 - at % 512).unwrap();
        let (sector, later) = data.split_at(rest.min(data.len()));
        if keep() {
            apply(bytes, &Event::Write(at, sector.to_vec()));
        }
        at += sector.len() as u64;
        data = later;
    }
}

impl Tape {
    fn new(bytes: Vec<u8>) -> Arc<Tape> {
        Arc::new(Tape { now: Mutex::new(bytes), events: Mutex::default(), space: AtomicU64::new(u64::MAX) })
    }

    fn record(&self, event: Event) -> io::Result<()> {
        use std::sync::atomic::Ordering::Relaxed;
        if !matches!(event, Event::Sync) {
            if self.space.load(Relaxed) == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.space.fetch_sub(1, Relaxed);
        }
        apply(&mut self.now.lock().unwrap(), &event);
        self.events.lock().unwrap().push(event);
        Ok(())
    }
}

impl Storage for Tape {
    fn read(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let now = self.now.lock().unwrap();
        bufs.fill_zero();
        bufs.copy_in(now.get(usize::try_from(offset).unwrap()..).unwrap_or_default());
        Ok(())
    }

    fn write(&self, offset: u64, bufs: &Bufs) -> io::Result<()> {
        let mut data = vec![0; usize::try_from(bufs.total_len()).unwrap()];
        bufs.copy_out(&mut data);
        self.record(Event::Write(offset, data))
    }

    fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        self.record(Event::Punch(offset, len))
    }

    fn sync(&self) -> io::Result<()> {
        self.record(Event::Sync)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.now.lock().unwrap().len() as u64)
    }
}

/// Small numbers that repeat.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What each sector may hold: what it held at the last flush, or anything written since.
#[derive(Clone, Default)]
struct Sectors(BTreeMap<u64, Vec<u8>>);

const SIZE: u64 = 512 << 10;

struct Run {
    tape: Arc<Tape>,
    image: Image,
    /// For each point in time, what the sectors may hold from then on.
    history: Vec<(usize, Sectors)>,
    current: Sectors,
    below: Option<u8>,
}

impl Run {
    fn start(path: &Path, below: Option<u8>) -> Run {
        let tape = Tape::new(std::fs::read(path).unwrap());
        let image = Image::writable(chain(&tape, below)).unwrap();
        let mut run = Run { tape, image, history: vec![], current: Sectors::default(), below };
        let original = read_all(&run.image.chain);
        for (sector, bytes) in (0..).zip(original.chunks(512)) {
            run.current.0.insert(sector, vec![bytes[0]]);
        }
        run.history.push((0, run.current.clone()));
        run
    }

    fn step(&mut self, random: &mut Random) {
        let at = random.below(SIZE / 512);
        let most = if random.below(3) == 0 { 300 } else { 12 };
        let len = (1 + random.below(most)).min(SIZE / 512 - at);
        let byte = u8::try_from(1 + random.below(200)).unwrap();
        let (offset, bytes) = (at * 512, len * 512);
        match random.below(8) {
            0 => {
                if self.image.flush().is_ok() {
                    for values in self.current.0.values_mut() {
                        values.drain(..values.len() - 1);
                    }
                    self.note();
                }
            }
            // Whatever comes of a failure, until the next flush both old and new may be there.
            1 => {
                self.allow(at, len, 0);
                let _ = self.image.zero(offset, bytes);
            }
            _ => {
                self.allow(at, len, byte);
                let mut data = vec![byte; usize::try_from(bytes).unwrap()];
                if self.image.write(offset, &Bufs::borrowing(&mut data)).is_err() {
                    for sector in at..at + len {
                        let values = self.current.0.get_mut(&sector).unwrap();
                        let last = values.len() - 1;
                        values.swap(last - 1, last);
                    }
                }
            }
        }
    }

    /// From now on, a range may hold something else as well.
    fn allow(&mut self, at: u64, len: u64, byte: u8) {
        for sector in at..at + len {
            self.current.0.get_mut(&sector).unwrap().push(byte);
        }
        self.note();
    }

    fn note(&mut self) {
        let time = self.tape.events.lock().unwrap().len();
        self.history.push((time, self.current.clone()));
    }

    /// Cuts the power after `time` events; of those since the last flush, `keep` decides which made it,
    /// sector by sector, so that each order in which a disk may write them is met.
    fn cut(&self, original: &[u8], time: usize, keep: &mut dyn FnMut() -> bool) {
        let events = self.tape.events.lock().unwrap();
        let events = &events[..time];
        let durable = events.iter().rposition(|event| matches!(event, Event::Sync)).map_or(0, |at| at + 1);
        let mut bytes = original.to_vec();
        for (number, event) in events.iter().enumerate() {
            match event {
                Event::Write(at, data) if number >= durable => write_torn(&mut bytes, *at, data, keep),
                event if number < durable || keep() => apply(&mut bytes, event),
                _ => {}
            }
        }
        let tape = Tape::new(bytes);
        let report = judge(Arc::clone(&tape) as Arc<dyn Storage>);
        assert_eq!(report.corruptions, 0, "after {time} events: {report:?}");
        let chain = chain(&tape, self.below);
        let allowed =
            self.history.iter().rev().find(|(at, _)| *at <= time).map(|(_, sectors)| sectors).unwrap();
        for (sector, bytes) in (0..).zip(read_all(&chain).chunks(512)) {
            let allowed = &allowed.0[&sector];
            assert!(
                bytes.iter().all(|byte| allowed.contains(byte)),
                "after {time} events, sector {sector} has {}, not {allowed:?}",
                bytes[0]
            );
        }
    }
}

fn chain(tape: &Arc<Tape>, below: Option<u8>) -> Chain {
    let top = Core::open(Arc::clone(tape) as Arc<dyn Storage>).unwrap();
    let filled = |byte| {
        let storage = Tape::new(vec![byte; usize::try_from(SIZE).unwrap()]) as Arc<dyn Storage>;
        Layer::Raw { storage, size: SIZE }
    };
    Chain { top, below: below.map(filled).into_iter().collect() }
}

fn read_all(chain: &Chain) -> Vec<u8> {
    let mut bytes = vec![1; usize::try_from(SIZE).unwrap()];
    chain.read(0, &Bufs::borrowing(&mut bytes)).unwrap();
    bytes
}

fn images(dir: &Dir) -> Vec<(std::path::PathBuf, Option<u8>)> {
    let size = SIZE.to_string();
    let source = dir.path("source");
    std::fs::write(&source, vec![0x77; usize::try_from(SIZE).unwrap()]).unwrap();
    let mut all = vec![];
    for (number, options) in [
        "cluster_size=4k",
        "cluster_size=512,refcount_bits=1",
        "cluster_size=16k,extended_l2=on",
        "compat=0.10,cluster_size=8k",
    ]
    .iter()
    .enumerate()
    {
        all.push((dir.create(&format!("plain{number}"), options, &size, None), None));
        all.push((dir.create(&format!("over{number}"), options, &size, None), Some(0x55)));
        let packed = dir.path(&format!("packed{number}"));
        let (from, to) = (super::oracle::text(&source), super::oracle::text(&packed));
        super::oracle::qemu_img(&["convert", "-c", "-O", "qcow2", "-o", options, from, to]);
        all.push((packed, None));
    }
    all
}

/// How many power failures each image sees; `CRASH_RUNS` asks for more.
fn runs() -> u64 {
    std::env::var("CRASH_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1)
}

#[test]
fn no_power_failure_breaks_an_image_or_loses_what_was_flushed() {
    if !available("no_power_failure_breaks_an_image_or_loses_what_was_flushed") {
        return;
    }
    let dir = Dir::new();
    for (path, below) in images(&dir) {
        let original = std::fs::read(&path).unwrap();
        let first = if runs() > 1 { 0 } else { 2 };
        for seed in first..first + runs() {
            let mut random = Random(seed);
            let mut run = Run::start(&path, below);
            if seed % 3 == 2 {
                run.tape.space.store(20 + random.below(150), std::sync::atomic::Ordering::Relaxed);
            }
            for _ in 0..30 {
                run.step(&mut random);
            }
            let end = run.tape.events.lock().unwrap().len();
            eprintln!("{} seed {seed}: {end} writes and flushes", path.display());
            for time in (0..=end).step_by(if runs() > 1 { 1 } else { 61 }) {
                run.cut(&original, time, &mut || false);
                run.cut(&original, time, &mut || true);
                run.cut(&original, time, &mut || random.below(2) == 0);
                run.cut(&original, time, &mut || random.below(8) == 0);
            }
        }
    }
}
