//! What the program inside a test guest and the tests outside it share:
//! the operations and their answers ([`protocol`]), the data that block
//! tests write and check ([`pattern`], [`duplex`]), how far a guest at work
//! is ([`progress`]), and the first steps of a process that runs as init
//! ([`early`]), which the test host takes as well.

#[expect(unsafe_code, reason = "system calls that the standard library does not wrap")]
pub mod clocks;
pub mod duplex;
pub mod early;
pub mod pattern;
pub mod progress;
pub mod protocol;
pub mod stamps;
#[expect(unsafe_code, reason = "system calls that the standard library does not wrap")]
pub mod sys;
pub mod traffic;
