//! HTTP/1.1 (RFC 9112) as a server needs it that is never blocked: bytes in, requests out; responses in, bytes out.

mod body;
mod query;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use query::{Query, decode};
pub use request::{Method, Request};
pub(super) use request::{Parsed, parse};
pub use response::Response;
#[cfg(test)]
pub(super) use response::reason;
pub(super) use response::{CONTINUE, Framing, chunk, last_chunk};
