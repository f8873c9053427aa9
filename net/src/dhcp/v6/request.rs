//! A client's message (RFC 8415 §8, §21).

use std::net::Ipv6Addr;

use crate::wire::{Cursor, Malformed};

pub(super) const CLIENT_ID: u16 = 1;
pub(super) const SERVER_ID: u16 = 2;
pub(super) const IA_NA: u16 = 3;
pub(super) const IA_TA: u16 = 4;
pub(super) const IA_ADDRESS: u16 = 5;
pub(super) const RAPID_COMMIT: u16 = 14;
pub(super) const IA_PD: u16 = 25;
/// Longest identifier of a client or server (RFC 8415 §11.1).
const LONGEST_ID: usize = 130;
/// More identity associations, or addresses in one, are refused.
const MOST: usize = 16;

/// Which message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Solicit,
    Request,
    Confirm,
    Renew,
    Rebind,
    Release,
    Decline,
    Information,
}

impl Kind {
    fn of(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Solicit,
            3 => Self::Request,
            4 => Self::Confirm,
            5 => Self::Renew,
            6 => Self::Rebind,
            8 => Self::Release,
            9 => Self::Decline,
            11 => Self::Information,
            _ => return None,
        })
    }
}

/// Something for which the client wants addresses or prefixes.
#[derive(Clone, Debug)]
pub(super) struct Association {
    /// [`IA_NA`], [`IA_TA`] or [`IA_PD`].
    pub(super) code: u16,
    pub(super) id: [u8; 4],
    /// Addresses that the client has, or would like.
    pub(super) addresses: Vec<Ipv6Addr>,
}

/// What matters of a message.
#[derive(Clone, Debug)]
pub(super) struct Request<'a> {
    pub(super) kind: Kind,
    pub(super) transaction: [u8; 3],
    pub(super) client: Option<&'a [u8]>,
    pub(super) server: Option<&'a [u8]>,
    pub(super) rapid: bool,
    pub(super) associations: Vec<Association>,
}

impl<'a> Request<'a> {
    /// None if it is a message of a relay or of a server.
    pub(super) fn parse(message: &'a [u8]) -> Result<Option<Self>, Malformed> {
        let mut cursor = Cursor(message);
        let code = cursor.byte().ok_or(Malformed)?;
        let Some(kind) = Kind::of(code) else { return Ok(None) };
        let transaction = cursor.array().ok_or(Malformed)?;
        let mut request =
            Self { kind, transaction, client: None, server: None, rapid: false, associations: Vec::new() };
        options(cursor, |code, value| request.option(code, value)).ok_or(Malformed)?;
        Ok(Some(request))
    }

    fn option(&mut self, code: u16, value: &'a [u8]) -> Option<()> {
        match code {
            CLIENT_ID => self.client = Some(identifier(value)?),
            SERVER_ID => self.server = Some(identifier(value)?),
            RAPID_COMMIT => self.rapid = value.is_empty().then_some(true)?,
            IA_NA | IA_TA | IA_PD => {
                let association = Association::parse(code, Cursor(value))?;
                (self.associations.len() < MOST).then(|| self.associations.push(association))?;
            }
            _ => {}
        }
        Some(())
    }

    /// What each message has to contain, or must not (RFC 8415 §16).
    pub(super) fn check(&self) -> Result<(), Malformed> {
        let right = match self.kind {
            Kind::Solicit | Kind::Confirm | Kind::Rebind => self.client.is_some() && self.server.is_none(),
            Kind::Request | Kind::Renew | Kind::Release | Kind::Decline => {
                self.client.is_some() && self.server.is_some()
            }
            Kind::Information => self.associations.is_empty(),
        };
        if right { Ok(()) } else { Err(Malformed) }
    }
}

fn identifier(value: &[u8]) -> Option<&[u8]> {
    (3..=LONGEST_ID).contains(&value.len()).then_some(value)
}

/// Calls `each` with every option; none if they do not fill the message exactly.
fn options<'a>(mut cursor: Cursor<'a>, mut each: impl FnMut(u16, &'a [u8]) -> Option<()>) -> Option<()> {
    while !cursor.0.is_empty() {
        let (code, len) = (cursor.be16()?, cursor.be16()?);
        each(code, cursor.bytes(usize::from(len))?)?;
    }
    Some(())
}

impl Association {
    fn parse(code: u16, mut cursor: Cursor<'_>) -> Option<Self> {
        let id = cursor.array()?;
        // Two times, which the server decides on.
        if code != IA_TA {
            cursor.bytes(8)?;
        }
        let mut addresses = Vec::new();
        options(cursor, |code, value| {
            if code == IA_ADDRESS {
                let address = Cursor(value).ip6()?;
                (addresses.len() < MOST).then(|| addresses.push(address))?;
            }
            Some(())
        })?;
        Some(Self { code, id, addresses })
    }
}
