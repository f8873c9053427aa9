//! Faults in migrations: each of many runs moves a machine between two processes, and something goes wrong at some moment.
//!
//! Whatever it is, the machine goes on in one process, or is gone with the one that was killed; never are there two, and no disk is
//! written by both, which the kernel's account of writers and a log on the disk prove ([`witness`]).

mod chance;
mod deed;
mod disks;
mod end;
mod fault;
mod findings;
pub mod hearing;
mod judge;
pub mod link;
mod phase;
mod room;
mod scene;
mod sight;
pub mod snapshots;
mod soak;
pub mod socket;
mod way;
pub mod witness;

use std::path::Path;

pub use chance::Chance;
pub use fault::{Cell, Fault};
pub use findings::Findings;
pub use phase::Phase;
pub use scene::{Fate, Ran};
use soak::{Soak, in_folder};
pub use way::Way;

use crate::case::Ctx;
use crate::failure::{Failure, Outcome};

/// A small selection for every day: a few faults of each way at the phases where most can go wrong.
const DAILY: [(Way, Fault, Phase); 22] = [
    (Way::Plain, Fault::KillSource, Phase::Go),
    (Way::Plain, Fault::KillDestination, Phase::Ready),
    (Way::Plain, Fault::Cut, Phase::Go),
    (Way::Plain, Fault::CutForGood, Phase::Running),
    (Way::Plain, Fault::FullSource, Phase::Ready),
    (Way::Plain, Fault::Cancel, Phase::RoundTaken),
    (Way::Plain, Fault::OtherVersion, Phase::Hello),
    (Way::Several, Fault::Cut, Phase::Joined),
    (Way::Several, Fault::Alter, Phase::Pages),
    (Way::Follows, Fault::KillSource, Phase::Running),
    (Way::Follows, Fault::KillDestination, Phase::Go),
    (Way::Follows, Fault::Cut, Phase::Late),
    (Way::Follows, Fault::Alter, Phase::Late),
    (Way::Copies, Fault::KillSource, Phase::Blocks),
    (Way::Copies, Fault::KillDestination, Phase::Go),
    (Way::Copies, Fault::FullDestination, Phase::Blocks),
    (Way::CopiesFollows, Fault::Cut, Phase::Go),
    (Way::Tls, Fault::WrongCertificate, Phase::Call),
    (Way::Tls, Fault::WrongCertificate, Phase::Go),
    (Way::TlsFollows, Fault::Alter, Phase::Late),
    (Way::TlsCopies, Fault::KillSource, Phase::Round),
    (Way::TlsCopies, Fault::Cut, Phase::Go),
];

/// Runs the selection for every day.
///
/// # Errors
/// If anything is not as it should be.
pub fn selection(ctx: &Ctx) -> Outcome {
    for (index, (way, fault, phase)) in (0..).zip(DAILY) {
        let cell = Cell { way, fault, phase };
        let mut chance = Chance::new(index);
        let ran = in_folder(ctx, index, |own| scene::run(own, cell, &mut chance));
        let ran = ran.map_err(|Failure(why)| format!("{cell}: {why}"))?;
        ctx.note(&format!("{cell}: {ran}"));
    }
    Ok(())
}

/// Runs what the command line asks for: `migrate` or `snapshots`, `RUNS SEED JOBS FIRST`, then parts of names, of which one has to be in
/// that of a run, if there are any.
///
/// # Errors
/// If the words say something else.
pub fn main(kubevmm: &Path, scratch: &Path, words: &[String]) -> Result<bool, Failure> {
    let ctx = Ctx {
        kubevmm: kubevmm.to_owned(),
        payload: std::path::PathBuf::new(),
        results: scratch.to_owned(),
        scratch: scratch.to_owned(),
    };
    let (what, words) = words.split_first().ok_or("migrate or snapshots?")?;
    let (soak, parts) = Soak::parse(words)?;
    match what.as_str() {
        "migrate" => Ok(migrations(&ctx, &soak, &named(Cell::all(&Way::ALL), parts)?)),
        "snapshots" => Ok(snapshots::soak(&ctx, &soak, &named(snapshots::Cell::all(), parts)?)),
        other => Err(Failure(format!("{other} is neither migrate nor snapshots"))),
    }
}

/// Those that have one of these parts in their names; all, if there are none.
fn named<C: std::fmt::Display>(mut cells: Vec<C>, parts: &[String]) -> Result<Vec<C>, Failure> {
    cells.retain(|cell| parts.is_empty() || parts.iter().any(|part| cell.to_string().contains(part)));
    if cells.is_empty() { Err(Failure(format!("nothing is called {parts:?}"))) } else { Ok(cells) }
}

/// Runs migrations. Whether all was as it should be.
fn migrations(ctx: &Ctx, soak: &Soak, cells: &[Cell]) -> bool {
    let mut findings = Findings::default();
    let failed = soak.run(
        cells,
        &|index, cell: Cell, mut chance| in_folder(ctx, index, |own| scene::run(own, cell, &mut chance)),
        &mut |cell, ran| findings.note(cell, ran),
    );
    println!("\n{}", findings.tables());
    println!("in {} of them the moment did not come", findings.untouched);
    soak.say_end(&failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_are_found_by_parts_of_their_names() {
        let all = || Cell::all(&Way::ALL);
        let of = |parts: &[&str]| {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            named(all(), &parts)
        };
        assert_eq!(of(&[]).unwrap(), all());
        assert!(of(&["tls: cut at", "stall at Go"]).unwrap().iter().all(|cell| {
            (cell.way, cell.fault) == (Way::Tls, Fault::Cut)
                || (cell.fault, cell.phase) == (Fault::Stall, Phase::Go)
        }));
        assert!(of(&["no such thing"]).is_err());
    }

    #[test]
    fn what_is_run_every_day_can_be() {
        let all = Cell::all(&Way::ALL);
        assert!(
            DAILY.iter().all(|(way, fault, phase)| {
                all.contains(&Cell { way: *way, fault: *fault, phase: *phase })
            })
        );
        assert!(Way::ALL.iter().all(|way| DAILY.iter().any(|(of, ..)| of == way)));
    }
}
