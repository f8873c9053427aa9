//! Moving a machine that runs to another process: the stream between the two, who owns the machine at which time, and when
//! copying is to end. docs/migration.md tells of all this.

pub mod bandwidth;
mod copy;
pub mod destination;
pub mod facts;
pub mod machine;
mod object;
pub mod options;
pub mod ownership;
pub mod record;
pub mod rounds;
pub mod source;
pub mod storage;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod transport;
pub mod wire;
pub mod witness;
mod write_back;

pub use facts::Facts;
pub use machine::random;
pub use object::{ObjectError, admit, evacuation, implied};
pub use options::{MigrationOptions, MigrationRequest, by_policies, connect_url};
