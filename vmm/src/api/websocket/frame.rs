//! Frames (RFC 6455 §5).

/// Bytes that one frame may carry.
const PAYLOAD: usize = 64 << 10;
/// Bytes that a frame that is not of data may carry.
const CONTROL_PAYLOAD: usize = 125;
const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    /// More of the message that has begun.
    Continuation,
    /// A message that is text.
    Text,
    /// A message that is bytes.
    Binary,
    /// The end.
    Close,
    /// A question whether somebody is there.
    Ping,
    /// The answer to it.
    Pong,
}

impl Opcode {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    fn number(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// What it is for.
    pub(crate) opcode: Opcode,
    /// Whether its message ends with it.
    pub(crate) ends: bool,
    /// What it carries, unmasked.
    pub(crate) payload: Vec<u8>,
}

/// What is to be made of the bytes that have arrived.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// More have to come.
    More,
    /// A frame, of so many bytes.
    Frame(Frame, usize),
}

/// The peer does not keep to the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer does not speak WebSocket: {message}")]
pub(crate) struct ProtocolError {
    /// Code for the frame that ends the connection (RFC 6455 §7.4.1).
    pub(crate) code: u16,
    message: &'static str,
}

/// Codes of frames that end a connection (RFC 6455 §7.4.1).
pub(crate) mod close_code {
    /// All is said.
    pub(crate) const NORMAL: u16 = 1000;
    /// The peer does not keep to the protocol.
    pub(crate) const PROTOCOL: u16 = 1002;
    /// A frame is too large.
    pub(crate) const TOO_BIG: u16 = 1009;
}

/// Whether a peer's frames are masked: those of clients are, those of servers are not (RFC 6455 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Masking {
    /// They are.
    Masked,
    /// They are not.
    Plain,
}

const fn fault(message: &'static str) -> ProtocolError {
    ProtocolError { code: close_code::PROTOCOL, message }
}

/// Reads the first frame of `input`.
pub(crate) fn read(input: &[u8], masking: Masking) -> Result<Read, ProtocolError> {
    let [first, second, rest @ ..] = input else { return Ok(Read::More) };
    if first & RESERVED != 0 {
        return Err(fault("an extension is used that was not agreed on"));
    }
    let opcode = Opcode::of(first & 0xf).ok_or(fault("a frame has a kind that is not known"))?;
    if (second & MASKED != 0) != (masking == Masking::Masked) {
        return Err(fault("a frame is masked, or not, as the other side's are"));
    }
    let ends = first & FIN != 0;
    let Some((length, rest)) = length(second & !MASKED, rest)? else { return Ok(Read::More) };
    if opcode.is_control() && (!ends || length > CONTROL_PAYLOAD) {
        return Err(fault("a frame that has to be short and whole is not"));
    }
    if length > PAYLOAD {
        return Err(ProtocolError { code: close_code::TOO_BIG, message: "a frame is too large" });
    }
    let (mask, rest) = match masking {
        Masking::Plain => (None, rest),
        Masking::Masked => match rest.split_first_chunk::<4>() {
            Some((mask, rest)) => (Some(*mask), rest),
            None => return Ok(Read::More),
        },
    };
    let Some(payload) = rest.get(..length) else { return Ok(Read::More) };
    let mut payload = payload.to_vec();
    apply(mask, &mut payload);
    let used = input.len() - rest.len() + length;
    Ok(Read::Frame(Frame { opcode, ends, payload }, used))
}

/// The length that `short` and what follows it stand for, and what follows that.
fn length(short: u8, rest: &[u8]) -> Result<Option<(usize, &[u8])>, ProtocolError> {
    let (length, least, rest) = match short {
        126 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), 126, rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length), 1 << 16, rest),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, rest),
    };
    if length < least {
        return Err(fault("a length is written in more bytes than it needs"));
    }
    Ok(Some((usize::try_from(length).unwrap_or(usize::MAX), rest)))
}

fn apply(mask: Option<[u8; 4]>, payload: &mut [u8]) {
    let Some(mask) = mask else { return };
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Adds a frame that is a whole message to `out`; a client's has a mask.
pub(crate) fn write(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    out.push(FIN | opcode.number());
    let masked = if mask.is_some() { MASKED } else { 0 };
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short @ 0..=125), _) => out.push(masked | short),
        (_, Ok(length)) => {
            out.push(masked | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(masked | 127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let start = out.len();
    out.extend_from_slice(payload);
    apply(mask, out.get_mut(start..).unwrap_or_default());
}
