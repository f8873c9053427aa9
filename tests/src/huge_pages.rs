//! Huge pages of the host.

use std::fs;

use crate::failure::{Doing, Failure};
use crate::supervisor::SKIP_WORD;

const POOL: &str = "/proc/sys/vm/nr_hugepages";

/// Huge pages of 2 MiB that are there for a case, until it ends.
pub struct HugePages {
    before: u64,
}

impl HugePages {
    /// So many more.
    ///
    /// # Errors
    /// The host does not let this process, or has too little memory in one piece: the case is to be left out.
    pub fn reserve(count: u64) -> Result<Self, Failure> {
        let pages = Self { before: there_are()? };
        let wanted = pages.before + count;
        let reserved = fs::write(POOL, wanted.to_string()).is_ok() && there_are()? >= wanted;
        if reserved {
            Ok(pages)
        } else {
            Err(Failure(format!("{SKIP_WORD}the host gives no {count} huge pages")))
        }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // Whoever may reserve them may give them back.
        let _ = fs::write(POOL, self.before.to_string());
    }
}

fn there_are() -> Result<u64, Failure> {
    fs::read_to_string(POOL)
        .doing("reading how many huge pages there are")?
        .trim()
        .parse()
        .doing("reading a number")
}
