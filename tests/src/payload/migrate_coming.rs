//! Machines that are to move on, or to be saved, while their own memory is still coming.

use std::thread;
use std::time::Duration;

use super::SOON;
use super::migrate::{counting, migration, waiting};
use super::migrate_follow::{begin, missing, part, phase};
use crate::case::Ctx;
use crate::commands::beside;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::machine::condition;
use crate::vm::Vm;
use crate::wait::until;

/// A source that says nothing any more, and a machine that has gone before its memory. After 20 s of silence the source counts as gone.
fn stopped(ctx: &Ctx) -> Result<[Vm; 2], Failure> {
    let mut first = counting(ctx)?;
    let second = waiting(ctx, "second")?;
    part(ctx, &mut first, "256Ki")?;
    until("the destination to say what is missing", || {
        Ok(missing(&second).is_ok_and(|bytes| bytes > Some(0)))
    })?;
    first.signal(libc::SIGSTOP)?;
    Ok([first, second])
}

/// Who has the memory says nothing any more: a move that waits for it can be cancelled, and the machine ended.
pub(super) fn source_is_silent(ctx: &Ctx) -> Outcome {
    let [first, second] = stopped(ctx)?;
    // Nobody is there, who would be called when all memory has come.
    begin(ctx, "second", "third", "1Gi")?;
    thread::sleep(Duration::from_millis(300));
    ensure!(phase(&second)? == "Connecting", "it does not wait: {}", migration(&second)?);
    let (code, text) = beside(ctx, "second", &["migrate-cancel", "payload"])?;
    ensure!(code == Some(0), "migrate-cancel ended with {code:?} and {text:?}");
    until("the move to be over", || Ok(migration(&second)?["completed"] == true))?;
    ensure!(migration(&second)?["abortStatus"] == "Succeeded", "{}", migration(&second)?);
    first.signal(libc::SIGKILL)?;
    end(ctx, second)
}

/// Who has the memory goes while a snapshot waits for it: that is given up, and the machine waits alone.
pub(super) fn source_dies(ctx: &Ctx) -> Outcome {
    let [first, second] = stopped(ctx)?;
    let place = ctx.scratch.join("saved");
    let name = place.to_string_lossy();
    let (code, text) = thread::scope(|scope| {
        let saving = scope.spawn(|| beside(ctx, "second", &["snapshot", "payload", &name]));
        thread::sleep(Duration::from_millis(500));
        ensure!(!saving.is_finished(), "it does not wait");
        first.signal(libc::SIGKILL)?;
        saving.join().map_err(|_| "a thread died")?
    })?;
    ensure!(
        code == Some(1) && text.contains("has not come yet, and cannot be had"),
        "snapshot ended with {code:?} and {text:?}"
    );
    ensure!(!place.exists(), "something is left of what was not saved");
    let left = std::fs::read_dir(&ctx.scratch).doing("looking for what is left")?;
    let partial = left.flatten().any(|entry| entry.file_name().to_string_lossy().contains(".partial"));
    ensure!(!partial, "a part is left of what was not saved");
    until("the machine to wait", || Ok(condition(&second.status_file()?, "Paused") == "True"))?;
    let object = second.status_file()?;
    ensure!(object["status"].to_string().contains("PostcopyFailed"), "{}", object["status"]);
    end(ctx, second)
}

/// Ends a machine that may wait for its memory.
fn end(ctx: &Ctx, mut second: Vm) -> Outcome {
    let (code, text) = beside(ctx, "second", &["stop", "payload", "--force"])?;
    ensure!(code == Some(0), "stop ended with {code:?} and {text:?}");
    // A vCPU whose instruction is emulated waits in the host's kernel, which the end of the process alone ends.
    let ended = second.wait_exit(SOON * 2)?;
    ensure!(matches!(ended.code, Some(3 | 5)), "it ended with {:?}: {}", ended.code, ended.errors);
    Ok(())
}
