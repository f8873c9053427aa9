//! What can be asked of an agent.

use std::time::Duration;

use super::{AgentInfo, FileSystem, FreezeStatus, GuestInfo, User};

/// How long file systems stay frozen if nobody says: as virtctl has it.
pub const UNFREEZE: Duration = Duration::from_secs(300);

/// Something that an agent is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentCommand {
    /// Say that it is there.
    Ping,
    /// Say who and what the guest is.
    Info,
    /// Say who is logged in.
    Users,
    /// Say what is mounted.
    FileSystems,
    /// Say whether file systems take writes.
    FreezeStatus,
    /// Have all file systems write out what they hold, and hold further writes back.
    Freeze {
        /// They are thawed after this time if nobody has thawed them before.
        thaw_after: Option<Duration>,
    },
    /// Let file systems take writes again.
    Thaw,
    /// Run a program.
    Exec(ExecRequest),
    /// End the guest, or start it anew.
    ShutDown(ShutdownMode),
}

/// A program to be run in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program, looked up as the agent does, and its arguments.
    pub argv: Vec<String>,
    /// What the program reads on its standard input; at most [`ExecRequest::MOST_INPUT`] bytes.
    pub input: Vec<u8>,
    /// How long its end is waited for. The agent cannot end it: after this time it runs on, unwatched.
    pub timeout: Duration,
}

impl ExecRequest {
    /// Most bytes of input.
    pub const MOST_INPUT: usize = 1 << 20;
    /// Most bytes of arguments, as Linux has it for a program.
    pub const MOST_ARGUMENTS: usize = 128 << 10;
}

/// How a program in the guest ended, and what it wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Its exit code, unless a signal ended it.
    pub exit_code: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// Its standard output, of which the agent keeps 16 MiB.
    pub stdout: Vec<u8>,
    /// Its standard error, of which the agent keeps 16 MiB.
    pub stderr: Vec<u8>,
    /// The agent had to leave some of the output out.
    pub truncated: bool,
}

/// How a guest ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// The machine is off.
    PowerOff,
    /// The guest starts anew.
    Reboot,
}

/// All that an agent says of its guest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Everything {
    /// The agent itself.
    pub agent: AgentInfo,
    /// The guest.
    pub guest: GuestInfo,
    /// Who is logged in; nobody, if the agent does not say.
    pub users: Vec<User>,
    /// What is mounted; nothing, if the agent does not say.
    pub file_systems: Vec<FileSystem>,
}

/// What an agent answers.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentAnswer {
    /// It is done.
    Done,
    /// Who and what agent and guest are.
    Info(Box<Everything>),
    /// Who is logged in.
    Users(Vec<User>),
    /// What is mounted.
    FileSystems(Vec<FileSystem>),
    /// Whether file systems take writes.
    Freeze(FreezeStatus),
    /// How the program ended.
    Exec(ExecOutcome),
}
