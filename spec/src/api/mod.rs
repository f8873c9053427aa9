//! The objects of the KubeVirt API, and the Kubernetes objects they point to.
//!
//! Names are KubeVirt's. Each object is declared once; see [`kind`] for the table made of the declarations.

#[macro_use]
mod macros;

pub mod kind;
mod names;
pub mod read;
mod scalars;
pub mod union;
mod write;

mod claims;
mod core;
mod cpu;
mod devices;
mod disk;
mod domain;
mod features;
mod firmware;
mod instancetype;
mod interface;
mod meta;
mod migration;
mod migration_policy;
mod migration_status;
mod quantity;
mod roots;
mod scheduling;
mod sets;
mod status;
mod values;
mod vm;
mod vmi;
mod volume;

pub(crate) use names::nearest;

pub use self::core::*;
pub use claims::*;
pub use cpu::*;
pub use devices::*;
pub use disk::*;
pub use domain::*;
pub use features::*;
pub use firmware::*;
pub use instancetype::*;
pub use interface::*;
pub use meta::*;
pub use migration::*;
pub use migration_policy::*;
pub use migration_status::*;
pub use quantity::{Quantity, QuantityError};
pub use roots::{ROOTS, Root};
pub use scheduling::*;
pub use sets::*;
pub use status::*;
pub use values::{Bytes, IntOrString};
pub use vm::*;
pub use vmi::*;
pub use volume::*;
