//! DHCPv6 (RFC 8415), the server's side, for one address.

mod reply;
mod request;
#[cfg(test)]
mod tests;

use super::{Lease6, Leased};
use crate::wire::{Mac, Malformed};
use request::{Kind, Request};

/// Where servers listen.
pub(crate) const SERVER_PORT: u16 = 547;
/// Where clients do.
pub(crate) const CLIENT_PORT: u16 = 546;

/// What becomes of a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is not for this server.
    NotOurs,
    /// It is answered with this message; what that means for the lease.
    Reply(Vec<u8>, Option<Leased>),
}

/// What identifies the server: its hardware address (RFC 8415 §11.4), as KubeVirt's does.
fn identifier([a, b, c, d, e, f]: Mac) -> [u8; 10] {
    [0, 3, 0, 1, a, b, c, d, e, f]
}

/// Answers a message of the client at `client`.
pub(crate) fn answer(lease: &Lease6, server: Mac, client: Mac, message: &[u8]) -> Result<Answer, Malformed> {
    let Some(request) = Request::parse(message)? else { return Ok(Answer::NotOurs) };
    let own = identifier(server);
    let other_client = lease.client.is_some_and(|only| only.0 != client);
    if other_client || request.server.is_some_and(|server| server != own) {
        return Ok(Answer::NotOurs);
    }
    request.check()?;
    let leased = match request.kind {
        Kind::Request | Kind::Renew | Kind::Rebind => Some(Leased::Taken),
        Kind::Solicit if request.rapid => Some(Leased::Taken),
        Kind::Release | Kind::Decline => Some(Leased::Ended),
        Kind::Solicit | Kind::Confirm | Kind::Information => None,
    };
    Ok(Answer::Reply(reply::reply(lease, &own, &request), leased))
}
