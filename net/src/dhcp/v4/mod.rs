//! DHCPv4 (RFC 2131), the server's side, for one client.

mod options;
mod reply;
mod request;
mod routes;
#[cfg(test)]
mod tests;
mod told;

use std::net::Ipv4Addr;

pub(crate) use reply::Reply;

use super::{Lease4, Leased};
use crate::wire::Malformed;
use request::{Kind, Request};

/// Where servers listen.
pub(crate) const SERVER_PORT: u16 = 67;
/// Where clients do.
pub(crate) const CLIENT_PORT: u16 = 68;

/// What becomes of a client's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is not for this server.
    NotOurs,
    /// It is, and there is nothing to say; what it means for the lease.
    Silence(Option<Leased>),
    /// It is answered.
    Reply(Reply),
}

/// Answers a message that was sent to `destination`.
pub(crate) fn answer(lease: &Lease4, message: &[u8], destination: Ipv4Addr) -> Result<Answer, Malformed> {
    let Some(request) = Request::parse(message)? else { return Ok(Answer::NotOurs) };
    let other_client = lease.client.is_some_and(|client| client.0 != request.client);
    let other_server = request.server.is_some_and(|server| server != lease.server);
    let elsewhere = !destination.is_broadcast() && destination != lease.server;
    if other_client || other_server || elsewhere {
        return Ok(Answer::NotOurs);
    }
    Ok(match request.kind {
        Kind::Discover => Answer::Reply(reply::offer(lease, &request)),
        Kind::Request => Answer::Reply(reply::acknowledge(lease, &request)?),
        Kind::Inform => Answer::Reply(reply::inform(lease, &request)?),
        Kind::Decline | Kind::Release => Answer::Silence(Some(Leased::Ended)),
        Kind::Other => Answer::Silence(None),
    })
}
