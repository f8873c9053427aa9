//! The guest's memory as an ELF core file, as `crash`, gdb and drgn read it: what QEMU's `dump-guest-memory` writes.

mod elf;
mod error;
mod file;
mod memory;
mod notes;
mod registers;
#[cfg(test)]
mod tests;
pub mod vmcoreinfo;

use std::path::Path;
use std::time::{Duration, Instant};

use devices::GuestRam;

pub use error::DumpError;
pub use registers::Registers;

use crate::state::{Hold, Order, Release, Requests};

/// What came of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Bytes of memory that the file stands for.
    pub memory: u64,
    /// Bytes of it that are not zero, and so take room.
    pub stored: u64,
    /// How long the machine stood still.
    pub paused: Duration,
    /// The guest's kernel has told where its own description is, without which `crash` has to guess.
    pub described: bool,
}

/// Writes the memory of the machine that `requests` reach to `path`; the machine stands still while it is read. The file is there as a whole
/// or not at all; one that was there before is replaced. For a thread of its own.
///
/// # Errors
/// The file cannot be written, the machine cannot be stopped, or not all of its memory comes; the machine goes on all the same.
pub fn write(path: &Path, requests: &Requests) -> Result<Summary, DumpError> {
    let fail = |source| DumpError::File { path: path.to_owned(), source };
    let partial = file::Partial::create(path).map_err(fail)?;
    // What is still coming comes while the guest runs. It is broken off with the machine.
    Order::wait(|order| requests.look(order))?.presence.await_all(&mut |_| false)?;
    let hold = Order::<Hold>::wait(|order| requests.save(order))?;
    let saved = hold.saved();
    let cpus: Vec<_> = saved.state.vcpus.iter().map(Registers::of).collect();
    let written = saved.state.chipset.fw_cfg.written.get(vmcoreinfo::FILE);
    let description = written.and_then(|place| vmcoreinfo::note(place, &saved.ram));
    let stored = write_to(partial.file(), &cpus, description.as_deref(), &saved.ram).map_err(fail)?;
    let memory = memory::size(&saved.ram);
    let paused = saved.stopped;
    hold.release(Release::GoOn);
    let paused = Instant::now().saturating_duration_since(paused);
    partial.finish().map_err(fail)?;
    Ok(Summary { memory, stored, paused, described: description.is_some() })
}

/// Writes headers, notes and memory; gives back how many bytes of memory took room.
fn write_to(
    file: &std::fs::File,
    cpus: &[Registers],
    description: Option<&[u8]>,
    ram: &GuestRam,
) -> std::io::Result<u64> {
    let mut notes = Vec::new();
    for (cpu, number) in cpus.iter().zip(1..) {
        notes.extend(notes::status(cpu, number));
    }
    for cpu in cpus {
        notes.extend(notes::qemu(cpu));
    }
    notes.extend_from_slice(description.unwrap_or_default());
    let layout = elf::Layout::new(memory::ranges(ram), notes.len());
    file::write_all_at(file, &layout.headers(), 0)?;
    file::write_all_at(file, &notes, layout.notes_offset())?;
    memory::write(file, ram, &layout)
}
