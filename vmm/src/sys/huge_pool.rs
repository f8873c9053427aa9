//! Huge pages of the host, for tests.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use arch::layout::RamLayout;
use devices::GuestRam;
use vm_memory::{GuestMemoryBackend, GuestMemoryRegion};

use crate::machine::map_memory;
use crate::plan::{Backing, MemoryPlan};

const POOL: &str = "/proc/sys/vm/nr_hugepages";
/// Bytes of one.
pub(crate) const HUGE: u64 = 2 << 20;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Guest memory in huge pages, which go back to the host afterwards.
pub(crate) struct HugeMemory {
    pub(crate) ram: GuestRam,
    _pages: Pages,
}

/// Pages that were added to the host's pool.
struct Pages {
    count: u64,
    _alone: MutexGuard<'static, ()>,
}

impl HugeMemory {
    /// Memory of so many huge pages; none, with a word about it, where the host has none for this process.
    pub(crate) fn new(count: u64) -> Option<Self> {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        // As much again, for `more`.
        let pages = Pages::reserve(2 * count, alone)?;
        Some(Self { ram: mapped(count)?, _pages: pages })
    }

    /// As much memory again.
    pub(crate) fn more(&self) -> Option<GuestRam> {
        mapped(self.ram.iter().map(|region| region.len()).sum::<u64>() / HUGE)
    }
}

fn mapped(count: u64) -> Option<GuestRam> {
    let ram = RamLayout::new(count * HUGE).unwrap();
    let mapped = map_memory(&MemoryPlan { ram, backing: Backing::HugePages { page_size: HUGE } });
    mapped.inspect_err(skipped).ok()
}

impl Pages {
    fn reserve(count: u64, alone: MutexGuard<'static, ()>) -> Option<Self> {
        let before = there_are()?;
        match fs::write(POOL, (before + count).to_string()) {
            Ok(()) => Some(Self { count, _alone: alone }),
            Err(error) => {
                skipped(&format_args!("this process may not reserve huge pages: {error}"));
                None
            }
        }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(now) = there_are() {
            // Those that are in use are given back when they are free.
            let _ = fs::write(POOL, now.saturating_sub(self.count).to_string());
        }
    }
}

fn there_are() -> Option<u64> {
    let count = fs::read_to_string(POOL).inspect_err(skipped).ok()?;
    count.trim().parse().inspect_err(skipped).ok()
}

/// Says that the test of this thread is left out, and why. It is seen of a test that passes, too: that hides what the macros print alone.
pub(crate) fn skipped(why: &impl Display) {
    let thread = thread::current();
    let line = format!("skipped: {}: {why}\n", thread.name().unwrap_or("a test"));
    // In one piece, as other tests say something, too; nobody may be there to be told.
    let _ = io::stderr().write_all(line.as_bytes());
}

mod tests {
    use std::env;
    use std::process::Command;

    use super::*;

    /// As it is run by itself, in another process.
    const LEFT_OUT: &str = "KUBEVMM_TEST_IS_LEFT_OUT";

    #[test]
    fn a_test_that_is_left_out_is_named_though_it_passes() {
        if env::var_os(LEFT_OUT).is_some() {
            return skipped(&"there is nothing to try it with");
        }
        let name = thread::current().name().unwrap().to_owned();
        let mut again = Command::new(env::current_exe().unwrap());
        let ended = again.args([&name, "--exact", "--test-threads=2"]).env(LEFT_OUT, "").output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.success(), "{said}");
        assert!(said.contains(&format!("skipped: {name}: there is nothing to try it with")), "{said}");
    }
}
