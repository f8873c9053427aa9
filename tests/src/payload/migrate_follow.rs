//! Machines that move before their memory has.

use std::thread;
use std::time::Duration;

use serde_json::json;

use super::SOON;
use super::migrate::{
    address, annotation, counting, counting_as, manifest, migration, number, progress, waiting,
};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Failure, Outcome};
use crate::huge_pages::HugePages;
use crate::machine::condition;
use crate::vm::Vm;
use crate::wait::until;

/// Those that the machine's memory consists of.
const HUGE_PAGES: u64 = 32;

/// The guest runs at the destination while its memory follows, and finds what it wrote. Two moves, of which the second is one of a
/// machine whose first one is just over.
pub(super) fn follows(ctx: &Ctx) -> Outcome {
    let mut first = counting(ctx)?;
    let before = number(&mut first)?;
    let mut second = waiting(ctx, "second")?;
    begin(ctx, "run", "second", "4Mi")?;
    first.wait_exit(SOON)?.expect(0, "migrated")?;
    ensure!(migration(&first)?["mode"] == "PostCopy", "{}", migration(&first)?);
    let between = number(&mut second)?;
    ensure!(between > before, "{before} became {between}");
    until("all memory", || Ok(missing(&second)?.is_none()))?;
    let mut third = waiting(ctx, "third")?;
    begin(ctx, "second", "third", "4Mi")?;
    second.wait_exit(SOON)?.expect(0, "migrated")?;
    let after = number(&mut third)?;
    ensure!(after > between, "{between} became {after}");
    third.type_in("q")?;
    third.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    let texts = [&second, &third].map(|vm| vm.console().text());
    ensure!(texts.iter().all(|text| !text.contains("wrong")), "the guest found other memory than it wrote");
    Ok(())
}

/// Memory in huge pages follows in whole ones.
pub(super) fn huge_pages(ctx: &Ctx) -> Outcome {
    let mut manifest = manifest();
    manifest.set("/spec/domain/memory/hugepages", json!({"pageSize": "2Mi"}));
    // For both sides.
    let _pages = HugePages::reserve(2 * HUGE_PAGES)?;
    let mut first = counting_as(ctx, &manifest)?;
    let before = number(&mut first)?;
    let mut second = waiting(ctx, "second")?;
    begin(ctx, "run", "second", "4Mi")?;
    first.wait_exit(SOON)?.expect(0, "migrated")?;
    let after = number(&mut second)?;
    ensure!(after > before, "{before} became {after}");
    until("all memory", || Ok(missing(&second)?.is_none()))?;
    second.type_in("q")?;
    second.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(!second.console().text().contains("wrong"), "the guest found other memory than it wrote");
    Ok(())
}

/// The source dies while memory is missing: the guest waits for ever, says so, and can be ended.
pub(super) fn source_dies(ctx: &Ctx) -> Outcome {
    let mut first = counting(ctx)?;
    let mut second = waiting(ctx, "second")?;
    part(ctx, &mut first, "512Ki")?;
    first.signal(libc::SIGKILL)?;
    until("the machine to wait", || Ok(condition(&second.status_file()?, "Paused") == "True"))?;
    let object = second.status_file()?;
    ensure!(object["status"].to_string().contains("PostcopyFailed"), "{}", object["status"]);
    ensure!(missing(&second)?.is_some_and(|bytes| bytes > 0), "nothing is missing: {object}");
    let refused = second.ask("unpause")?;
    ensure!(refused.status == 409, "unpause is answered by {refused:?}");
    let (code, text) = beside(ctx, "second", &["stop", "payload", "--force"])?;
    ensure!(code == Some(0), "stop ended with {code:?} and {text:?}");
    // A vCPU whose instruction is emulated waits in the host's kernel, which the end of the process alone ends.
    let ended = second.wait_exit(SOON * 2)?;
    ensure!(matches!(ended.code, Some(3 | 5)), "it ended with {:?}: {}", ended.code, ended.errors);
    Ok(())
}

/// The destination dies while it lacks memory: the source, whose memory is old, runs never again.
pub(super) fn destination_dies(ctx: &Ctx) -> Outcome {
    let mut first = counting(ctx)?;
    let second = waiting(ctx, "second")?;
    part(ctx, &mut first, "512Ki")?;
    second.signal(libc::SIGKILL)?;
    let before = first.console().text();
    first.type_in("c")?;
    thread::sleep(Duration::from_millis(500));
    ensure!(first.console().text() == before, "it runs again: {:?}", first.console().text());
    for args in [&["migrate-cancel", "payload"][..], &["migrate-cancel", "payload", "--force"]] {
        let (code, text) = beside(ctx, "run", args)?;
        ensure!(code == Some(1), "{args:?} ended with {code:?} and {text:?}");
    }
    let refused = first.ask("unpause")?;
    ensure!(refused.status == 409, "unpause is answered by {refused:?}");
    let (code, text) = beside(ctx, "run", &["stop", "payload", "--force"])?;
    ensure!(code == Some(0), "stop ended with {code:?} and {text:?}");
    first.wait_exit(SOON)?.expect(5, "killed").map(drop)
}

/// A source whose memory is needed does not end because its guest has no time to go down; nor when it is told twice.
pub(super) fn stays_while_needed(ctx: &Ctx) -> Outcome {
    let mut first = counting_as(ctx, &manifest().grace(0))?;
    let before = number(&mut first)?;
    let mut second = waiting(ctx, "second")?;
    part(ctx, &mut first, "256Ki")?;
    for _ in 0..2 {
        first.signal(libc::SIGTERM)?;
        let (code, text) = beside(ctx, "run", &["stop", "payload"])?;
        ensure!(code == Some(1) && text.contains("being saved"), "stop ended with {code:?} and {text:?}");
    }
    until("the destination to say what is missing", || {
        Ok(missing(&second).is_ok_and(|bytes| bytes > Some(0)))
    })?;
    first.wait_exit(SOON)?.expect(0, "migrated")?;
    let after = number(&mut second)?;
    ensure!(after > before, "{before} became {after}");
    second.type_in("q")?;
    second.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(!second.console().text().contains("wrong"), "the guest found other memory than it wrote");
    Ok(())
}

/// The guest ends at the destination while memory is missing: the source need not keep it any more.
pub(super) fn guest_ends(ctx: &Ctx) -> Outcome {
    let mut first = counting(ctx)?;
    let mut second = waiting(ctx, "second")?;
    part(ctx, &mut first, "256Ki")?;
    until("the destination to say what is missing", || {
        Ok(missing(&second).is_ok_and(|bytes| bytes > Some(0)))
    })?;
    second.type_in("q")?;
    second.wait_exit(SOON)?.expect(0, "guest-shutdown")?;
    ensure!(!second.errors().contains("all of the guest's memory"), "it ended when all had come");
    first.wait_exit(SOON)?.expect(0, "migrated").map(drop)
}

/// Has the machine go before pages that its guest does not touch any more, and that take some seconds.
pub(super) fn part(ctx: &Ctx, first: &mut Vm, bandwidth: &str) -> Outcome {
    begin(ctx, "run", "second", bandwidth)?;
    until("memory to be copied", || Ok(phase(first)? == "Copying"))?;
    first.type_in("w")?;
    until("memory to follow", || Ok(phase(first)? == "Serving"))
}

/// Begins a move from one root of runtime directories to another, which is handed over after one round.
pub(super) fn begin(ctx: &Ctx, from: &str, to: &str, bandwidth: &str) -> Outcome {
    let address = address(ctx, to);
    let options = ["--post-copy", "--bandwidth", bandwidth, "--downtime", "1", "--no-wait"];
    let (code, text) = beside(ctx, from, &[&["migrate", "payload", &address], options.as_slice()].concat())?;
    ensure!(code == Some(0), "migrate ended with {code:?} and {text:?}");
    Ok(())
}

/// Bytes of memory that have not come, if that is not over.
pub(super) fn missing(vm: &Vm) -> Result<Option<u64>, Failure> {
    Ok(annotation(vm, "kubevmm.io/memory-on-demand")?["missingBytes"].as_u64())
}

/// What a move is at.
pub(super) fn phase(vm: &Vm) -> Result<String, Failure> {
    Ok(progress(vm)?["phase"].as_str().unwrap_or_default().to_owned())
}
