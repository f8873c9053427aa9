//! What two processes say to each other while a machine moves: frames ([`frame`]) with messages in them.
//!
//! Everything that comes from the other side is checked before it is used, and takes no more memory than has arrived.

mod connection;
mod files;
mod frame;
mod message;
mod pages;
mod sets;
#[cfg(test)]
mod tests;

use std::io;

pub use connection::{Reader, Writer};
pub use files::{FileHead, Part};
pub use message::{Blocks, FORMAT, Fate, Hello, Key, Message, OLDEST_FORMAT, Round, Session, Welcome};
pub use pages::{Batch, Run};
pub use sets::Piece;

/// The other side cannot be heard, or says what makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The connection is gone.
    #[error("the connection to the other side was lost")]
    Lost(#[source] io::Error),
    /// Nothing came for too long.
    #[error("the other side says nothing any more")]
    Silent,
    /// Something else speaks there.
    #[error("what came is no migration of kubevmm")]
    Foreign,
    /// A message that is not known.
    #[error("the other side sent a message of unknown kind {0}")]
    UnknownKind(u16),
    /// A frame is missing, or came twice.
    #[error("frame {seen} came where frame {expected} was to come")]
    OutOfOrder {
        /// Which came.
        seen: u64,
        /// Which should have.
        expected: u64,
    },
    /// A frame is longer than one of its kind may be.
    #[error("a message is too long")]
    TooLong,
    /// The checksum is wrong.
    #[error("a message was altered on its way")]
    Altered,
    /// A message that makes no sense by itself.
    #[error("a message makes no sense")]
    Senseless,
    /// A message that makes no sense now.
    #[error("the other side sent {0} at a time when it makes no sense")]
    Unexpected(&'static str),
}
