//! What checking a manifest costs: time and heap for a typical machine, time for a file of 1000 documents.
//!
//! `cargo bench -p spec` prints the figures; they are not asserted, for machines differ.

#![expect(unsafe_code, reason = "an allocator that counts is the only way to see the heap from inside")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use spec::{Manifests, admit, report};

/// Passes everything on to the system's allocator and keeps the highest number of bytes in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments it came with.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = IN_USE.fetch_add(layout.size(), Ordering::Relaxed).saturating_add(layout.size());
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TYPICAL: &str = include_str!("typical.yaml");

fn check(text: &str) -> usize {
    let Ok(manifests) = Manifests::parse("typical.yaml", text) else { return 0 };
    let check = |document| report::json(document, &admit(document, &manifests)).to_string().len();
    manifests.documents.iter().map(check).sum()
}

/// The median of a number of runs, and the most heap that one of them took.
fn measure(runs: usize, text: &str) -> (Duration, usize) {
    let mut times: Vec<Duration> = Vec::with_capacity(runs);
    let mut heap = 0;
    for _ in 0..runs {
        let before = IN_USE.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let start = Instant::now();
        black_box(check(black_box(text)));
        times.push(start.elapsed());
        heap = heap.max(MOST.load(Ordering::Relaxed).saturating_sub(before));
    }
    times.sort_unstable();
    (times.get(runs / 2).copied().unwrap_or_default(), heap)
}

fn main() {
    let (time, heap) = measure(500, TYPICAL);
    println!("one machine: {time:?}, {} KiB of heap (targets: 2 ms, 2048 KiB)", heap / 1024);
    let many = vec![TYPICAL; 1000].join("---\n");
    let (time, heap) = measure(5, &many);
    println!("1000 documents: {time:?}, {} KiB of heap (target: 1 s)", heap / 1024);
}
