//! What a machine's cards are planned for: the network namespace that this process is in.

use std::path::Path;

use spec::api::VirtualMachineInstance;

use super::Failure;
use super::manifest::POD;
use crate::open::look_around;
use crate::plan::Surroundings;

/// Looks at the host's network if the machine has a card. Nothing is changed.
pub(super) fn gather(machine: &VirtualMachineInstance) -> Result<Surroundings, Failure> {
    if machine.spec.domain.devices.interfaces.is_empty() {
        return Ok(Surroundings::default());
    }
    look_around(Some(Path::new(POD)))
        .map_err(|source| Failure::Host { what: "the host's network could not be looked at", source })
}
