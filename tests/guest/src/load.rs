//! A guest that writes to its memory, for measurements.

use std::hint::black_box;
use std::io::Write;
use std::thread;
use std::time::Duration;

use guest::{pattern, protocol};

const PAGE: usize = 4096;
/// How often it writes.
const PERIOD: Duration = Duration::from_millis(5);

/// Fills memory, says so, then goes on writing to each page of a part of it, and prints a dot each time. `sizes` are those of
/// both in MiB: `FILLED,WRITTEN`.
pub(crate) fn write(sizes: &str) -> ! {
    let size = |text: Option<&str>| text.and_then(|text| text.parse::<usize>().ok()).unwrap_or(0) << 20;
    let (filled, written) =
        sizes.split_once(',').map_or((Some(sizes), None), |(one, other)| (Some(one), Some(other)));
    let mut memory = vec![0; size(filled)];
    pattern::fill(&mut memory, 0, 1);
    println!("{}", protocol::FULL);
    let written = size(written);
    let mut out = std::io::stdout();
    loop {
        for page in memory.chunks_mut(PAGE).take(written / PAGE) {
            page.iter_mut().take(1).for_each(|byte| *byte = byte.wrapping_add(1));
        }
        black_box(&mut memory);
        // Nobody is there to be told of a console that is not.
        let _ = out.write_all(b".").and_then(|()| out.flush());
        thread::sleep(PERIOD);
    }
}
