//! Guest side.
fn main() {}
