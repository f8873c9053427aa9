//! The test host itself: what every other case relies on.

use std::fs::{self, OpenOptions};

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Outcome};

pub(super) const CASES: &[Case] = &[Case::host("test-host-has-hardware-virtualization", virtualization)];

fn virtualization(_: &Ctx) -> Outcome {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").doing("opening /dev/kvm")?;
    let npt = fs::read_to_string("/sys/module/kvm_amd/parameters/npt").doing("looking for kvm_amd")?;
    ensure!(matches!(npt.trim(), "Y" | "1"), "nested paging is off");
    Ok(())
}
