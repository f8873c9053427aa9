//! Faults while snapshots are taken: whatever goes wrong and when, there is a sound snapshot afterwards or none, and the machine goes on, or
//! is gone with its process.

mod cell;
mod scene;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

pub use cell::{Cell, Fault, Kind, Moment};
pub use scene::Came;

use super::Chance;
use super::soak::{Soak, in_folder};
use crate::case::Ctx;
use crate::failure::{Failure, Outcome};

/// What came of many of them.
#[derive(Debug, Default)]
struct Findings(BTreeMap<Cell, BTreeMap<Came, u64>>);

impl Findings {
    /// A table for each kind, of faults and moments, with how often there was a snapshot (t), and none (n).
    fn tables(&self) -> String {
        Kind::ALL.map(|kind| self.table(kind)).join("\n")
    }

    fn table(&self, kind: Kind) -> String {
        // A String takes all that is written to it.
        let mut text = format!("| {kind:?} |");
        for moment in Moment::ALL {
            let _ = write!(text, " {moment:?} |");
        }
        text += "\n|---|";
        text += &"---|".repeat(Moment::ALL.len());
        for fault in Fault::ALL {
            let _ = write!(text, "\n| {} |", fault.name());
            for moment in Moment::ALL {
                let came = self.0.get(&Cell { kind, fault, moment }).into_iter().flatten();
                let came = came
                    .map(|(came, count)| format!("{count}{}", if *came == Came::Taken { 't' } else { 'n' }));
                let _ = write!(text, " {} |", came.collect::<Vec<_>>().join(" "));
            }
        }
        text + "\n"
    }
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Taken => "there is a snapshot, and it is sound",
            Self::None => "there is none",
        })
    }
}

/// Runs as many as are asked for. Whether all was as it should be.
pub(super) fn soak(ctx: &Ctx, soak: &Soak, cells: &[Cell]) -> bool {
    let mut findings = Findings::default();
    let failed = soak.run(
        cells,
        &|index, cell: Cell, mut chance| in_folder(ctx, index, |own| scene::run(own, cell, &mut chance)),
        &mut |cell, came| *findings.0.entry(cell).or_default().entry(came).or_default() += 1,
    );
    println!("\n{}", findings.tables());
    soak.say_end(&failed)
}

/// A small selection for every day.
///
/// # Errors
/// If anything is not as it should be.
pub fn selection(ctx: &Ctx) -> Outcome {
    use Fault::{Full, FullReader, KillCommand, KillMachine};
    let cells = [
        (Kind::Whole, KillMachine, Moment::Memory),
        (Kind::Whole, KillMachine, Moment::Sums),
        (Kind::Whole, Full, Moment::Memory),
        (Kind::Incremental, Full, Moment::State),
        (Kind::Incremental, KillMachine, Moment::Manifest),
        (Kind::Incremental, KillCommand, Moment::Memory),
        (Kind::Stream, FullReader, Moment::Before),
        (Kind::Stream, KillCommand, Moment::Named),
    ];
    for (index, (kind, fault, moment)) in (0..).zip(cells) {
        let cell = Cell { kind, fault, moment };
        let mut chance = Chance::new(index);
        let came = in_folder(ctx, index, |own| scene::run(own, cell, &mut chance));
        let came = came.map_err(|Failure(why)| format!("{cell}: {why}"))?;
        ctx.note(&format!("{cell}: {came}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_tells_of_what_came() {
        let cell = Cell { kind: Kind::Whole, fault: Fault::Full, moment: Moment::Named };
        let came = BTreeMap::from([(Came::Taken, 2), (Came::None, 1)]);
        let table = Findings(BTreeMap::from([(cell, came)])).tables();
        assert!(
            table.lines().any(|line| line.starts_with("| full |") && line.ends_with(" 2t 1n |")),
            "{table}"
        );
    }
}
