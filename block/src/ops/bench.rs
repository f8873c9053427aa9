//! How fast an image is, measured as `qemu-img bench` does.

use std::io;
use std::time::{Duration, Instant};

use crate::buf::Bufs;
use crate::disk::{Disk, DiskError, Request};

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
        }
    }
}

/// Runs the requests; returns the time that they took. Requests wrap around at the disk's end.
///
/// # Errors
/// When a request fails, or is larger than the disk.
pub fn bench(disk: &dyn Disk, options: &BenchOptions) -> Result<Duration, DiskError> {
    let size = disk.info().size_bytes;
    let len = u64::from(options.size);
    if len == 0 || len > size || options.depth == 0 {
        return Err(DiskError::Queue(io::Error::new(
            io::ErrorKind::InvalidInput,
            "requests of this size do not fit",
        )));
    }
    let step = if options.step == 0 { len } else { options.step };
    // One piece for each request under way, on a page boundary, as a guest's would be.
    let piece = usize::try_from(len).unwrap_or(0).next_multiple_of(4096);
    let mut memory = vec![options.write.unwrap_or(0); piece * (usize::from(options.depth) + 1)];
    let skip = memory.as_ptr().align_offset(4096).min(4096);
    let mut pieces = memory.get_mut(skip..).unwrap_or_default().chunks_exact_mut(piece);
    let take = usize::try_from(len).unwrap_or(0);
    let pieces: Vec<Bufs> =
        (0..options.depth).filter_map(|_| pieces.next()?.get_mut(..take).map(Bufs::borrowing)).collect();

    // Room for a flush beside the requests.
    let mut queue = disk.open_queue(options.depth.saturating_add(1))?;
    let mut free: Vec<u64> = (0..u64::from(options.depth)).collect();
    let flush_token = u64::from(options.depth);
    let (mut offset, mut started, mut done) = (options.offset % size, 0u64, 0u64);
    let mut failure = None;
    let begin = Instant::now();
    while done < options.count && failure.is_none() {
        while started < options.count
            && let Some(token) = free.pop()
        {
            if offset + len > size {
                offset = 0;
            }
            let index = usize::try_from(token).unwrap_or(usize::MAX);
            let bufs = pieces.get(index).cloned().unwrap_or_default();
            let request = match options.write {
                Some(_) => Request::Write { offset, bufs },
                None => Request::Read { offset, bufs },
            };
            if let Err(error) = queue.submit(request, token) {
                failure = Some(io::Error::new(io::ErrorKind::InvalidInput, error));
                break;
            }
            started += 1;
            offset = (offset + step) % size;
            let flush_now = options.flush_interval > 0 && started.is_multiple_of(options.flush_interval);
            if flush_now {
                queue.flush_submissions();
                // Like qemu-img without --no-drain: what came before is done first.
                queue.drain(&mut |completion| {
                    done += 1;
                    free.push(completion.token);
                    failure = failure.take().or(completion.result.err());
                });
                if queue.submit(Request::Flush, flush_token).is_ok() {
                    queue.drain(&mut |completion| failure = failure.take().or(completion.result.err()));
                }
            }
        }
        queue.flush_submissions();
        let mut any = false;
        while let Some(completion) = queue.next_completion() {
            any = true;
            done += 1;
            free.push(completion.token);
            failure = failure.take().or(completion.result.err());
        }
        if !any && queue.in_flight() > 0 {
            queue.wait();
        }
    }
    let taken = begin.elapsed();
    // The memory goes only when nothing uses it any more.
    drop(queue);
    drop(memory);
    failure.map_or(Ok(taken), |error| Err(DiskError::Queue(error)))
}
