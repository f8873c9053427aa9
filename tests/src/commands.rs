//! Commands beside a machine, as a person types them.

use std::io::Write;
use std::process::{Output, Stdio};

use crate::case::Ctx;
use crate::ensure;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::command;

/// Runs a command beside the case's machines, with `keys` on its standard input.
///
/// # Errors
/// If it cannot be started.
pub fn kubevmm(ctx: &Ctx, args: &[&str], keys: &str) -> Result<Output, Failure> {
    // What follows `--` is the guest's.
    let (own, rest) = args.split_at(args.iter().position(|word| *word == "--").unwrap_or(args.len()));
    let mut child = command(ctx)
        .args(own)
        .arg("--runtime-dir")
        .arg(ctx.scratch.join("run"))
        .args(rest)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing("starting kubevmm")?;
    let mut stdin = child.stdin.take().ok_or("no pipe to standard input")?;
    stdin.write_all(keys.as_bytes()).doing("typing")?;
    drop(stdin);
    child.wait_with_output().doing("waiting for kubevmm")
}

/// What a command prints, which has to end with this exit code.
///
/// # Errors
/// If it ends with another.
pub fn says(ctx: &Ctx, code: i32, args: &[&str]) -> Result<String, Failure> {
    let output = kubevmm(ctx, args, "")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = text(&output.stdout) + &text(&output.stderr);
    ensure!(output.status.code() == Some(code), "{args:?} ended with {} and {all:?}", output.status);
    Ok(all)
}

/// Runs a command that has to end with this exit code and to print `wanted` among other things.
///
/// # Errors
/// If it does not.
pub fn expect(ctx: &Ctx, code: i32, args: &[&str], wanted: &str) -> Outcome {
    let text = says(ctx, code, args)?;
    ensure!(text.contains(wanted), "{args:?} says {text:?} without {wanted:?}");
    Ok(())
}

/// Runs a command beside machines with this root of runtime directories in the scratch folder; exit code, and what it said.
///
/// # Errors
/// If it cannot be started.
pub fn beside(ctx: &Ctx, root: &str, args: &[&str]) -> Result<(Option<i32>, String), Failure> {
    let output = command(ctx)
        .args(args)
        .arg("--runtime-dir")
        .arg(ctx.scratch.join(root))
        .stdin(Stdio::null())
        .output()
        .doing("starting kubevmm")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((output.status.code(), text(&output.stdout) + &text(&output.stderr)))
}
