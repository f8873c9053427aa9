//! One conversation with an agent: commands out, answers in, in step.
//!
//! Every command carries a number, which agents put into its answer. An answer with another number is one that came too
//! late, and is skipped. Agents of old leave the number out: after a command that was not answered in time, and at the
//! start, both sides are brought in step by `guest-sync-delimited`, whose answer has a mark that nothing else has.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::AgentError;
use super::calls::Call;
use super::handle::{KnownFreeze, Port, PortWatch};
use super::line::{Line, Lines, MARK};
use super::text::tame;
use crate::sys::poll::{self, Interest};

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;
/// Bytes besides the answer that are read while one is waited for; more is no agent, but a flood.
const NOISE: usize = if cfg!(test) { 4 << 20 } else { 32 << 20 };
/// Longest line that is looked at while both sides are brought in step.
const SHORT_LINE: usize = 4096;
/// How long both sides may take to be in step.
const STEP: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 10 });

/// A conversation, from the opening of the port to its closing.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    watch: Arc<PortWatch>,
    /// The opening of the port that this is about.
    opening: u32,
    lines: Lines,
    number: u64,
    in_step: bool,
}

/// The part of an answer that says whose it is, and whether it is none.
#[derive(Deserialize)]
struct Head {
    id: Option<u64>,
    error: Option<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    class: String,
    #[serde(default)]
    desc: String,
}

#[derive(Deserialize)]
struct Answer<T> {
    r#return: T,
}

impl Client {
    /// A conversation over `port`. It is lost when the port is closed or opened again.
    pub(super) fn new(port: Port, opening: u32) -> Self {
        // Another number than any conversation before this one had, whose answers may be on their way still.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let number = now.as_secs().wrapping_shl(20) | u64::from(now.subsec_micros());
        let Port { stream, watch } = port;
        Self { stream, watch, opening, lines: Lines::default(), number, in_step: false }
    }

    /// The port, for another conversation.
    pub(super) fn into_port(self) -> Port {
        Port { stream: self.stream, watch: self.watch }
    }

    /// Has others know how it stands with the guest's file systems.
    pub(super) fn note_freeze(&self, known: KnownFreeze) {
        self.watch.note_freeze(known);
    }

    /// Why the conversation is over, if it is.
    pub(super) fn ended(&self) -> Option<&'static str> {
        self.watch.ended(self.opening)
    }

    /// Has the agent carry out a command.
    ///
    /// # Errors
    /// Whatever is wrong. After [`AgentError::Lost`] the conversation is of no use any more, and after
    /// [`AgentError::TimedOut`] the next command finds out whether it is.
    pub(super) fn call<T: DeserializeOwned>(&mut self, call: &Call<T>) -> Result<T, AgentError> {
        if !self.in_step {
            self.get_in_step()?;
        }
        let deadline = Instant::now() + call.patience;
        let number = self.next_number();
        // From here on there may be an answer on its way that nobody has taken.
        self.in_step = false;
        self.send(&message(call.name, &call.arguments, Some(number)), deadline)
            .map_err(|e| late(e, call.patience))?;
        let line = self.answer(number, call, deadline).map_err(|error| late(error, call.patience));
        self.in_step = matches!(line, Ok(_) | Err(AgentError::Refused(_) | AgentError::Unsupported(_)));
        let answer: Answer<T> = serde_json::from_slice(&line?).map_err(|_| AgentError::Odd(call.name))?;
        Ok(answer.r#return)
    }

    /// Sends a command whose success is the silence after it.
    ///
    /// # Errors
    /// What the agent says against it. A connection that breaks off is none.
    pub(super) fn call_without_answer<T: DeserializeOwned>(
        &mut self,
        call: &Call<T>,
    ) -> Result<(), AgentError> {
        match self.call(call) {
            Ok(_) | Err(AgentError::TimedOut(_) | AgentError::Lost(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Brings both sides in step: all that the agent said before is forgotten.
    ///
    /// # Errors
    /// [`AgentError::Lost`], if the agent does not do its part.
    pub(super) fn get_in_step(&mut self) -> Result<(), AgentError> {
        let deadline = Instant::now() + STEP;
        let number = self.next_number();
        self.lines.clear();
        // The mark makes the agent forget what it has got of a command that broke off.
        let mut bytes = vec![MARK];
        bytes.extend(message("guest-sync-delimited", &json!({ "id": number }), None));
        let silent = |error| match error {
            AgentError::TimedOut(_) => AgentError::Lost("it does not answer"),
            other => other,
        };
        self.send(&bytes, deadline).map_err(silent)?;
        let mut budget = NOISE;
        loop {
            let line = self.line(SHORT_LINE, &mut budget, deadline).map_err(silent)?;
            let Line::Whole(line) = line else { continue };
            let Some((MARK, text)) = line.split_first().map(|(mark, text)| (*mark, text)) else { continue };
            if serde_json::from_slice::<Answer<u64>>(text).is_ok_and(|answer| answer.r#return == number) {
                self.in_step = true;
                return Ok(());
            }
        }
    }

    fn next_number(&mut self) -> u64 {
        // Numbers stay positive as the agent's 64 bits with a sign have them.
        self.number = self.number.wrapping_add(1) & (u64::MAX >> 2);
        self.number
    }

    /// The line with the answer to a command.
    fn answer<T>(&mut self, number: u64, call: &Call<T>, deadline: Instant) -> Result<Vec<u8>, AgentError> {
        let mut budget = NOISE.saturating_add(call.largest);
        loop {
            let line = match self.line(call.largest, &mut budget, deadline)? {
                Line::Whole(line) => line,
                // It is all that was asked for, so that it is the answer.
                Line::TooLong => return Err(AgentError::TooLong(call.largest)),
            };
            let Ok(head) = serde_json::from_slice::<Head>(&line) else { continue };
            if head.id.is_some_and(|id| id != number) {
                continue;
            }
            return match head.error {
                None => Ok(line),
                Some(Fault { class, .. }) if class == "CommandNotFound" => {
                    Err(AgentError::Unsupported(call.name))
                }
                Some(Fault { desc, .. }) => Err(AgentError::Refused(tame(&desc))),
            };
        }
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> Result<(), AgentError> {
        while !bytes.is_empty() {
            match (&self.stream).write(bytes) {
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait(Interest::Write, deadline)?;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Err(AgentError::Lost("the machine has ended")),
            }
        }
        Ok(())
    }

    /// The next line; reading for it costs `budget`.
    fn line(&mut self, longest: usize, budget: &mut usize, deadline: Instant) -> Result<Line, AgentError> {
        let mut chunk = [0; CHUNK];
        loop {
            if let Some(line) = self.lines.next(longest) {
                return Ok(line);
            }
            // Asked for every time: a flood leaves no time to wait in.
            self.wait(Interest::Read, deadline)?;
            match (&self.stream).read(&mut chunk) {
                Ok(0) => return Err(AgentError::Lost("the machine has ended")),
                Ok(count) => {
                    *budget = budget
                        .checked_sub(count)
                        .ok_or(AgentError::Lost("it says more than it was asked"))?;
                    self.lines.push(chunk.get(..count).unwrap_or_default());
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(_) => return Err(AgentError::Lost("the machine has ended")),
            }
        }
    }

    fn wait(&self, interest: Interest, deadline: Instant) -> Result<(), AgentError> {
        let wake = self.watch.wake();
        loop {
            if let Some(reason) = self.watch.ended(self.opening) {
                return Err(AgentError::Lost(reason));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AgentError::TimedOut(Duration::ZERO));
            }
            let all: [(&dyn AsRawFd, _); 2] = [(&self.stream, interest), (wake, Interest::Read)];
            let [agent, news] =
                poll::wait(all, Some(left)).map_err(|_| AgentError::Lost("waiting for it failed"))?;
            if news {
                let _ = wake.read();
            }
            if agent {
                return Ok(());
            }
        }
    }
}

/// Says how long was waited, where that was too long.
fn late(error: AgentError, patience: Duration) -> AgentError {
    match error {
        AgentError::TimedOut(_) => AgentError::TimedOut(patience),
        other => other,
    }
}

/// A command as it is sent.
fn message(name: &str, arguments: &Value, number: Option<u64>) -> Vec<u8> {
    let mut message = json!({ "execute": name });
    if let Some(message) = message.as_object_mut() {
        if !arguments.is_null() {
            message.insert("arguments".into(), arguments.clone());
        }
        message.extend(number.map(|number| ("id".into(), number.into())));
    }
    let mut bytes = message.to_string().into_bytes();
    bytes.push(b'\n');
    bytes
}
