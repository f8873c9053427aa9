//! What checking a manifest costs: time and heap for a typical machine, time for a file of 1000 documents.
//!
//! `cargo bench -p spec` prints the figures; criterion measures the times and keeps them for comparison. They are not
//! asserted, for machines differ.

#![expect(unsafe_code, reason = "an allocator that counts is the only way to see the heap from inside")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use criterion::Criterion;
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

/// The most heap, in KiB, that one check of a text takes.
fn heap(text: &str) -> usize {
    let before = IN_USE.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    black_box(check(black_box(text)));
    MOST.load(Ordering::Relaxed).saturating_sub(before) / 1024
}

fn main() {
    let many = vec![TYPICAL; 1000].join("---\n");
    println!("one machine: {} KiB of heap (target: 2048 KiB; 2 ms)", heap(TYPICAL));
    println!("1000 documents: {} KiB of heap (target: 1 s)", heap(&many));
    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("one machine", |bench| bench.iter(|| check(black_box(TYPICAL))));
    let mut slow = criterion.benchmark_group("a file");
    slow.sample_size(10).measurement_time(Duration::from_secs(5));
    slow.bench_function("1000 documents", |bench| bench.iter(|| check(black_box(&many))));
    slow.finish();
    criterion.final_summary();
}
