//! Machines whose guest fills its memory when it is told to.

use super::{SOON, code, start_as};
use crate::case::Ctx;
use crate::failure::{Failure, Outcome};
use crate::manifest::Manifest;
use crate::vm::Vm;

/// One that has written 1 to all its pages.
pub(super) fn touching(ctx: &Ctx, manifest: &Manifest) -> Result<Vm, Failure> {
    let mut vm = start_as(ctx, manifest, code::touches(), &[])?;
    vm.console().wait_for("payload: touches\n", SOON)?;
    touch(&mut vm, 1)?;
    Ok(vm)
}

/// Has the guest write `round` into all its pages.
pub(super) fn touch(vm: &mut Vm, round: u32) -> Outcome {
    vm.type_in("t")?;
    vm.console().wait_for(&format!("{round:08X}"), SOON)
}
