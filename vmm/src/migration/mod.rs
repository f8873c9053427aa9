//! Moving a machine that runs to another process: the stream between the two, who owns the machine at which time, and when
//! copying is to end.

pub mod bandwidth;
pub mod options;
pub mod ownership;
pub mod rounds;
pub mod wire;

pub use options::MigrationOptions;
