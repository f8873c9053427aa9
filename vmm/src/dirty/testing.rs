//! A log of a memory that nobody writes to, for tests.

use std::fmt;

use devices::GuestRam;

use super::log::DirtyLog;
use super::source::Source;
use super::{DirtyError, PageSet};

/// Nothing is written.
struct Still<F> {
    ram: GuestRam,
    ends: F,
}

/// The log of such a memory; `ends` is called when nobody wants to know any more.
pub(crate) fn log(ram: &GuestRam, ends: impl Fn() + Send + 'static) -> DirtyLog {
    DirtyLog::of(Box::new(Still { ram: ram.clone(), ends }), ram)
}

impl<F: Fn() + Send> Source for Still<F> {
    fn log(&mut self, on: bool) -> Result<(), DirtyError> {
        if !on {
            (self.ends)();
        }
        Ok(())
    }

    fn take(&mut self) -> Result<PageSet, DirtyError> {
        Ok(PageSet::none(&self.ram))
    }
}

impl<F> fmt::Debug for Still<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Still")
    }
}
