//! Frames: what a connection carries, one after the other.
//!
//! | bytes | field |
//! |---|---|
//! | 0–3 | `KVMM` |
//! | 4–5 | kind of the message |
//! | 6–7 | zero |
//! | 8–15 | number of the frame on this connection and in this direction, from 0 |
//! | 16–19 | bytes that follow the header |
//! | 20–23 | CRC-32 of all other bytes of the frame |
//!
//! Numbers are little-endian.

use crc32fast::Hasher;

use super::WireError;

/// Bytes of a header.
pub(super) const HEADER: usize = 24;
const MAGIC: [u8; 4] = *b"KVMM";

/// Longest part of a connection that is read without having looked at it.
const CONTROL: u32 = 64 << 10;
/// Facts about a machine with many devices.
const GREETING: u32 = 1 << 20;
/// A batch of pages and where they belong.
pub(super) const BATCH: u32 = 2 << 20;
/// States of devices and vCPUs.
const STATE: u32 = 64 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Kind {
    Hello = 1,
    Welcome = 2,
    Refused = 3,
    Pages = 4,
    Round = 5,
    RoundTaken = 6,
    State = 7,
    Ready = 8,
    Go = 9,
    Running = 10,
    Failed = 11,
    Ask = 12,
    Fate = 13,
    Settled = 14,
    Join = 15,
    Joined = 16,
    Holds = 20,
    Lacks = 21,
    Want = 22,
    Complete = 23,
    Alive = 24,
    Fetch = 25,
    File = 26,
    Part = 27,
    Behind = 28,
    Serve = 29,
    Devices = 30,
    DevicesTaken = 31,
    Blocks = 32,
    Samples = 33,
}

impl Kind {
    const ALL: [Self; 30] = [
        Self::Hello,
        Self::Welcome,
        Self::Refused,
        Self::Pages,
        Self::Round,
        Self::RoundTaken,
        Self::State,
        Self::Ready,
        Self::Go,
        Self::Running,
        Self::Failed,
        Self::Ask,
        Self::Fate,
        Self::Settled,
        Self::Join,
        Self::Joined,
        Self::Holds,
        Self::Lacks,
        Self::Want,
        Self::Complete,
        Self::Alive,
        Self::Fetch,
        Self::File,
        Self::Part,
        Self::Behind,
        Self::Serve,
        Self::Devices,
        Self::DevicesTaken,
        Self::Blocks,
        Self::Samples,
    ];

    pub(super) fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }

    /// Whether somebody says this who is not known yet.
    pub(super) fn is_greeting(self) -> bool {
        matches!(self, Self::Hello | Self::Ask | Self::Join | Self::Serve | Self::Fetch)
    }

    /// Most bytes that a frame of this kind may have behind its header.
    pub(super) fn limit(self) -> u32 {
        match self {
            Self::Hello | Self::Devices | Self::DevicesTaken => GREETING,
            Self::Pages | Self::Blocks | Self::Samples | Self::Holds | Self::Lacks | Self::Part => BATCH,
            Self::State => STATE,
            _ => CONTROL,
        }
    }
}

/// A header that makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) len: u32,
    crc: u32,
}

impl Header {
    /// The header of a frame with this payload.
    pub(super) fn over(kind: Kind, number: u64, payload: &[&[u8]]) -> Result<[u8; HEADER], WireError> {
        let len: usize = payload.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).ok().filter(|len| *len <= kind.limit());
        let len = len.ok_or(WireError::TooLong)?;
        let mut bytes = [0; HEADER];
        let fields: [(usize, &[u8]); 4] = [
            (0, &MAGIC),
            (4, &(kind as u16).to_le_bytes()),
            (8, &number.to_le_bytes()),
            (16, &len.to_le_bytes()),
        ];
        for (at, field) in fields {
            bytes.iter_mut().skip(at).zip(field).for_each(|(to, from)| *to = *from);
        }
        let mut crc = crc_of(&bytes);
        payload.iter().for_each(|part| crc.update(part));
        let crc = crc.finalize().to_le_bytes();
        bytes.iter_mut().skip(20).zip(crc).for_each(|(to, from)| *to = from);
        Ok(bytes)
    }

    /// Reads a header, whose frame is to have this number.
    pub(super) fn read(bytes: &[u8; HEADER], number: u64) -> Result<Self, WireError> {
        let [m0, m1, m2, m3, k0, k1, z0, z1, rest @ ..] = *bytes;
        let (numbers, _) = rest.as_chunks::<4>();
        let &[n0, n1, len, crc] = numbers else { return Err(WireError::Foreign) };
        if [m0, m1, m2, m3] != MAGIC || [z0, z1] != [0; 2] {
            return Err(WireError::Foreign);
        }
        let kind = u16::from_le_bytes([k0, k1]);
        let kind = Kind::of(kind).ok_or(WireError::UnknownKind(kind))?;
        let seen = u64::from(u32::from_le_bytes(n1)) << 32 | u64::from(u32::from_le_bytes(n0));
        if seen != number {
            return Err(WireError::OutOfOrder { seen, expected: number });
        }
        let len = u32::from_le_bytes(len);
        if len > kind.limit() {
            return Err(WireError::TooLong);
        }
        Ok(Self { kind, number, len, crc: u32::from_le_bytes(crc) })
    }

    /// Whether the payload came as it was sent.
    pub(super) fn check(&self, header: &[u8; HEADER], payload: &[u8]) -> Result<(), WireError> {
        let mut crc = crc_of(header);
        crc.update(payload);
        if crc.finalize() == self.crc { Ok(()) } else { Err(WireError::Altered) }
    }
}

fn crc_of(header: &[u8; HEADER]) -> Hasher {
    let mut crc = Hasher::new();
    let (covered, _) = header.split_at(20);
    crc.update(covered);
    crc
}
