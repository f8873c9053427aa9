//! Cases that take minutes, for tasks of their own: `cargo xtask test cloud`, `cargo xtask soak`.

mod cloud;
mod debian;
mod kill;
mod soak;

use crate::case::Case;

/// All of them.
pub const CASES: &[Case] = &[
    Case::long("cloud-debian", 60, cloud::debian),
    Case::long("soak-fio", 24 * 60, soak::fio),
    Case::long("soak-kill", 20, kill::kill),
];
