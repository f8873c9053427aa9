//! Windows that a guest moves.

use std::sync::Mutex;

use super::Space;
use crate::lock;

/// A window of a device (a PCI BAR): where its device wants it, and where the address space has it.
///
/// The device decides under its own lock; the address space follows when that lock is free again. Two vCPUs that move
/// the window at once may come to the address space in the other order, which is why they tell it to look again rather
/// than what to do: the window ends up where the device decided last, and nothing stays behind elsewhere.
#[derive(Debug)]
pub struct Window {
    space: Space,
    size: u64,
    wanted: Mutex<Option<u64>>,
    mapped: Mutex<Option<u64>>,
}

impl Window {
    /// A window of `size` bytes, at least 1, that is nowhere yet.
    pub fn new(space: Space, size: u64) -> Self {
        Self { space, size, wanted: Mutex::default(), mapped: Mutex::default() }
    }

    /// The address space that the window is in.
    pub fn space(&self) -> Space {
        self.space
    }

    /// Length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Decides where the window is to be, if anywhere; [`super::Action::Remap`] has to follow.
    pub fn want(&self, place: Option<u64>) {
        *lock(&self.wanted) = place;
    }

    /// Where the window is to be.
    pub fn wanted(&self) -> Option<u64> {
        *lock(&self.wanted)
    }

    /// Lets the address space follow: if the window is not where it is wanted, `unmap` takes it away from where it is
    /// and `map` puts it in its new place. A window that could not be mapped is nowhere until it moves again.
    ///
    /// # Errors
    /// What `map` says.
    pub fn follow<E>(
        &self,
        unmap: impl FnOnce(u64),
        map: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut mapped = lock(&self.mapped);
        let wanted = self.wanted();
        if *mapped == wanted {
            return Ok(());
        }
        if let Some(place) = mapped.take() {
            unmap(place);
        }
        if let Some(place) = wanted {
            map(place)?;
            *mapped = wanted;
        }
        Ok(())
    }
}
