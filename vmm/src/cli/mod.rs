//! The command line.

mod args;
mod check;
mod commands;
mod help;
mod locate;
mod manifest;
mod plan;
mod run;

use std::ffi::OsString;
use std::process::ExitCode;

use args::Args;
use devices::chain;

/// Exit code: a manifest is rejected.
const REJECTED: u8 = 1;
/// Exit code: the command line makes no sense.
const USAGE: u8 = 2;
/// Exit code: the host cannot do what is asked.
const HOST: u8 = 3;

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// Manifests were rejected; everything was said already.
    #[error("the manifest is rejected")]
    Rejected,
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Something of the host could not be had.
    #[error(transparent)]
    Open(#[from] crate::open::OpenError),
    /// The machine could not be built.
    #[error(transparent)]
    Run(#[from] crate::state::RunError),
    /// Some other call of the host failed.
    #[error("{what}")]
    Host {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

/// Runs the command that `arguments` (without the program's name) ask for.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    match dispatch(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !matches!(failure, Failure::Rejected) {
                eprintln!("kubevmm: {}", chain(&failure));
            }
            ExitCode::from(match failure {
                Failure::Rejected => REJECTED,
                Failure::Usage(_) => USAGE,
                Failure::Open(_) | Failure::Run(_) | Failure::Host { .. } => HOST,
            })
        }
    }
}

fn dispatch(arguments: &[OsString]) -> Result<u8, Failure> {
    let Some((verb, rest)) = arguments.split_first() else {
        eprint!("{}", help::overview());
        return Ok(USAGE);
    };
    let verb = verb.to_string_lossy();
    match verb.as_ref() {
        "help" | "--help" | "-h" => {
            print!("{}", help::about(rest.first().map(|verb| verb.to_string_lossy()).as_deref())?);
            return Ok(0);
        }
        "version" | "--version" | "-V" => {
            println!("kubevmm {}", env!("CARGO_PKG_VERSION"));
            return Ok(0);
        }
        _ => {}
    }
    let command = commands::find(&verb)
        .ok_or_else(|| Failure::Usage(format!("there is no command {verb:?}; kubevmm --help lists them")))?;
    let args = Args::parse(command, rest)?;
    if args.has("help") {
        print!("{}", help::command(command));
        return Ok(0);
    }
    match command.name {
        "run" => run::main(&args),
        "plan" => plan::main(&args),
        _ => check::main(&args),
    }
}
