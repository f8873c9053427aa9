//! The kubevmm process: one KubeVirt virtual machine, from its manifest to its exit code.
//!
//! The way through: [`cli`] reads manifests and lets `spec` admit them, [`plan`] decides everything about the machine,
//! [`open`] opens what the plan names, [`machine`] builds it, [`vcpu`] runs it, and the driver in [`state`] watches it to
//! its end.

pub mod agent;
pub mod api;
pub mod cli;
pub mod client;
pub mod console;
pub mod demand;
pub mod dirty;
pub mod dump;
pub mod fleet;
pub mod hotplug;
pub mod kvm;
pub mod machine;
pub mod metrics;
pub mod migration;
pub mod milestone;
pub mod open;
mod pauses;
pub mod plan;
pub mod snapshot;
pub mod state;
pub mod status;
pub mod sys;
mod turns;
pub mod vcpu;
