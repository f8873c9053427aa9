//! What a console did.

use crate::virtio::Counter;

/// Counters over all ports of a console.
#[derive(Debug, Default)]
pub struct ConsoleCounters {
    /// Bytes from the host to the guest.
    pub to_guest: Counter,
    /// Bytes from the guest to the host.
    pub to_host: Counter,
    /// Bytes of the guest that nobody on the host wanted.
    pub discarded: Counter,
    /// Chains that made no sense.
    pub malformed: Counter,
    /// Control messages that made no sense.
    pub refused_messages: Counter,
}
