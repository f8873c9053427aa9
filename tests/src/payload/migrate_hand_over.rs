//! Machines that change hands while something goes wrong.

use std::thread;
use std::time::Duration;

use super::SOON;
use super::life::is_paused;
use super::migrate::{
    address, counting, counting_as, kernel, last_event, manifest, migration, number, waiting,
};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::faults::hearing::{Hearing, kind};
use crate::faults::link::{Deed, Ends, Link, Moment, Side};
use crate::faults::socket::Place;
use crate::manifest::Manifest;
use crate::vm::Vm;
use crate::wait::until;

/// By so much, connections after the first are late.
const LATER: Duration = Duration::from_secs(3);

/// Moves the machine by way of somebody who does harm when `Go` passes; it is not waited for.
fn by_link(ctx: &Ctx, to: &str, deed: Deed) -> Result<Link, Failure> {
    const GO: Moment = Moment { kind: kind::GO, nth: 1 };
    let place = |name: &str| Place::Unix(ctx.scratch.join(format!("{name}.sock")));
    let near = format!("{to}-near");
    let ends = Ends::between(place(&near), place(to));
    let link = Link::open(ends, Hearing::Frames, (GO, deed), LATER)?;
    let (code, text) = beside(ctx, "run", &["migrate", "payload", &address(ctx, &near), "--no-wait"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    Ok(link)
}

/// The connection breaks when the machine changes hands: it runs on one side.
pub(super) fn hand_over(ctx: &Ctx) -> Outcome {
    let mut vm = counting(ctx)?;
    // The destination has not been told to go: the source asks, and goes on.
    let mut second = waiting(ctx, "second")?;
    let _link = by_link(ctx, "second", Deed::Cut(Side::Before))?;
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    ensure!(migration(&vm)?["failed"] == true, "{}", migration(&vm)?);
    number(&mut vm)?;
    let ended = second.wait_exit(SOON)?;
    ensure!(ended.code == Some(3), "a destination that gave up ended with {ended:?}");
    ensure!(second.console().text().is_empty(), "it ran: {:?}", second.console().text());
    // It has, and the source does not hear of it: nobody runs it for a while, then the destination.
    let mut third = waiting(ctx, "third")?;
    let before = number(&mut vm)?;
    let _link = by_link(ctx, "third", Deed::Cut(Side::Behind))?;
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    let after = number(&mut third)?;
    ensure!(after > before, "{before} became {after}");
    third.type_in("q")?;
    third.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// The destination is killed before it has run the machine. On one host, the source sees that, and goes on by itself.
pub(super) fn dies_before(ctx: &Ctx) -> Outcome {
    let mut vm = counting(ctx)?;
    let second = waiting(ctx, "second")?;
    let process = i32::try_from(second.pid()).doing("process id")?;
    // One that is gone already is what was wanted.
    let kill = move || drop(guest::sys::kill(process, libc::SIGKILL));
    let _link = by_link(ctx, "second", Deed::Do(Side::Before, Box::new(kill)))?;
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    let state = migration(&vm)?;
    let why = state["failureReason"].as_str().unwrap_or_default();
    ensure!(why.contains("died before the machine ran there"), "{state}");
    number(&mut vm)?;
    ensure!(second.console().text().is_empty(), "it ran: {:?}", second.console().text());
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// The destination is killed when it runs the machine, and the source has not heard of that: it stands still until an operator says
/// otherwise, whoever comes in the destination's place.
pub(super) fn dies_behind(ctx: &Ctx) -> Outcome {
    let mut vm = counting(ctx)?;
    let mut second = waiting(ctx, "second")?;
    let _link = by_link(ctx, "second", Deed::CutForGood(Side::Behind))?;
    number(&mut second)?;
    second.signal(libc::SIGKILL)?;
    second.wait_exit(SOON)?;
    until("doubt", || Ok(!last_event(&vm, "MigrationInDoubt")?.is_empty()))?;
    let before = vm.console().text();
    let stands = |vm: &Vm| {
        ensure!(vm.console().text() == before, "what has run elsewhere runs: {:?}", vm.console().text());
        Ok::<_, Failure>(())
    };
    vm.type_in("c")?;
    thread::sleep(Duration::from_secs(3));
    stands(&vm)?;
    let refused = vm.ask("unpause")?;
    ensure!(refused.status == 409, "unpause is answered by {refused:?}");
    // In the same place, it removes what the first one left there.
    drop(second);
    let _anew = waiting(ctx, "second")?;
    thread::sleep(Duration::from_secs(3));
    stands(&vm)?;
    let (code, text) = beside(ctx, "run", &["migrate-cancel", "payload"])?;
    ensure!(code == Some(1) && text.contains("handed over"), "it ended with {code:?} and {text:?}");
    let (code, text) = beside(ctx, "run", &["migrate-cancel", "payload", "--force"])?;
    ensure!(code == Some(0), "it ended with {code:?} and {text:?}");
    until("the end of the migration", || Ok(migration(&vm)?["completed"] == true))?;
    number(&mut vm)?;
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// A machine runs on both sides, since somebody had the source go on who was wrong: it is paused there as soon as it is heard of.
pub(super) fn runs_elsewhere(ctx: &Ctx) -> Outcome {
    // With a disk, it would not get the disk.
    let mut vm = counting_as(ctx, &Manifest::bare("payload").memory("64Mi").grace(1))?;
    let mut second = waiting(ctx, "second")?;
    let link = by_link(ctx, "second", Deed::CutForGood(Side::Behind))?;
    number(&mut second)?;
    until("doubt", || Ok(!last_event(&vm, "MigrationInDoubt")?.is_empty()))?;
    let (code, text) = beside(ctx, "run", &["migrate-cancel", "payload", "--force"])?;
    ensure!(code == Some(0), "it ended with {code:?} and {text:?}");
    number(&mut vm)?;
    link.revive();
    until("word from the destination", || Ok(!last_event(&vm, "RunsElsewhere")?.is_empty()))?;
    vm.wait_status(SOON, is_paused)?;
    number(&mut second)?;
    vm.signal(libc::SIGTERM)?;
    vm.wait_exit(SOON)?.expect(5, "killed")?;
    second.type_in("q")?;
    second.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

/// A source that does not know whether its machine runs does not end by the way; if it is made to, it leaves word of that, and the
/// machine is not started a second time before somebody has looked.
pub(super) fn ends_in_doubt(ctx: &Ctx) -> Outcome {
    let mut vm = counting_as(ctx, &manifest().grace(0))?;
    let mut second = waiting(ctx, "second")?;
    let _link = by_link(ctx, "second", Deed::CutForGood(Side::Behind))?;
    number(&mut second)?;
    until("doubt", || Ok(!last_event(&vm, "MigrationInDoubt")?.is_empty()))?;
    for times in 1..=2 {
        vm.signal(libc::SIGTERM)?;
        until("an answer to the signal", || {
            Ok(vm.errors().matches("--force ends it all the same").count() == times)
        })?;
        let (code, text) = beside(ctx, "run", &["stop", "payload"])?;
        ensure!(code == Some(1) && text.contains("being saved"), "stop ended with {code:?} and {text:?}");
    }
    let (code, text) = beside(ctx, "run", &["stop", "payload", "--force"])?;
    ensure!(code == Some(0), "stop ended with {code:?} and {text:?}");
    vm.wait_exit(SOON)?.expect(5, "in-doubt")?;
    ensure!(vm.status_file()?["status"]["phase"] == "Failed", "{}", vm.status_file()?["status"]);
    let (_, text) = beside(ctx, "run", &["status", "payload"])?;
    ensure!(text.contains("Handed over") && text.contains("second-near.sock"), "status says {text:?}");
    is_not_started(ctx)?;
    // Nor after it was waited for in vain.
    let mut back = waiting(ctx, "run")?;
    back.signal(libc::SIGTERM)?;
    back.wait_exit(SOON)?;
    is_not_started(ctx)?;
    let (code, text) = beside(ctx, "run", &["delete", "payload"])?;
    ensure!(code == Some(0), "delete ended with {code:?} and {text:?}");
    let (code, text) = beside(ctx, "run", &["status", "payload"])?;
    ensure!(code == Some(3) && text.contains("no machine"), "status ended with {code:?} and {text:?}");
    number(&mut second)?;
    second.type_in("q")?;
    second.wait_exit(SOON)?.expect(0, "guest-shutdown").map(drop)
}

fn is_not_started(ctx: &Ctx) -> Outcome {
    let mut again = Vm::start(ctx, &manifest(), &["--kernel", &kernel(ctx)?])?;
    let ended = again.wait_exit(SOON)?;
    ensure!(ended.errors.contains("see there first"), "it was started again: {ended:?}");
    Ok(())
}
