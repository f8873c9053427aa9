use std::io::Write as _;
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::disk::{Request, SubmitError};
use crate::{Blocking, Bufs, EngineKind};

const ENGINES: [EngineKind; 3] = [EngineKind::Auto, EngineKind::Threads, EngineKind::Sync];

struct Scratch {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn scratch(bytes: &[u8]) -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    Scratch { _dir: dir, path }
}

fn options(engine: EngineKind) -> RawOptions {
    RawOptions { engine, ..RawOptions::default() }
}

#[derive(Clone, Debug)]
enum Step {
    Read(u64, usize),
    Write(u64, usize, u8),
    Discard(u64, u64),
    Zero(u64, u64, bool),
    Flush,
}

fn step(size: u64) -> impl Strategy<Value = Step> {
    let range =
        (0..size / 512, 0..size / 512).prop_map(move |(at, n)| (at * 512, (n * 512).min(size - at * 512)));
    let len = |len: u64| usize::try_from(len).unwrap();
    prop_oneof![
        4 => range.clone().prop_map(move |(at, n)| Step::Read(at, len(n))),
        4 => (range.clone(), any::<u8>()).prop_map(move |((at, n), byte)| Step::Write(at, len(n), byte)),
        1 => range.clone().prop_map(|(at, n)| Step::Discard(at / 4096 * 4096, n / 4096 * 4096)),
        1 => (range, any::<bool>()).prop_map(|((at, n), unmap)| Step::Zero(at, n, unmap)),
        1 => Just(Step::Flush),
    ]
}

const SIZE: u64 = 256 << 10;

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_like_memory(steps in prop::collection::vec(step(SIZE), 1..40), engine in prop::sample::select(&ENGINES[..])) {
        let file = scratch(&vec![0x5a; usize::try_from(SIZE).unwrap()]);
        let disk = RawDisk::open(&file.path, options(engine)).unwrap();
        let mut io = Blocking::open(&disk).unwrap();
        let mut model = vec![0x5au8; usize::try_from(SIZE).unwrap()];
        let range = |at: u64, len: u64| usize::try_from(at).unwrap()..usize::try_from(at + len).unwrap();
        for step in steps {
            match step {
                Step::Read(at, len) => {
                    let mut got = vec![1; len];
                    io.read(at, &mut got).unwrap();
                    prop_assert_eq!(&got[..], &model[range(at, len as u64)]);
                }
                Step::Write(at, len, byte) => {
                    io.write(at, &vec![byte; len]).unwrap();
                    model[range(at, len as u64)].fill(byte);
                }
                Step::Discard(at, len) if at + len <= SIZE => {
                    io.discard(at, len).unwrap();
                    model[range(at, len)].fill(0);
                }
                Step::Zero(at, len, unmap) => {
                    io.write_zeroes(at, len, unmap).unwrap();
                    model[range(at, len)].fill(0);
                }
                Step::Discard(..) => {}
                Step::Flush => io.flush().unwrap(),
            }
        }
        drop(io);
        prop_assert_eq!(std::fs::read(&file.path).unwrap(), model);
    }
}

#[test]
fn a_full_queue_completes_everything_once() {
    for engine in ENGINES {
        let file = scratch(&[7; 4096 * 300]);
        let disk = RawDisk::open(&file.path, options(engine)).unwrap();
        let mut queue = disk.open_queue(256).unwrap();
        let mut memory = vec![0u8; 4096 * 256];
        for (token, chunk) in memory.chunks_mut(4096).enumerate() {
            let bufs = [Bufs::borrowing(&mut chunk[..512]), Bufs::borrowing(&mut chunk[512..])];
            let bufs = bufs.iter().flat_map(Bufs::as_slice).copied().collect();
            queue.submit(Request::Read { offset: 4096 * token as u64, bufs }, token as u64).unwrap();
        }
        assert_eq!(queue.submit(Request::Flush, 999), Err(SubmitError::Full));
        assert_eq!(queue.in_flight(), 256);
        let mut seen = vec![];
        queue.drain(&mut |completion| {
            assert_eq!(completion.result.unwrap(), 4096);
            seen.push(completion.token);
        });
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..256));
        drop(queue);
        assert!(memory.iter().all(|&byte| byte == 7));
    }
}

#[test]
fn the_eventfd_tells_of_completions_and_is_quiet_after() {
    for engine in ENGINES {
        let file = scratch(&[0; 4096]);
        let disk = RawDisk::open(&file.path, options(engine)).unwrap();
        let mut queue = disk.open_queue(4).unwrap();
        let readable =
            |queue: &dyn DiskQueue| {
                let mut poll = [std::os::fd::AsRawFd::as_raw_fd(&queue.completion_fd())]
                    .map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
                #[expect(unsafe_code, reason = "poll(2)")]
                // SAFETY: one valid pollfd.
                let ready =
                    unsafe { libc::poll(poll.as_mut_ptr(), 1, 2000 * i32::from(queue.in_flight() > 0)) };
                ready == 1
            };
        assert!(!readable(&*queue));
        queue.submit(Request::Flush, 5).unwrap();
        queue.flush_submissions();
        assert!(readable(&*queue));
        queue.acknowledge();
        assert_eq!(queue.next_completion().unwrap().token, 5);
        assert!(queue.next_completion().is_none());
        assert!(!readable(&*queue));
    }
}

#[test]
fn requests_outside_the_disk_and_writes_to_read_only_ones_are_refused() {
    let file = scratch(&[0; 8192]);
    let disk = RawDisk::open(&file.path, RawOptions { read_only: true, ..RawOptions::default() }).unwrap();
    let mut queue = disk.open_queue(4).unwrap();
    for (offset, len) in [(8192, 1), (u64::MAX, 1), (8191, 2), (0, 8193)] {
        let refused = queue.submit(Request::Discard { offset, len }, 0);
        assert_eq!(refused, Err(SubmitError::ReadOnly));
        let bufs = Bufs::borrowing(&mut vec![0; usize::try_from(len).unwrap()]);
        let refused = queue.submit(Request::Read { offset, bufs }, 0);
        assert_eq!(refused, Err(SubmitError::OutOfRange { offset, len, size: 8192 }));
    }
    assert_eq!(queue.in_flight(), 0);
}

#[test]
fn an_odd_file_is_rounded_up_and_its_missing_bytes_are_zero() {
    for engine in ENGINES {
        let file = scratch(&[3; 700]);
        let disk = RawDisk::open(&file.path, options(engine)).unwrap();
        assert_eq!(disk.info().size_bytes, 1024);
        let mut io = Blocking::open(&disk).unwrap();
        let mut got = [1; 1024];
        io.read(0, &mut got).unwrap();
        assert_eq!(got[..700], [3; 700]);
        assert_eq!(got[700..], [0; 324]);
        io.write(512, &[4; 512]).unwrap();
        assert_eq!(std::fs::read(&file.path).unwrap().len(), 1024);
    }
}

#[test]
fn a_file_that_shrinks_is_an_error_and_one_that_grows_is_a_larger_disk() {
    for engine in ENGINES {
        let file = scratch(&[3; 8192]);
        let disk = RawDisk::open(&file.path, options(engine)).unwrap();
        let mut io = Blocking::open(&disk).unwrap();
        let handle = std::fs::OpenOptions::new().write(true).open(&file.path).unwrap();
        handle.set_len(4096).unwrap();
        let error = io.read(0, &mut [0; 8192]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        handle.set_len(16384).unwrap();
        assert_eq!(disk.refresh().unwrap().size_bytes, 16384);
        io.read(8192, &mut [0; 8192]).unwrap();
    }
}

#[test]
fn one_writer_or_many_readers() {
    let file = scratch(&[0; 4096]);
    let read_only = RawOptions { read_only: true, ..RawOptions::default() };
    let open = |options| RawDisk::open(&file.path, options);
    let readers = (open(read_only).unwrap(), open(read_only).unwrap());
    assert!(matches!(open(RawOptions::default()), Err(DiskError::InUse { .. })));
    drop(readers);
    let writer = open(RawOptions::default()).unwrap();
    assert!(matches!(open(read_only), Err(DiskError::InUse { .. })));
    open(RawOptions { shareable: true, ..RawOptions::default() }).unwrap();
    drop(writer);
    open(RawOptions::default()).unwrap();
}

#[test]
fn a_disk_changes_hands_between_processes_that_both_have_it_open() {
    let file = scratch(&[0; 4096]);
    let ours = RawDisk::open(&file.path, RawOptions::default()).unwrap();
    let later = RawOptions { lock_later: true, ..RawOptions::default() };
    let theirs = RawDisk::open(&file.path, later).unwrap();
    assert!(matches!(theirs.hold(), Err(DiskError::InUse { .. })));
    ours.let_go().unwrap();
    theirs.hold().unwrap();
    theirs.hold().unwrap();
    assert!(matches!(ours.hold(), Err(DiskError::InUse { .. })));
    drop(theirs);
    ours.hold().unwrap();
    let shared = RawOptions { shareable: true, lock_later: true, ..RawOptions::default() };
    RawDisk::open(&file.path, shared).unwrap().hold().unwrap();
}

#[test]
fn things_that_are_no_disks_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let open = |path: &Path| RawDisk::open(path, RawOptions { read_only: true, ..RawOptions::default() });
    assert!(matches!(open(dir.path()), Err(DiskError::NotADisk { .. })));
    assert!(matches!(open(Path::new("/dev/null")), Err(DiskError::NotADisk { .. })));
    assert!(matches!(open(&dir.path().join("none")), Err(DiskError::Open { .. })));
    assert!(matches!(open(&scratch(&[]).path), Err(DiskError::Geometry { .. })));
}

#[test]
fn a_device_without_space_is_an_error_not_a_short_write() {
    let full = Path::new("/dev/full");
    let file = std::fs::OpenOptions::new().read(true).write(true).open(full).unwrap();
    let target = Target::scratch(file, full);
    let error = target.write(0, &Bufs::borrowing(&mut [1; 512])).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

#[test]
fn direct_io_refuses_odd_offsets_and_bounces_odd_memory() {
    let file = scratch(&[9; 65536]);
    for engine in ENGINES {
        let direct = RawOptions { cache: CacheMode::None, ..options(engine) };
        let disk = match RawDisk::open(&file.path, direct) {
            Ok(disk) => disk,
            Err(DiskError::NoDirect { .. }) => {
                eprintln!("skipped: no direct I/O in the temporary directory");
                return;
            }
            Err(error) => panic!("{error}"),
        };
        let block = u64::from(disk.info().logical_block_size);
        let mut io = Blocking::open(&disk).unwrap();
        let mut memory = vec![0u8; 8193];
        io.read(block, &mut memory[1..=4096]).unwrap();
        assert!(memory[1..=4096].iter().all(|&byte| byte == 9));
        io.write(4096, &memory[1..=4096]).unwrap();
        let odd = io.read(1, &mut memory[..4096]).unwrap_err();
        assert!(odd.to_string().contains("whole blocks"), "{odd}");
    }
}

#[test]
fn writethrough_says_so_and_works() {
    for engine in ENGINES {
        let file = scratch(&[0; 8192]);
        let through = RawOptions { cache: CacheMode::Writethrough, ..options(engine) };
        let disk = RawDisk::open(&file.path, through).unwrap();
        assert!(!disk.info().write_cache);
        let mut io = Blocking::open(&disk).unwrap();
        io.write(512, &[1; 1024]).unwrap();
        io.write_zeroes(1024, 512, false).unwrap();
        drop(io);
        disk.sync().unwrap();
        assert_eq!(std::fs::read(&file.path).unwrap()[512..1536], [[1; 512], [0; 512]].concat());
    }
}

#[test]
fn with_unsafe_caching_a_flush_asks_nothing_of_the_host() {
    let file = scratch(&[0; 4096]);
    for engine in ENGINES {
        let disk =
            RawDisk::open(&file.path, RawOptions { cache: CacheMode::Unsafe, ..options(engine) }).unwrap();
        assert!(disk.info().write_cache);
        let mut io = Blocking::open(&disk).unwrap();
        io.write(512, &[3; 512]).unwrap();
        io.flush().unwrap();
        assert_eq!(std::fs::read(&file.path).unwrap()[512..1024], [3; 512]);
    }
}

#[test]
fn a_flush_that_failed_fails_for_good_unless_io_is_direct() {
    let file = scratch(&[0; 4096]);
    let open = || std::fs::OpenOptions::new().read(true).write(true).open(&file.path).unwrap();
    // A device that knows no sync, in the place of a disk that fails.
    let broken = || std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    for kind in ENGINES {
        let flush = |target: &Arc<Target>| {
            let mut engine = crate::engine::Engine::open(kind, 1, vec![Arc::clone(target)]).unwrap();
            engine.push(crate::engine::Op { file: 0, what: crate::engine::What::Sync }, 0);
            engine.flush();
            engine.wait();
            engine.next().unwrap().result
        };
        for direct in [None, Some(crate::sys::DirectAlign { memory: 512, offset: 512 })] {
            let mut target = Target::scratch(open(), &file.path);
            target.direct = direct;
            let target = Arc::new(target);
            flush(&target).unwrap();
            let mut target = Arc::into_inner(target).unwrap();
            target.file = broken();
            let target = Arc::new(target);
            assert_eq!(flush(&target).unwrap_err().raw_os_error(), Some(libc::EINVAL));
            let mut target = Arc::into_inner(target).unwrap();
            target.file = open();
            let again = flush(&Arc::new(target));
            assert_eq!(again.is_ok(), direct.is_some(), "{kind:?} {direct:?}: {again:?}");
        }
    }
}
