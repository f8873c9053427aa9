//! By what a guest learns that it is not the only one of its past any more, so that it must not go on with random numbers, or
//! names, that others have, too: the virtual machine generation ID, and the page of its clock, which also tells of moves.

use arch::layout::{GENERATION_GPE, GENERATION_ID, VMCLOCK_GPE};
use devices::GuestRam;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError};

use super::Machine;

/// A fresh identifier from the kernel's random numbers.
const RANDOM: &str = "/proc/sys/kernel/random/uuid";

/// Gives the guest a new identifier.
pub(super) fn renew(ram: &GuestRam) -> Result<(), GuestMemoryError> {
    let text = std::fs::read_to_string(RANDOM).unwrap_or_default();
    // A host that gives none leaves the guest what it has.
    match text.trim_end().parse::<spec::Uuid>() {
        Ok(id) => ram.write_slice(&id.bytes(), GuestAddress(GENERATION_ID)),
        Err(_) => Ok(()),
    }
}

impl Machine {
    /// Tells the guest that it was brought back, perhaps more than once.
    ///
    /// # Errors
    /// Its memory does not reach so far.
    pub fn change_generation(&self) -> Result<(), GuestMemoryError> {
        renew(&self.ram)?;
        self.chipset.pm.raise_gpe(GENERATION_GPE);
        self.chipset.vmclock.renew();
        self.chipset.pm.raise_gpe(VMCLOCK_GPE);
        Ok(())
    }

    /// Tells the guest that what it has measured of its time stamp counter is worth nothing any more.
    pub(super) fn disrupt_clock(&self) {
        self.chipset.vmclock.disrupt();
        self.chipset.pm.raise_gpe(VMCLOCK_GPE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ram::Ram;

    use super::*;

    #[test]
    fn each_identifier_is_another_one() {
        let ram: GuestRam = Arc::new(Ram::from_ranges(&[(GuestAddress(0), 1 << 20)]).unwrap());
        let id = || {
            renew(&ram).unwrap();
            ram.read_obj::<u128>(GuestAddress(GENERATION_ID)).unwrap()
        };
        let (one, other) = (id(), id());
        assert!(one != 0 && one != other);
    }
}
