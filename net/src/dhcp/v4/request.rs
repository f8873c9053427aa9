//! A client's message (RFC 2131 §2, RFC 2132).

use std::net::Ipv4Addr;

use crate::wire::{Cursor, Mac, Malformed};

pub(super) const BOOT_REQUEST: u8 = 1;
pub(super) const ETHERNET: [u8; 2] = [1, 6];
pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Flag: the client cannot receive what is sent to its own address yet.
pub(super) const BROADCAST: u16 = 0x8000;
/// Lengths of the fields for a server's name and a file, which may hold options.
pub(super) const NAME_LEN: usize = 64;
pub(super) const FILE_LEN: usize = 128;

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Discover,
    Request,
    Decline,
    Release,
    Inform,
    Other,
}

/// What matters of a message.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) transaction: [u8; 4],
    pub(super) seconds: u16,
    pub(super) flags: u16,
    /// Address that the client uses already; all zeros if none.
    pub(super) in_use: Ipv4Addr,
    /// Hardware address, and the field that holds it.
    pub(super) client: Mac,
    pub(super) hardware: [u8; 16],
    /// Address that it would like.
    pub(super) wanted: Option<Ipv4Addr>,
    /// The server that it talks to.
    pub(super) server: Option<Ipv4Addr>,
    /// What it calls itself, to be returned (RFC 6842).
    pub(super) identifier: Vec<u8>,
    /// Longest message that it takes.
    pub(super) longest: Option<u16>,
}

impl Request {
    /// None if it is a message of BOOTP, of a relay, of a server or of some other medium.
    pub(super) fn parse(message: &[u8]) -> Result<Option<Self>, Malformed> {
        let (fixed, rest) = message.split_at_checked(236).ok_or(Malformed)?;
        let mut request = Self::fixed(fixed).ok_or(Malformed)?;
        let ours = fixed.first() == Some(&BOOT_REQUEST) && fixed.get(1..3) == Some(&ETHERNET[..]);
        let relayed = fixed.get(24..28) != Some(&[0; 4][..]);
        let Some(options) = rest.strip_prefix(&COOKIE).filter(|_| ours && !relayed) else { return Ok(None) };
        let mut seen = Seen::default();
        seen.read(&mut request, options)?;
        // Options may go on in the fields for the file, then in that for the server's name (RFC 2132 §9.3).
        let [name, file] = [44..44 + NAME_LEN, 108..108 + FILE_LEN].map(|field| fixed.get(field));
        let overload = seen.overload;
        if overload & 1 != 0 {
            seen.read(&mut request, file.unwrap_or_default())?;
        }
        if overload & 2 != 0 {
            seen.read(&mut request, name.unwrap_or_default())?;
        }
        Ok(seen.kind.then_some(request))
    }

    fn fixed(fixed: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(fixed);
        cursor.bytes(4)?;
        let (transaction, seconds, flags) = (cursor.array()?, cursor.be16()?, cursor.be16()?);
        let in_use = cursor.ip4()?;
        cursor.bytes(12)?;
        let hardware = cursor.array::<16>()?;
        Some(Self {
            kind: Kind::Other,
            transaction,
            seconds,
            flags,
            in_use,
            client: *hardware.first_chunk()?,
            hardware,
            wanted: None,
            server: None,
            identifier: Vec::new(),
            longest: None,
        })
    }
}

/// What the options said that does not concern the request itself.
#[derive(Default)]
struct Seen {
    kind: bool,
    overload: u8,
}

impl Seen {
    fn read(&mut self, request: &mut Request, options: &[u8]) -> Result<(), Malformed> {
        let mut cursor = Cursor(options);
        // Some clients leave the end out.
        while let Some(code) = cursor.byte() {
            match code {
                0 => {}
                255 => return Ok(()),
                _ => {
                    let len = cursor.byte().ok_or(Malformed)?;
                    let value = cursor.bytes(usize::from(len)).ok_or(Malformed)?;
                    self.option(request, code, value).ok_or(Malformed)?;
                }
            }
        }
        Ok(())
    }

    fn option(&mut self, request: &mut Request, code: u8, value: &[u8]) -> Option<()> {
        let mut cursor = Cursor(value);
        match code {
            50 => request.wanted = Some(cursor.ip4()?),
            52 => self.overload = cursor.byte()?,
            53 => {
                request.kind = kind(cursor.byte()?);
                self.kind = true;
            }
            54 => request.server = Some(cursor.ip4()?),
            57 => request.longest = Some(cursor.be16()?),
            61 => {
                request.identifier = value.to_vec();
                cursor = Cursor(&[]);
            }
            _ => cursor = Cursor(&[]),
        }
        cursor.0.is_empty().then_some(())
    }
}

fn kind(code: u8) -> Kind {
    match code {
        1 => Kind::Discover,
        3 => Kind::Request,
        4 => Kind::Decline,
        7 => Kind::Release,
        8 => Kind::Inform,
        _ => Kind::Other,
    }
}
