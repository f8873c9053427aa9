//! Machines whose process is to end, and that move for it.

use net::socket;
use serde_json::json;

use super::SOON;
use super::migrate::{address, kernel, manifest, migration, number, waiting};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::Vm;
use crate::wait::until;

/// A machine that counts, and goes to `refuge` by this strategy; it has `grace` seconds to power off.
fn evictable(ctx: &Ctx, strategy: &str, grace: u64) -> Result<Vm, Failure> {
    let mut manifest = manifest().grace(grace);
    manifest.set("/spec/evictionStrategy", json!(strategy));
    ctx.claim("data", 1 << 20, 1)?;
    let refuge = address(ctx, "refuge");
    let vm = Vm::start(ctx, &manifest, &["--kernel", &kernel(ctx)?, "--evict-to", &refuge])?;
    vm.console().wait_for("payload: counts\n", SOON)?;
    Ok(vm)
}

fn node(vm: &Vm) -> Result<bool, Failure> {
    Ok(vm.object()?["status"]["evacuationNodeName"].as_str().is_some_and(|node| !node.is_empty()))
}

/// SIGTERM moves it, tries again, or shuts it down, as its strategy says; a second one shuts it down.
pub(super) fn strategies(ctx: &Ctx) -> Outcome {
    let mut vm = evictable(ctx, "LiveMigrate", 600)?;
    // Nobody is there: it stays, and tries again, unless somebody says that it is to stay.
    vm.signal(libc::SIGTERM)?;
    until("a failed attempt", || Ok(vm.errors().contains("another attempt is made in 5 s")))?;
    until("the mark", || node(&vm))?;
    until("the attempt's end", || Ok(migration(&vm)?["failed"] == true))?;
    vm.operate("evacuate/cancel")?;
    ensure!(!node(&vm)?, "it is marked still: {}", vm.object()?["status"]);
    ensure!(vm.ask("evacuate/cancel")?.status == 404, "what is not marked has nothing to cancel");
    number(&mut vm)?;
    // Somebody is.
    let mut refuge = waiting(ctx, "refuge")?;
    let before = number(&mut vm)?;
    vm.signal(libc::SIGTERM)?;
    vm.wait_exit(SOON)?.expect(0, "migrated")?;
    let after = number(&mut refuge)?;
    ensure!(after > before, "{before} became {after}");
    refuge.type_in("q")?;
    refuge.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    // Where nobody comes, it insists for as long as its guest may take to power off.
    let mut vm = evictable(ctx, "LiveMigrate", 5)?;
    vm.signal(libc::SIGTERM)?;
    let ended = vm.wait_exit(SOON)?;
    ended.expect(5, "killed")?;
    let said = ended.errors.contains("another attempt") && ended.errors.contains("no other attempt is made");
    ensure!(said, "it ended with {}", ended.errors);
    // It does not insist: the guest, which cares for no button, is stopped when its second is over.
    let mut vm = evictable(ctx, "LiveMigrateIfPossible", 1)?;
    vm.signal(libc::SIGTERM)?;
    vm.wait_exit(SOON)?.expect(5, "killed")?;
    // Whoever asks twice wants it to end.
    let mut vm = evictable(ctx, "External", 1)?;
    vm.signal(libc::SIGTERM)?;
    until("the mark", || node(&vm))?;
    number(&mut vm)?;
    vm.signal(libc::SIGTERM)?;
    vm.wait_exit(SOON)?.expect(5, "killed").map(drop)
}

/// A guest that powers off is left to it, and a move that somebody else has begun is not broken off for one that cannot begin.
pub(super) fn others_have_a_say(ctx: &Ctx) -> Outcome {
    // It takes whoever calls, and says nothing.
    let silent = |root: &str| {
        let path = ctx.scratch.join(format!("{root}.sock"));
        socket::listen(&path).doing("listening as a destination that says nothing")
    };
    let mut vm = evictable(ctx, "LiveMigrateIfPossible", 600)?;
    let _refuge = silent("refuge")?;
    vm.signal(libc::SIGTERM)?;
    until("the mark", || node(&vm))?;
    let (code, text) = beside(ctx, "run", &["stop", "payload"])?;
    ensure!(code == Some(0), "stop ended with {code:?} and {text:?}");
    until("the move's end", || Ok(migration(&vm)?["failed"] == true))?;
    ensure!(!node(&vm)?, "it is marked still: {}", vm.object()?["status"]);
    ensure!(!vm.errors().contains("no other attempt is made"), "it said {}", vm.errors());
    number(&mut vm)?;
    vm.type_in("q")?;
    vm.wait_exit(SOON)?.expect(0, "terminated")?;
    // Its second attempt, when its grace period is over, finds it on its way.
    std::fs::remove_file(ctx.scratch.join("refuge.sock")).doing("taking the destination away")?;
    let mut vm = evictable(ctx, "LiveMigrate", 2)?;
    vm.signal(libc::SIGTERM)?;
    until("a failed attempt", || Ok(vm.errors().contains("another attempt is made")))?;
    let _other = silent("other")?;
    let (code, text) = beside(ctx, "run", &["migrate", "payload", &address(ctx, "other"), "--no-wait"])?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    until("the second attempt", || Ok(vm.errors().contains("on its way already")))?;
    ensure!(migration(&vm)?["completed"] != true, "{}", migration(&vm)?);
    number(&mut vm)?;
    // Whoever asks twice breaks it off.
    vm.signal(libc::SIGTERM)?;
    vm.wait_exit(SOON)?.expect(5, "killed").map(drop)
}
