//! Programs that run in the guest.

use std::time::{Duration, Instant};

use super::calls::{self, ExecStatus};
use super::client::Client;
use super::{AgentAnswer, AgentError, AgentReply, ExecOutcome, ExecRequest};
use crate::pauses::Pauses;

/// Most programs that are watched at a time.
pub(super) const MOST_RUNNING: usize = 16;
/// How soon a program is asked after for the first time, and at the most how long it is left alone then.
const FIRST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A program that runs in the guest, and who waits for its end.
#[derive(Debug)]
pub(super) struct Running {
    pid: i64,
    reply: AgentReply,
    timeout: Duration,
    deadline: Instant,
    pauses: Pauses,
    look: Instant,
}

/// How a program does.
#[derive(Debug)]
pub(super) enum Looked {
    /// It runs still.
    Runs(Running),
    /// Whoever waited for it has been told.
    Told,
    /// The agent was lost over the question.
    Lost(AgentError),
}

impl Running {
    /// Starts a program.
    pub(super) fn start(client: &mut Client, request: &ExecRequest) -> Result<i64, AgentError> {
        check(request)?;
        client.call(&calls::exec(request)).map(|started| started.pid)
    }

    /// The program `pid`, which has been started.
    pub(super) fn new(pid: i64, timeout: Duration, reply: AgentReply, now: Instant) -> Self {
        // A deadline that no clock can tell is none that is ever reached.
        let deadline = now.checked_add(timeout).unwrap_or(now + Duration::from_secs(u32::MAX.into()));
        let mut pauses = Pauses::new(FIRST_LOOK, LONGEST_PAUSE);
        let look = now + pauses.next();
        Self { pid, reply, timeout, deadline, pauses, look }
    }

    /// When it is to be asked after.
    pub(super) fn due(&self) -> Instant {
        self.look.min(self.deadline)
    }

    /// Asks after it.
    pub(super) fn look(mut self, client: &mut Client) -> Looked {
        match client.call(&calls::exec_status(self.pid)) {
            Ok(status) if status.exited => self.reply.give(Ok(AgentAnswer::Exec(outcome(status)))),
            Ok(_) if Instant::now() >= self.deadline => {
                let (pid, after) = (self.pid, self.timeout);
                self.reply.give(Err(AgentError::StillRuns { pid, after }));
            }
            Ok(_) => {
                self.look = Instant::now() + self.pauses.next();
                return Looked::Runs(self);
            }
            Err(error @ AgentError::Lost(_)) => {
                self.reply.give(Err(error.clone()));
                return Looked::Lost(error);
            }
            Err(error) => self.reply.give(Err(error)),
        }
        Looked::Told
    }

    /// The agent is gone.
    pub(super) fn lose(self, error: &AgentError) {
        self.reply.give(Err(error.clone()));
    }
}

fn outcome(status: ExecStatus) -> ExecOutcome {
    ExecOutcome {
        exit_code: status.exit_code,
        signal: status.signal,
        stdout: status.out_data,
        stderr: status.err_data,
        truncated: status.out_truncated || status.err_truncated,
    }
}

fn check(request: &ExecRequest) -> Result<(), AgentError> {
    let arguments: usize = request.argv.iter().map(String::len).sum();
    let message = if request.argv.first().is_none_or(String::is_empty) {
        "name a program to run in the guest".to_owned()
    } else if arguments > ExecRequest::MOST_ARGUMENTS {
        format!("the program's arguments are longer than {} bytes", ExecRequest::MOST_ARGUMENTS)
    } else if request.input.len() > ExecRequest::MOST_INPUT {
        format!("the program's input is longer than {} bytes", ExecRequest::MOST_INPUT)
    } else {
        return Ok(());
    };
    Err(AgentError::Invalid(message))
}
