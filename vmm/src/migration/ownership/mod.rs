//! Who owns the machine: the pure part of a migration, for each side a table of what follows from what.
//!
//! The rule: until the source says `Go`, the machine is the source's; from then on the source does not run it unless the
//! destination has said that it never will. The destination runs it after `Go` alone, and only once it holds the disks and has
//! written down that the machine is its own. Two processes that can fail at any time cannot agree in a bounded number of messages, so
//! there is one moment, between `Go` and the answer to it, in which neither side may decide for the other: the source then asks until it
//! is answered, with its machine standing still. The worst that can happen is that nobody runs the machine, never that both do. On one
//! host there may be a proof that the destination died without having run it ([`witness`](super::witness)), which is as good as an answer.
//!
//! If a part of the memory follows the machine, the source is needed after it has ceased to own the machine: it keeps the memory until the
//! destination has all of it, and never runs it. A destination that dies in between takes the machine with it.
//!
//! The tests try all ways in which messages, failures and ends of processes can follow each other ([`model`]).

mod destination;
#[cfg(test)]
mod model;
mod source;

pub use destination::{Destination, DestinationEvent, DestinationOrder};
pub use source::{Memory, Source, SourceEvent, SourceOrder};
