//! The kernel's packet rules (nf_tables), by nfnetlink: the rules that a guest behind `masquerade` needs, in a table
//! of their own, made and deleted as one.

mod batch;
mod expression;
mod masquerade;
mod rules;
#[cfg(test)]
mod tests;

pub use masquerade::{Forward, Masquerade};
pub use rules::Protocol;

use crate::netlink::NetlinkError;
use crate::netlink::socket::Socket;
use batch::{Batch, Family};

/// A connection to the rules of the network namespace that the thread was in which opened it.
#[derive(Debug)]
pub struct Nft {
    socket: Socket,
}

impl Nft {
    /// Connects.
    ///
    /// # Errors
    /// The kernel has no nfnetlink.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { socket: Socket::open(libc::NETLINK_NETFILTER)? })
    }

    /// Makes table `table` with all rules, in one transaction, for each version of IP that `masquerade` is for.
    ///
    /// # Errors
    /// The table exists, the kernel lacks something (`nf_tables`, `nft_nat`, …), or it is not allowed. Then nothing
    /// is made.
    pub fn make(&mut self, table: &str, masquerade: &Masquerade) -> Result<(), NetlinkError> {
        let mut batch = Batch::default();
        for ends in &masquerade.families {
            let family = if ends.guest.is_v4() { Family::V4 } else { Family::V6 };
            batch.make_table(family, table);
            for rule in masquerade.rules(*ends) {
                batch.add_rule(family, table, &rule);
            }
        }
        batch.commit(&mut self.socket, &format!("making the packet rules in table {table:?}"))
    }

    /// Deletes the tables called `table`, of both versions of IP, with all that is in them. They need not exist.
    ///
    /// # Errors
    /// It is not allowed.
    pub fn delete(&mut self, table: &str) -> Result<(), NetlinkError> {
        for family in [Family::V4, Family::V6] {
            let mut batch = Batch::default();
            batch.delete_table(family, table);
            let doing = format!("deleting the packet rules in table {table:?}");
            crate::netlink::unless_missing(batch.commit(&mut self.socket, &doing))?;
        }
        Ok(())
    }
}
