//! Messages on standard error.

/// Prints a line on standard error like `eprintln!`, but goes on where nobody is there to read it: a guest must not end
/// because a terminal was closed.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($arg)*);
    }};
}
