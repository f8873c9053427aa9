//! Integration tests of kubevmm.
//!
//! A *case* ([`case::Case`]) is one function in [`cases`]. The *runner* (this crate's
//! binary) runs cases: on the local KVM those that need no more than any KVM, and as
//! init of the *test host*, a small Linux under an emulator that has hardware
//! virtualization, all of them ([`host`]). `cargo xtask test` prepares and starts both.

pub mod agent;
pub mod api;
pub mod case;
pub mod cases;
pub mod commands;
pub mod console;
pub mod failure;
pub mod faults;
pub mod footprint;
pub mod host;
pub mod huge_pages;
pub mod long;
pub mod machine;
pub mod manifest;
pub mod payload;
pub mod report;
pub mod supervisor;
pub mod verdict;
pub mod vm;
pub mod wait;
