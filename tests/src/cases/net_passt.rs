//! A machine of somebody without rights: passt carries its guest's traffic.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Outcome};
use crate::vm::Vm;

use super::net_bindings::{EXAMPLES, POD, Pod, answered, configure, download, nothing_is_left, power_off};

pub(super) const CASES: &[Case] = &[Case::host("net-passt-without-rights", passt).within(300)];

/// Who has none.
const NOBODY: u32 = 65534;
/// Another address of the neighbour's: what goes to the gateway's, passt takes to the host itself.
const BESIDE: &str = "10.244.0.9";

fn passt(ctx: &Ctx) -> Outcome {
    let pod = Pod::make("passt")?;
    pod.outside(&format!("ip addr add {BESIDE}/24 dev out0"))?;
    fs::set_permissions("/dev/kvm", Permissions::from_mode(0o666)).doing("letting everybody use KVM")?;
    for folder in [&ctx.scratch, &ctx.results] {
        chown(folder, Some(NOBODY), Some(NOBODY)).doing("giving a folder away")?;
    }
    let manifest = ctx.payload.join(EXAMPLES).join("passt.yaml");
    let mut vm = Vm::start_file_as(ctx, "passt", &manifest, &[], Some(NOBODY))?;
    let mut agent = vm.agent()?;
    let lease = configure(&mut agent)?;
    ensure!(lease.contains(&format!("ip='{POD}'")), "passt told the guest {lease}");
    download(ctx, &pod, &mut agent, BESIDE)?;
    answered(&pod, &mut agent, POD, "8080")?;
    power_off(&mut vm, &mut agent)?;
    let processes = super::tools::busybox(&["ps"])?;
    ensure!(!processes.contains("passt --"), "passt goes on: {processes}");
    nothing_is_left(ctx)
}
