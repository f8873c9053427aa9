//! Tests against QEMU's own tools, and with images that nobody should make.

mod crash;
mod full;
mod hand_over;
mod hostile;
mod hostile_streams;
mod hostile_tables;
mod judge;
pub(crate) mod oracle;
mod read;
mod turns;
mod write;
