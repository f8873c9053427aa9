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

mod core;
mod cpu;
mod devices;
mod disk;
mod domain;
mod features;
mod firmware;
mod interface;
mod meta;
mod quantity;
mod scheduling;
mod values;
mod vm;
mod vmi;
mod volume;

pub use self::core::*;
pub use cpu::*;
pub use devices::*;
pub use disk::*;
pub use domain::*;
pub use features::*;
pub use firmware::*;
pub use interface::*;
pub use meta::*;
pub use quantity::{Quantity, QuantityError};
pub use scheduling::*;
pub use values::{Bytes, IntOrString};
pub use vm::*;
pub use vmi::*;
pub use volume::*;
