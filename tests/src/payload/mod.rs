//! Payload cases: kernels of a few hundred instructions, on any KVM.

use crate::case::Case;

/// The cases of this tier.
pub const CASES: &[Case] = &[];
