//! Messages, and how they lie in frames.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::WireError;
use super::files::{FileHead, Part};
use super::frame::Kind;
use super::pages::Batch;
use super::sets::{self, Piece};
use crate::migration::storage::{Answer, Devices};
use crate::migration::witness::Testimony;

/// Format of the stream that is spoken here.
pub const FORMAT: u32 = 2;
/// Oldest format that is understood.
pub const OLDEST_FORMAT: u32 = 2;

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

/// What a connection shows that joins a session: nobody but its two sides knows it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Key(Session);

impl Key {
    /// A key of these random bytes.
    pub fn new(random: [u8; 16]) -> Self {
        Self(Session::new(random))
    }
}

impl PartialEq for Key {
    /// Takes as long whatever is different.
    fn eq(&self, other: &Self) -> bool {
        (u128::from_ne_bytes(self.0.0) ^ u128::from_ne_bytes(other.0.0)) == 0
    }
}

impl Eq for Key {}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
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
    /// How many connections it would like to have, this one included.
    pub connections: u8,
    /// What has to be the same on both sides, by name.
    pub facts: BTreeMap<String, String>,
}

/// The answer to a machine that may come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// Format spoken from now on.
    pub format: u32,
    /// How many connections it is to have, the first one included.
    pub connections: u8,
    /// What each further one shows.
    pub key: Key,
    /// What the destination tells of itself, for a source on the same host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub testimony: Option<Testimony>,
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

/// Contents of a disk: a batch whose addresses are bytes of the disk, then the disk's number (4 bytes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Its place among those that the source has told of.
    pub disk: u32,
    /// What is in it; a last page that reaches beyond the disk's end is zero there.
    pub batch: Batch,
}

impl Blocks {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.batch.encode();
        bytes.extend_from_slice(&self.disk.to_le_bytes());
        bytes
    }

    fn decode(mut payload: Vec<u8>) -> Result<Self, WireError> {
        let (rest, disk) = payload.split_last_chunk().ok_or(WireError::Senseless)?;
        let (len, disk) = (rest.len(), u32::from_le_bytes(*disk));
        payload.truncate(len);
        Ok(Self { disk, batch: Batch::decode(payload)? })
    }
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
    Welcome(Welcome),
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
    /// Source: this connection, too, carries pages of the session with this key.
    Join(Key),
    /// Destination: it does.
    Joined,
    /// Who has pages: these can be had.
    Holds(Piece),
    /// Who needs pages: these of them it has not got.
    Lacks(Piece),
    /// Who needs pages: somebody waits for the pages at these addresses.
    Want(Vec<u64>),
    /// Who needs pages: it has all of them.
    Complete,
    /// Either: it is there, and has nothing to say.
    Alive,
    /// Who wants a snapshot: the memory of the one with this identifier, or else all but the memory of the one that is there.
    Fetch(Option<String>),
    /// Who has a snapshot: this file follows.
    File(FileHead),
    /// Who has a snapshot: a part of the file. What is in none is zero.
    Part(Part),
    /// Source: a part of the memory is served by a connection of its own, and follows the machine.
    Behind,
    /// Source, first on a connection of its own: it serves pages of this session's machine.
    Serve(Session),
    /// Source: these are its disks.
    Devices(Devices),
    /// Destination: this is to become of each.
    DevicesTaken(Vec<Answer>),
    /// Source: contents of a disk.
    Blocks(Blocks),
    /// Source: contents of a disk that the destination has as well.
    Samples(Blocks),
}

impl Message {
    /// Its kind, and its bytes.
    pub(super) fn encode(&self) -> Result<(Kind, Vec<u8>), WireError> {
        let why = |message: &str| json(&Why { message: shorten(message) });
        Ok(match self {
            Self::Hello(hello) => (Kind::Hello, json(hello)?),
            Self::Welcome(welcome) => (Kind::Welcome, json(welcome)?),
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
            Self::Join(key) => (Kind::Join, json(key)?),
            Self::Joined => (Kind::Joined, Vec::new()),
            Self::Holds(piece) => (Kind::Holds, piece.encode()),
            Self::Lacks(piece) => (Kind::Lacks, piece.encode()),
            Self::Want(pages) => (Kind::Want, sets::encode_words(pages)),
            Self::Complete => (Kind::Complete, Vec::new()),
            Self::Alive => (Kind::Alive, Vec::new()),
            Self::Fetch(id) => (Kind::Fetch, json(id)?),
            Self::File(head) => (Kind::File, json(head)?),
            Self::Part(part) => (Kind::Part, part.encode()),
            Self::Behind => (Kind::Behind, Vec::new()),
            Self::Serve(session) => (Kind::Serve, json(session)?),
            Self::Devices(devices) => (Kind::Devices, json(devices)?),
            Self::DevicesTaken(answers) => (Kind::DevicesTaken, json(answers)?),
            Self::Blocks(blocks) => (Kind::Blocks, blocks.encode()),
            Self::Samples(blocks) => (Kind::Samples, blocks.encode()),
        })
    }

    /// The message of a frame.
    pub(super) fn decode(kind: Kind, payload: Vec<u8>) -> Result<Self, WireError> {
        let empty = |message| if payload.is_empty() { Ok(message) } else { Err(WireError::Senseless) };
        Ok(match kind {
            Kind::Hello => Self::Hello(parse(&payload)?),
            Kind::Welcome => Self::Welcome(parse(&payload)?),
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
            Kind::Join => Self::Join(parse(&payload)?),
            Kind::Joined => empty(Self::Joined)?,
            Kind::Holds => Self::Holds(Piece::decode(&payload)?),
            Kind::Lacks => Self::Lacks(Piece::decode(&payload)?),
            Kind::Want => Self::Want(sets::decode_words(&payload)?),
            Kind::Complete => empty(Self::Complete)?,
            Kind::Alive => empty(Self::Alive)?,
            Kind::Fetch => Self::Fetch(parse(&payload)?),
            Kind::File => Self::File(parse(&payload)?),
            Kind::Part => Self::Part(Part::decode(&payload)?),
            Kind::Behind => empty(Self::Behind)?,
            Kind::Serve => Self::Serve(parse(&payload)?),
            Kind::Devices => Self::Devices(parse(&payload)?),
            Kind::DevicesTaken => Self::DevicesTaken(parse(&payload)?),
            Kind::Blocks => Self::Blocks(Blocks::decode(payload)?),
            Kind::Samples => Self::Samples(Blocks::decode(payload)?),
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
