//! The few system calls that have no safe wrapper elsewhere.

pub mod kick;
pub mod memory;
pub mod poll;
pub mod signals;
pub mod terminal;
