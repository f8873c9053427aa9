//! Tests against QEMU's own tools, and with images that nobody should make.

mod hostile;
mod oracle;
mod read;
mod write;
