//! The few system calls that have no safe wrapper elsewhere, and what else is peculiar to the host.

pub mod code;
pub mod disk_space;
pub mod fds;
pub mod heap;
#[cfg(test)]
pub(crate) mod huge_pool;
pub mod inotify;
pub mod kick;
pub mod line;
pub mod lock;
pub mod memory;
pub mod pagemap;
pub mod peer;
pub mod poll;
pub mod process;
pub mod random;
pub mod signals;
pub mod socket_buffer;
pub mod terminal;
pub mod user;
pub mod userfault;
pub mod whole;
