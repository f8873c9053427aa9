//! `kubevmm image`: disk images, with the options and output of `qemu-img`.

mod bench;
mod check;
mod commands;
mod compare;
mod convert;
mod create;
mod info;
mod layout;
mod map;
mod progress;
mod resize;
mod source;
mod units;

use std::ffi::OsString;

use devices::chain;

use super::args::Args;
use super::{Failure, USAGE, help, output};
pub(super) use commands::COMMANDS;

/// Exit code of all commands but `compare`: it could not be done.
const FAILED: u8 = 1;
/// Exit code of `compare`, whose 1 says that images differ.
const NOT_COMPARED: u8 = 2;

/// Runs the command that `arguments` ask for; returns the exit code.
pub(super) fn main(arguments: &[OsString]) -> Result<u8, Failure> {
    let Some((verb, rest)) = arguments.split_first() else {
        output::say(&commands::overview());
        return Ok(USAGE);
    };
    let verb = verb.to_string_lossy();
    if matches!(verb.as_ref(), "help" | "--help" | "-h") {
        return output::print(&commands::overview()).map(|()| 0);
    }
    let command = commands::find(&verb).ok_or_else(|| {
        Failure::Usage(format!("there is no command image {verb}; kubevmm image --help lists them"))
    })?;
    let rest = if verb == "resize" { resize::with_size_last(rest) } else { rest.to_vec() };
    let done = Args::parse(command, &rest).and_then(|args| {
        if args.has("help") {
            return output::print(&help::command(command)).map(|()| 0);
        }
        match verb.as_ref() {
            "info" => info::main(&args),
            "check" => check::main(&args),
            "create" => create::main(&args),
            "convert" => convert::main(&args),
            "map" => map::main(&args),
            "compare" => compare::main(&args),
            "resize" => resize::main(&args),
            _ => bench::main(&args),
        }
    });
    Ok(done.unwrap_or_else(|failure| {
        output::say(&format!("kubevmm image {verb}: {}\n", chain(&failure)));
        if verb == "compare" { NOT_COMPARED } else { FAILED }
    }))
}
