//! Messages on standard error.

use std::fmt;
use std::io::{self, Write};

/// Prints a line on standard error like `eprintln!`, but goes on where nobody is there to read it: a guest must not end
/// because a terminal was closed.
#[macro_export]
macro_rules! say {
    ($($arg:tt)*) => {
        $crate::say::line(format_args!($($arg)*))
    };
}

/// What [`say!`](crate::say!) does. A test's lines are shown if it fails, as its other output is.
pub fn line(text: fmt::Arguments<'_>) {
    if cfg!(test) {
        eprintln!("{text}");
    } else {
        // Nobody can be told.
        let _ = writeln!(io::stderr(), "{text}");
    }
}
