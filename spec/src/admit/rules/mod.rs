//! KubeVirt's rules and our own, each in a function named after what it checks, grouped as the API is.
//!
//! All run after the defaults, as in a cluster. Where a cluster's answer names another field than the one at fault, the
//! rule gives both.

mod firmware;
mod network;
mod sizes;
mod storage;

use super::Findings;
use crate::api::VirtualMachineInstance;

/// Checks a machine.
pub(super) fn machine(vmi: &VirtualMachineInstance, findings: &mut Findings<'_>) {
    sizes::check(&vmi.spec, findings);
    firmware::check(&vmi.spec, findings);
    storage::check(&vmi.spec, findings);
    network::check(&vmi.spec, findings);
}
