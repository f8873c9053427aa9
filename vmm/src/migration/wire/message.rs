//! Messages, and how they lie in frames.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::WireError;
use super::frame::Kind;
use super::pages::Batch;

/// Format of the stream that is spoken here, and the oldest one that is understood.
pub const FORMAT: u32 = 1;
/// Oldest format that is understood.
pub const OLDEST_FORMAT: u32 = 1;

/// One attempt to move a machine: both sides know it by this.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Session([u8; 16]);

impl Session {
    /// A session of these random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({self})")
    }
}

impl From<Session> for String {
    fn from(session: Session) -> Self {
        session.to_string()
    }
}

impl TryFrom<String> for Session {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let number = u128::from_str_radix(&text, 16);
        match number {
            Ok(number) if text.len() == 32 => Ok(Self(number.to_be_bytes())),
            _ => Err("a session is 32 hexadecimal digits"),
        }
    }
}

/// The first frame of a connection by which a machine is to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// Newest format that the sender speaks.
    pub format: u32,
    /// Oldest format that it speaks.
    pub oldest: u32,
    /// The attempt.
    pub session: Session,
    /// What has to be the same on both sides, by name.
    pub facts: BTreeMap<String, String>,
}

/// The end of a round of copying.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Its number, from 1.
    pub number: u32,
}

/// What became of a session, as the destination says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// The machine runs at the destination, or did.
    Runs,
    /// It does not, and never will in this session.
    Never,
    /// The destination is about to find out.
    Open,
}

/// Why something was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Why {
    /// For people.
    pub(super) message: String,
}

/// A message of one side to the other.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Source: this machine is to come.
    Hello(Hello),
    /// Destination: it may.
    Welcome {
        /// Format spoken from now on.
        format: u32,
    },
    /// Either: that is not possible.
    Refused(String),
    /// Source: contents of pages.
    Pages(Batch),
    /// Source: a round of copying is over.
    Round(Round),
    /// Destination: all of that round has arrived.
    RoundTaken(Round),
    /// Source: all else of the machine, which stands still.
    State(Vec<u8>),
    /// Destination: it could run at once.
    Ready,
    /// Source: it is yours.
    Go,
    /// Destination: it runs.
    Running,
    /// Either, before the machine has changed hands: this attempt is over, and the machine does not run at the destination.
    Failed(String),
    /// Source, on a connection of its own: what became of this session?
    Ask(Session),
    /// Destination: this.
    Fate(Fate),
    /// Source: it knows what became of the session, and will not ask again.
    Settled,
}

impl Message {
    /// Its kind, and its bytes.
    pub(super) fn encode(&self) -> Result<(Kind, Vec<u8>), WireError> {
        let why = |message: &str| json(&Why { message: shorten(message) });
        Ok(match self {
            Self::Hello(hello) => (Kind::Hello, json(hello)?),
            Self::Welcome { format } => (Kind::Welcome, json(format)?),
            Self::Refused(message) => (Kind::Refused, why(message)?),
            Self::Pages(batch) => (Kind::Pages, batch.encode()),
            Self::Round(round) => (Kind::Round, json(round)?),
            Self::RoundTaken(round) => (Kind::RoundTaken, json(round)?),
            Self::State(state) => (Kind::State, state.clone()),
            Self::Ready => (Kind::Ready, Vec::new()),
            Self::Go => (Kind::Go, Vec::new()),
            Self::Running => (Kind::Running, Vec::new()),
            Self::Failed(message) => (Kind::Failed, why(message)?),
            Self::Ask(session) => (Kind::Ask, json(session)?),
            Self::Fate(fate) => (Kind::Fate, json(fate)?),
            Self::Settled => (Kind::Settled, Vec::new()),
        })
    }

    /// The message of a frame.
    pub(super) fn decode(kind: Kind, payload: Vec<u8>) -> Result<Self, WireError> {
        let empty = |message| if payload.is_empty() { Ok(message) } else { Err(WireError::Senseless) };
        Ok(match kind {
            Kind::Hello => Self::Hello(parse(&payload)?),
            Kind::Welcome => Self::Welcome { format: parse(&payload)? },
            Kind::Refused => Self::Refused(reason(&payload)?),
            Kind::Pages => Self::Pages(Batch::decode(payload)?),
            Kind::Round => Self::Round(parse(&payload)?),
            Kind::RoundTaken => Self::RoundTaken(parse(&payload)?),
            Kind::State => Self::State(payload),
            Kind::Ready => empty(Self::Ready)?,
            Kind::Go => empty(Self::Go)?,
            Kind::Running => empty(Self::Running)?,
            Kind::Failed => Self::Failed(reason(&payload)?),
            Kind::Ask => Self::Ask(parse(&payload)?),
            Kind::Fate => Self::Fate(parse(&payload)?),
            Kind::Settled => empty(Self::Settled)?,
        })
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, WireError> {
    serde_json::to_vec(value).map_err(|_| WireError::Senseless)
}

fn parse<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, WireError> {
    serde_json::from_slice(payload).map_err(|_| WireError::Senseless)
}

fn reason(payload: &[u8]) -> Result<String, WireError> {
    // It is printed: a peer says what it likes, but in one line, and not at length.
    parse::<Why>(payload).map(|why| shorten(&why.message))
}

/// Text for people, of a length that they read.
fn shorten(text: &str) -> String {
    text.chars().take(2000).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
