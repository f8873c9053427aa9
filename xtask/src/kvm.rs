//! What this machine's `/dev/kvm` is good for.

use std::fs::OpenOptions;
use std::path::Path;

/// The local KVM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kvm {
    /// Hardware virtualization: it runs any guest.
    Hardware,
    /// It can be opened but has no hardware below it: it runs small payloads only.
    Software,
    /// It cannot be used, and why.
    Absent(String),
}

pub(crate) fn look() -> Kvm {
    if let Err(error) = OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        return Kvm::Absent(format!("cannot open /dev/kvm: {error}"));
    }
    let hardware =
        ["kvm_intel", "kvm_amd"].iter().any(|module| Path::new("/sys/module").join(module).is_dir());
    if hardware { Kvm::Hardware } else { Kvm::Software }
}
