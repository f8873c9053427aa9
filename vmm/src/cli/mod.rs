//! The command line.

mod args;
mod boot;
mod check;
mod choose;
mod commands;
mod completion;
mod cpu;
mod detach;
mod down;
mod explain;
mod help;
mod image;
mod images;
mod man;
mod manifest;
mod operate;
mod output;
mod plan;
mod receive;
mod refuge;
mod restore;
mod run;
mod surroundings;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use args::Args;
use devices::chain;

use crate::client::ClientError;
use crate::snapshot::SnapshotError;

/// Exit code: a manifest is rejected, or a machine refuses.
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
    /// The manifests hold nothing to run.
    #[error("the manifests hold no VirtualMachine and no VirtualMachineInstance (found: {found}){hint}")]
    NoMachine {
        /// What they hold instead.
        found: String,
        /// What can be done about it.
        hint: String,
    },
    /// Things that the machine refers to are not there; everything was said already.
    #[error("the machine refers to things that are not there")]
    Missing,
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Something of the host could not be had; everything was said already.
    #[error("{0}")]
    NotOpened(String),
    /// A disk image cannot be used.
    #[error(transparent)]
    Image(#[from] block::DiskError),
    /// The machine could not be built.
    #[error(transparent)]
    Run(#[from] crate::state::RunError),
    /// A fleet cannot be looked after.
    #[error(transparent)]
    Fleet(#[from] crate::fleet::FolderError),
    /// A supervisor cannot go on.
    #[error(transparent)]
    Supervisor(#[from] crate::fleet::SupervisorError),
    /// A machine cannot be reached, or refuses.
    #[error(transparent)]
    Client(#[from] crate::client::ClientError),
    /// A snapshot cannot be used.
    #[error(transparent)]
    Snapshot(#[from] crate::snapshot::SnapshotError),
    /// All that there is of a machine was not sent whole.
    #[error("the machine has ended and not all of its snapshot was sent: it is kept, `kubevmm restore {}` brings the machine back", directory.display())]
    Unsent {
        /// Where it is kept.
        directory: PathBuf,
        #[source]
        source: crate::snapshot::SnapshotError,
    },
    /// What was waited for did not come.
    #[error("{0}")]
    NotSo(String),
    /// Some other call of the host failed.
    #[error("{what}")]
    Host {
        what: &'static str,
        #[source]
        source: std::io::Error,
    },
}

impl Failure {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Rejected | Self::NoMachine { .. } | Self::NotSo(_) => REJECTED,
            Self::Client(ClientError::Refused { .. }) => REJECTED,
            Self::Snapshot(SnapshotError::Usage(_)) => USAGE,
            Self::Snapshot(SnapshotError::Memory(_) | SnapshotError::File { .. }) => HOST,
            Self::Snapshot(_) => REJECTED,
            Self::Usage(_) => USAGE,
            Self::Missing
            | Self::NotOpened(_)
            | Self::Image(_)
            | Self::Run(_)
            | Self::Fleet(_)
            | Self::Supervisor(_)
            | Self::Client(_)
            | Self::Unsent { .. }
            | Self::Host { .. } => HOST,
        }
    }
}

/// Runs the command that `arguments` (without the program's name) ask for.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    match dispatch(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !matches!(failure, Failure::Rejected | Failure::Missing | Failure::NotOpened(_)) {
                output::say(&format!("kubevmm: {}\n", chain(&failure)));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(arguments: &[OsString]) -> Result<u8, Failure> {
    let Some((verb, rest)) = arguments.split_first() else {
        output::say(&help::overview());
        return Ok(USAGE);
    };
    let verb = verb.to_string_lossy();
    match verb.as_ref() {
        "help" | "--help" | "-h" => {
            let text = help::about(rest.first().map(|verb| verb.to_string_lossy()).as_deref())?;
            return output::print(&text).map(|()| 0);
        }
        "version" | "--version" | "-V" => {
            return output::print(&format!("kubevmm {}\n", env!("CARGO_PKG_VERSION"))).map(|()| 0);
        }
        "image" => return image::main(rest),
        _ => {}
    }
    let command = commands::find(&verb)
        .ok_or_else(|| Failure::Usage(format!("there is no command {verb:?}; kubevmm --help lists them")))?;
    let args = Args::parse(command, rest)?;
    if args.has("help") {
        return output::print(&help::command(command)).map(|()| 0);
    }
    if let Some(done) = operate::main(command.name, &args) {
        return done;
    }
    match command.name {
        "run" => run::main(&args),
        "restore" => restore::main(&args),
        "receive" => receive::main(&args),
        "up" => up::main(&args),
        "down" => down::main(&args),
        "plan" => plan::main(&args),
        "explain" => explain::explain(&args),
        "cpu" => cpu::main(&args),
        "schema" => explain::schema(&args),
        "completion" => completion::main(&args),
        "man" => man::main(&args),
        _ => check::main(&args),
    }
}
