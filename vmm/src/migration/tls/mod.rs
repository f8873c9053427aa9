//! TLS 1.3 by which both sides of a migration show who they are: a CA that both trust vouches for both.
//!
//! Nothing of this is touched by a machine that does not move over a network.

mod credentials;
mod error;
mod provider;
mod sides;
mod stream;
#[cfg(test)]
mod tests;

pub use credentials::{Credentials, CredentialsError};
pub use error::TlsError;
pub use sides::{Client, Server};
pub use stream::TlsStream;
