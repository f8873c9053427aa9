//! What a fault is, done.

use std::thread;
use std::time::Duration;

use guest::sys;

use super::chance::Chance;
use super::fault::{Cell, Fault};
use super::link::{Deed, Side};
use super::phase::Phase;
use super::room::fill;
use super::scene::{DESTINATION, PLACE, SOURCE};
use crate::case::Ctx;
use crate::commands::beside;
use crate::vm::Vm;

/// What is to be done at the moment.
pub(super) fn deed(ctx: &Ctx, cell: Cell, sides: [&Vm; 2], chance: &mut Chance) -> Deed {
    let side = chance.side();
    // Some faults come a little later, in the midst of what follows.
    let pause = Duration::from_micros(if chance.coin() { 0 } else { chance.draw() % 3000 });
    let [source, destination] = sides.map(|vm| i32::try_from(vm.pid()).unwrap_or(i32::MAX));
    let kill = |process| -> Deed {
        Deed::Do(
            side,
            Box::new(move || {
                thread::sleep(pause);
                // One that is gone already is what was wanted.
                let _ = sys::kill(process, libc::SIGKILL);
            }),
        )
    };
    let fill = |root: &str| {
        let room = ctx.scratch.join(root);
        Deed::Do(Side::Before, Box::new(move || drop(fill(&room, 0))))
    };
    match cell.fault {
        Fault::KillSource => kill(source),
        Fault::KillDestination => kill(destination),
        Fault::Cut => Deed::Cut(side),
        Fault::CutForGood => Deed::CutForGood(side),
        Fault::Alter => Deed::Alter(chance.draw()),
        Fault::Stall => Deed::Stall,
        Fault::FullSource => fill(SOURCE),
        Fault::FullDestination if cell.way.copies() && chance.coin() => fill(PLACE),
        Fault::FullDestination => fill(DESTINATION),
        Fault::OtherVersion => Deed::OtherVersion,
        Fault::WrongCertificate => Deed::Mislead(if cell.phase == Phase::Call { Side::Before } else { side }),
        Fault::Cancel => {
            let ctx = ctx.clone();
            Deed::Do(
                side,
                Box::new(move || {
                    thread::sleep(pause);
                    // It may be too late for that.
                    let _ = beside(&ctx, SOURCE, &["migrate-cancel", "payload"]);
                }),
            )
        }
        Fault::Nothing => Deed::Do(side, Box::new(|| ())),
    }
}
