//! The memory of a payload as a core file.

use std::fs;

use super::elf::LOAD;
use super::{SOON, code, start};
use crate::case::Ctx;
use crate::commands::expect;
use crate::ensure;
use crate::failure::{Doing, Outcome};

/// Memory and registers are in the file, and the guest goes on.
pub(super) fn dump(ctx: &Ctx) -> Outcome {
    let mut vm = start(ctx, code::echo(), &[])?;
    vm.console().wait_for("payload: type\n", SOON)?;
    let path = ctx.scratch.join("core");
    let file = path.to_string_lossy();
    expect(ctx, 1, &["dump", "payload", "/no/such/folder/core"], "No such file")?;
    expect(ctx, 0, &["dump", "payload", &file], "64 MiB")?;
    let core = fs::read(&path).doing("reading the core")?;
    let memory = find(&core, 1, LOAD.into()).ok_or("the core does not have the payload's memory")?;
    ensure!(memory.starts_with(code::echo()), "the core has something else where the payload is");
    // The note of the one vCPU: a header of 12 bytes, the name, 112 bytes before the registers, of which RIP is the 16th.
    let notes = find(&core, 4, 0).ok_or("the core has no notes")?;
    let rip = notes.get(20 + 112 + 16 * 8..).and_then(|bytes| bytes.first_chunk()).copied();
    let rip = u64::from_le_bytes(rip.ok_or("the notes are too short")?);
    let length = u64::try_from(code::echo().len()).unwrap_or(0);
    ensure!((u64::from(LOAD)..u64::from(LOAD) + length).contains(&rip), "the guest was at {rip:#x}");
    vm.type_in("a")?;
    vm.console().wait_for("a", SOON)?;
    // One that stood still does not go on for it, and what was there is replaced.
    expect(ctx, 0, &["pause", "payload"], "is paused")?;
    expect(ctx, 0, &["dump", "payload", &file], "64 MiB")?;
    expect(ctx, 1, &["pause", "payload"], "already paused")?;
    expect(ctx, 0, &["unpause", "payload"], "goes on")?;
    let left = fs::read_dir(&ctx.scratch)?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains("partial"));
    ensure!(left.count() == 0, "something is left of a dump");
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// The contents of the segment of this kind, from this address on.
fn find(core: &[u8], kind: u32, address: u64) -> Option<&[u8]> {
    let word = |at: usize| Some(u64::from_le_bytes(*core.get(at..)?.first_chunk()?));
    let count = u16::from_le_bytes(*core.get(56..)?.first_chunk()?);
    (0..usize::from(count)).map(|index| 64 + 56 * index).find_map(|at| {
        let is_it = core.get(at..)?.first_chunk() == Some(&kind.to_le_bytes());
        let (offset, start, size) = (word(at + 8)?, word(at + 24)?, word(at + 32)?);
        let skip = address.checked_sub(start).filter(|skip| is_it && *skip < size)?;
        let place = usize::try_from(offset.checked_add(skip)?).ok()?;
        core.get(place..place.checked_add(usize::try_from(size - skip).ok()?)?)
    })
}
