//! Benchmarks inside the test host. With instruction counting, a nanosecond
//! of its clock is an instruction of everything in it.

use crate::failure::Failure;
use crate::supervisor::Sink;
use crate::verdict::Line;

/// Measures and hands the figures to `sink`.
pub(super) fn run(sink: &Sink<'_>) -> Result<(), Failure> {
    sink(&Line::Note { text: "nothing is measured yet".to_owned() });
    Ok(())
}
