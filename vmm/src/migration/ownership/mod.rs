//! Who owns the machine: the pure part of a migration, for each side a table of what follows from what.
//!
//! The rule: until the source says `Go`, the machine is the source's; from then on the source does not run it unless the
//! destination has said that it never will. The destination runs it after `Go` alone, and only once it holds the disks and has
//! written down that the machine is its own. Two processes that can fail at any time cannot agree in a bounded number of messages, so
//! there is one moment, between `Go` and the answer to it, in which neither side may decide for the other: the source then asks until it
//! is answered, with its machine standing still. The worst that can happen is that nobody runs the machine, never that both do.
//!
//! The tests try all ways in which messages, failures and ends of processes can follow each other ([`model`]).

mod destination;
#[cfg(test)]
mod model;
mod source;

pub use destination::{Destination, DestinationEvent, DestinationOrder};
pub use source::{Source, SourceEvent, SourceOrder};
