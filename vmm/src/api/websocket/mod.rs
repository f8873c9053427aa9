//! WebSockets (RFC 6455), as far as a stream of bytes needs them: messages have no meaning, so their parts are passed on as
//! they come, and nothing is put together.

mod frame;
mod handshake;
#[cfg(test)]
mod tests;

pub(crate) use frame::{Frame, Masking, Opcode, Read, close_code, read, write};
pub(crate) use handshake::{PLAIN, accept, accept_key, new_key, new_mask};
