//! Starting passt, now and again.

use std::fs;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{PasstError, PasstPlan, sys};
use crate::Peer;

/// How long passt may take to become ready before that is taken for granted; 0.1 s is usual.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often it is looked at meanwhile.
const PAUSE: Duration = Duration::from_millis(2);
/// How much of what it says is kept: as much as a pipe holds.
const SAID: u64 = 64 << 10;

/// Starts passt as often as it is needed; at most one runs.
#[derive(Debug)]
pub(super) struct Starter {
    plan: PasstPlan,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    running: Option<Running>,
    problem: Option<String>,
    ended: bool,
}

/// One passt. It would be killed by what it says if nobody had the other end of that.
#[derive(Debug)]
struct Running {
    child: Child,
    said: PipeReader,
}

impl Starter {
    pub(super) fn new(plan: &PasstPlan) -> Self {
        Self { plan: plan.clone(), state: Mutex::default() }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.state().running.as_ref().map(|running| running.child.id())
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.state().problem.clone()
    }

    /// Starts one and waits until it is ready; this process's end of the socket to it.
    pub(super) fn start(&self) -> Result<UnixStream, PasstError> {
        let mut state = self.state();
        if state.ended {
            return Err(PasstError::Stopped);
        }
        state.stop();
        let result = self.spawn(&mut state);
        state.problem = result.as_ref().err().map(ToString::to_string);
        result
    }

    /// Stops it for good.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        state.stop();
    }

    fn spawn(&self, state: &mut State) -> Result<UnixStream, PasstError> {
        let (ours, theirs) = UnixStream::pair().map_err(PasstError::Socket)?;
        let (said, says) = io::pipe().map_err(PasstError::Socket)?;
        // Nobody reads while it runs: what does not fit into the pipe is lost, instead of stopping it.
        for end in [said.as_fd(), says.as_fd()] {
            sys::set_nonblocking(end).map_err(PasstError::Socket)?;
        }
        let mut command = Command::new(&self.plan.program);
        command
            .args(self.plan.arguments(theirs.as_raw_fd(), sys::is_root()))
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(OwnedFd::from(says));
        sys::keep(&mut command, theirs.as_fd());
        let child = command
            .spawn()
            .map_err(|source| PasstError::Start { program: self.plan.program.clone(), source })?;
        // With the command goes this process's copy of what passt writes to.
        drop((command, theirs));
        state.running.insert(Running { child, said }).wait_until_ready()?;
        Ok(ours)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            // It may have ended by itself.
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

impl Drop for Starter {
    fn drop(&mut self) {
        self.end();
    }
}

impl Peer for Arc<Starter> {
    fn connect(&self) -> io::Result<UnixStream> {
        self.start().map_err(io::Error::other)
    }
}

impl Running {
    /// passt locks itself in when it has done everything that can go wrong.
    fn wait_until_ready(&mut self) -> Result<(), PasstError> {
        let status_file = format!("/proc/{}/status", self.child.id());
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(PasstError::Ended { status: status.to_string(), said: self.last_words() });
            }
            let status = fs::read_to_string(&status_file).unwrap_or_default();
            if status.lines().any(|line| line == "Seccomp:\t2") {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// What it said before it ended, without its complaints about there being no system log.
    fn last_words(&mut self) -> String {
        let mut bytes = Vec::new();
        // At the end of what there is it may also be said to have no more for now.
        let _ = Read::take(&mut self.said, SAID).read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        let lines =
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.ends_with("to syslog"));
        lines.collect::<Vec<_>>().join("; ")
    }
}
