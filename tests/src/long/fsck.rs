//! Verdicts of programs on an image that no machine has open.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use guest::sys;

use super::{E2FSCK, FILES_DISK};
use crate::case::Ctx;
use crate::cases::tools::busybox;
use crate::failure::{Doing, Failure, Outcome};
use crate::vm::command;

/// Where the disk with the tools is mounted.
pub(super) const TOOLS: &str = "/tmp/files";
/// `kubevmm image check` has found leaks and nothing else.
const LEAKS: i32 = 3;
/// `e2fsck` has repaired all that was wrong.
const REPAIRED: i32 = 1;

/// Mounts the disk with the tools.
pub(super) fn mount_tools() -> Outcome {
    let disk = busybox(&["findfs", &format!("LABEL={FILES_DISK}")])?;
    fs::create_dir_all(TOOLS)?;
    sys::mount(disk.trim(), TOOLS, "ext4", true).doing("mounting the disk with the tools")
}

/// Copies an image into another format.
pub(super) fn convert(ctx: &Ctx, from: &Path, to: &Path, format: &str) -> Outcome {
    let mut convert = command(ctx);
    convert.args(["image", "convert", "--quiet", "--target-format", format]).arg(from).arg(to);
    verdict(&mut convert, &[0]).map(drop)
}

/// Has the image checked: it may have leaks. What the check says.
pub(super) fn image(ctx: &Ctx, image: &Path) -> Result<String, Failure> {
    verdict(command(ctx).args(["image", "check"]).arg(image), &[0, LEAKS])
}

/// Has the file system in an image checked, in a copy: the journal is replayed, and after that nothing may be wrong.
/// What the replay says.
pub(super) fn file_system(ctx: &Ctx, image: &Path) -> Result<String, Failure> {
    let copy = ctx.scratch.join("copy.raw");
    convert(ctx, image, &copy, "raw")?;
    let e2fsck = Path::new(TOOLS).join(E2FSCK);
    let replay = verdict(Command::new(&e2fsck).arg("-fp").arg(&copy), &[0, REPAIRED])?;
    verdict(Command::new(&e2fsck).arg("-fn").arg(&copy), &[0])?;
    fs::remove_file(copy)?;
    Ok(replay)
}

/// Runs a program that has to end with one of these codes; the code and what it says.
fn verdict(program: &mut Command, good: &[i32]) -> Result<String, Failure> {
    let Output { status, stdout, stderr } = program.output().doing("starting a program")?;
    let said = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    let code = status.code().filter(|code| good.contains(code));
    let code = code.ok_or_else(|| Failure(format!("{program:?} ended with {status}: {said}")))?;
    Ok(format!("{code} ({})", said.trim().replace('\n', "; ")))
}
