//! Disks of a machine that moves: which are the same on both sides, and how the others get there.
//!
//! The source tells of its disks ([`Devices`]), the destination says what is to become of each ([`Verdict`]). Disks that are copied are copied in
//! rounds, as memory is; of those that both sides seem to have, and for which there is no proof, some blocks are compared
//! when the guest stands still.

mod arriving;
mod copy;
mod leaving;
mod left;
mod notes;
mod sameness;
mod samples;
#[cfg(test)]
mod tests;
mod verdict;

pub use arriving::{Agreed, FilesDisk, OurDisk, Sinks, accept};
pub use leaving::{Leaving, LeavingDisk, Part, Send};
pub use left::{LeftDisks, Trust, take};
pub use notes::{Added, AddedDevice, Answer, Devices, DiskKind, DiskNote, Verdict, Wish};
pub use sameness::{BaseNote, FileIdentity, FileNote, host};
