//! What came of many migrations.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use super::fault::{Cell, Fault};
use super::scene::{Fate, Ran};
use super::way::Way;

/// What came of all of them.
#[derive(Debug, Default)]
pub struct Findings {
    fates: BTreeMap<Cell, BTreeMap<Fate, u64>>,
    /// Runs in which the moment did not come.
    pub untouched: u64,
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.tripped, self.fate) {
            (false, _) => "the moment did not come",
            (_, Fate::Stays) => "it stays",
            (_, Fate::Moves) => "it moves",
            (_, Fate::Dies) => "it is gone with its process",
            (_, Fate::TakenBack) => "it is taken back",
            (_, Fate::Waits) => "it waits for memory that is gone",
        })
    }
}

impl Findings {
    pub(super) fn note(&mut self, cell: Cell, ran: Ran) {
        if ran.tripped {
            *self.fates.entry(cell).or_default().entry(ran.fate).or_default() += 1;
        } else {
            self.untouched += 1;
        }
    }

    /// A table for each way, of faults and phases, with how often the machine stayed (s), moved (m), was gone with its process (d), was
    /// taken back by an operator (b), and waited for memory that was gone (w).
    pub fn tables(&self) -> String {
        let ways = Way::ALL.into_iter().filter(|way| self.fates.keys().any(|cell| cell.way == *way));
        ways.map(|way| self.table(way)).collect::<Vec<_>>().join("\n")
    }

    fn table(&self, way: Way) -> String {
        // A String takes all that is written to it.
        let mut text = format!("| {} |", way.name());
        for phase in way.phases() {
            let _ = write!(text, " `{phase:?}` |");
        }
        text += "\n|---|";
        text += &"---|".repeat(way.phases().count());
        let is_of = |fault| self.fates.keys().any(|cell| (cell.way, cell.fault) == (way, fault));
        for fault in Fault::ALL.into_iter().filter(|fault| is_of(*fault)) {
            let _ = write!(text, "\n| {} |", fault.name());
            for phase in way.phases() {
                let _ = write!(text, " {} |", self.cell(Cell { way, fault, phase }));
            }
        }
        text + "\n"
    }

    fn cell(&self, cell: Cell) -> String {
        let fates = self.fates.get(&cell).into_iter().flatten();
        let letters = fates.map(|(fate, count)| {
            let letter = match fate {
                Fate::Stays => 's',
                Fate::Moves => 'm',
                Fate::Dies => 'd',
                Fate::TakenBack => 'b',
                Fate::Waits => 'w',
            };
            format!("{count}{letter}")
        });
        letters.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::phase::Phase;
    use super::*;

    #[test]
    fn the_table_tells_of_every_fate() {
        let mut findings = Findings::default();
        let cell = Cell { way: Way::Follows, fault: Fault::Cut, phase: Phase::Complete };
        let ran = |fate| Ran { fate, tripped: true };
        for fate in [Fate::Moves, Fate::Stays, Fate::Stays] {
            findings.note(cell, ran(fate));
        }
        findings.note(cell, Ran { fate: Fate::Moves, tripped: false });
        let table = findings.tables();
        let row = table.lines().find(|line| line.starts_with("| cut |")).unwrap();
        assert!(row.ends_with(" 2s 1m |"), "{row:?}");
        assert_eq!(table.lines().count(), 3, "the table of one way, with one row: {table}");
        assert_eq!(findings.untouched, 1);
    }
}
