//! How fast an image is, measured as `qemu-img bench` does.

use std::io;
use std::time::{Duration, Instant};

use crate::buf::Bufs;
use crate::disk::{Completion, Disk, DiskError, DiskQueue, Request};
use crate::sys;

/// The options of `qemu-img bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchOptions {
    /// Requests in all (`-c`).
    pub count: u64,
    /// Requests at a time (`-d`).
    pub depth: u16,
    /// Bytes of each (`-s`).
    pub size: u32,
    /// Bytes from one's start to the next one's (`-S`); 0 is `size`.
    pub step: u64,
    /// Where the first one starts (`-o`).
    pub offset: u64,
    /// Write this byte instead of reading (`-w`, `--pattern`).
    pub write: Option<u8>,
    /// Flush after so many requests (`--flush-interval`); 0 is never.
    pub flush_interval: u64,
    /// Let what is under way end before a flush (not `--no-drain`).
    pub drain: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        BenchOptions {
            count: 75_000,
            depth: 64,
            size: 4096,
            step: 0,
            offset: 0,
            write: None,
            flush_interval: 0,
            drain: true,
        }
    }
}

/// A huge page of x86_64.
const HUGE_PAGE: usize = 2 << 20;

/// Runs the requests; returns the time that they took. Requests wrap around at the disk's end.
///
/// # Errors
/// When a request fails, or is larger than the disk.
pub fn bench(disk: &dyn Disk, options: &BenchOptions) -> Result<Duration, DiskError> {
    let size = disk.info().size_bytes;
    let len = u64::from(options.size);
    if len == 0 || len > size || options.depth == 0 {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "requests of this size do not fit");
        return Err(DiskError::Queue(error));
    }
    // One piece for each request under way, in huge pages where the host has them, as a guest's memory would be.
    let piece = usize::try_from(len).unwrap_or(0).next_multiple_of(4096);
    let mut memory = vec![0; piece * usize::from(options.depth) + HUGE_PAGE];
    let skip = memory.as_ptr().align_offset(HUGE_PAGE).min(HUGE_PAGE);
    sys::prefer_huge_pages(memory.get_mut(skip..).unwrap_or_default());
    if let Some(pattern) = options.write {
        memory.fill(pattern);
    }
    let pieces = memory.get_mut(skip..).unwrap_or_default().chunks_exact_mut(piece);
    let take = usize::try_from(len).unwrap_or(0);
    let pieces = pieces.filter_map(|piece| piece.get_mut(..take).map(Bufs::borrowing));
    let pieces: Vec<Bufs> = pieces.take(usize::from(options.depth)).collect();

    let mut run = Run {
        options: *options,
        step: if options.step == 0 { len } else { options.step },
        size,
        // Room for a flush beside the requests.
        queue: disk.open_queue(options.depth.saturating_add(1))?,
        free: (0..u64::from(options.depth)).collect(),
        pieces,
        offset: options.offset % size,
        started: 0,
        done: 0,
        failure: None,
    };
    let begin = Instant::now();
    while run.done < options.count && run.failure.is_none() {
        run.start();
        run.queue.flush_submissions();
        if !run.reap() && run.queue.in_flight() > 0 {
            run.queue.wait();
        }
    }
    let taken = begin.elapsed();
    // The memory goes only when nothing uses it any more.
    let Run { queue, failure, .. } = run;
    drop(queue);
    drop(memory);
    failure.map_or(Ok(taken), |error| Err(DiskError::Queue(error)))
}

struct Run {
    options: BenchOptions,
    step: u64,
    size: u64,
    queue: Box<dyn DiskQueue>,
    pieces: Vec<Bufs>,
    /// Pieces that no request uses.
    free: Vec<u64>,
    offset: u64,
    started: u64,
    done: u64,
    failure: Option<io::Error>,
}

impl Run {
    /// Starts as many requests as may be under way.
    fn start(&mut self) {
        while self.started < self.options.count
            && let Some(token) = self.free.pop()
        {
            if self.offset + u64::from(self.options.size) > self.size {
                self.offset = 0;
            }
            let index = usize::try_from(token).unwrap_or(usize::MAX);
            let (offset, bufs) = (self.offset, self.pieces.get(index).cloned().unwrap_or_default());
            let request = match self.options.write {
                Some(_) => Request::Write { offset, bufs },
                None => Request::Read { offset, bufs },
            };
            if let Err(error) = self.queue.submit(request, token) {
                self.failure = Some(io::Error::new(io::ErrorKind::InvalidInput, error));
                return;
            }
            self.started += 1;
            self.offset = (self.offset + self.step) % self.size;
            let interval = self.options.flush_interval;
            if interval > 0 && self.started.is_multiple_of(interval) {
                self.flush();
            }
        }
    }

    /// Flushes, and waits for that; with `drain`, first for everything that is under way.
    fn flush(&mut self) {
        let flush_token = u64::from(self.options.depth);
        if self.options.drain {
            while self.queue.in_flight() > 0 {
                self.queue.flush_submissions();
                if !self.reap() {
                    self.queue.wait();
                }
            }
        }
        if let Err(error) = self.queue.submit(Request::Flush, flush_token) {
            self.failure = Some(io::Error::new(io::ErrorKind::InvalidInput, error));
            return;
        }
        self.queue.flush_submissions();
        loop {
            match self.queue.next_completion() {
                Some(completion) if completion.token == flush_token => {
                    self.failure = self.failure.take().or(completion.result.err());
                    return;
                }
                Some(completion) => self.finish(completion),
                None if self.queue.in_flight() > 0 => self.queue.wait(),
                None => return,
            }
        }
    }

    /// Takes all that is done; false if nothing was.
    fn reap(&mut self) -> bool {
        let mut any = false;
        while let Some(completion) = self.queue.next_completion() {
            any = true;
            self.finish(completion);
        }
        any
    }

    fn finish(&mut self, completion: Completion) {
        self.done += 1;
        self.free.push(completion.token);
        self.failure = self.failure.take().or(completion.result.err());
    }
}
