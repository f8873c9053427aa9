//! KubeVirt objects: reading manifests with positions, defaults and rules, what kubevmm does with each field.
//!
//! The way through: [`load`] reads files to [`source::Document`]s, [`admit()`] gives a document types, defaults and a
//! [`Verdict`] with every cause at its line. Nothing here touches KVM, and nothing beside manifest files is opened.

pub mod admit;
pub mod api;
pub mod base64;
pub mod cloud_init;
pub mod cni;
pub mod downward;
pub mod explain;
pub mod file_disk;
pub mod formats;
mod labels;
pub mod machine;
pub mod report;
pub mod resolve;
pub mod schema;
pub mod source;
pub mod support;
mod text;
pub mod uuid;
pub mod yaml;

pub use admit::{Cause, Object, Reason, Verdict, Warning, admit};
pub use explain::{ExplainError, Explanation, explain};
pub use machine::Topology;
pub use resolve::{Places, Resolved, read_values, resolve};
pub use schema::schema;
pub use source::{Document, LoadError, Location, Manifests, load};
pub use uuid::Uuid;
