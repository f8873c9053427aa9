//! Making and undoing, for one machine.

use super::maker::{Maker, Save};
use super::record::Record;
use super::{SetupError, Wanted};
use crate::Tap;
use crate::netlink::{LONGEST_ALIAS, Namespace, NamespaceId, Netlink};

/// What the marks of all that kubevmm makes begin with.
pub(super) const MARK: &str = "kubevmm:";

/// Changes the network namespace of the thread that made it, for one machine.
#[derive(Debug)]
pub struct HostSetup {
    pub(super) netlink: Netlink,
    pub(super) namespace: NamespaceId,
    pub(super) mark: String,
}

/// What was made for a card.
#[derive(Debug)]
pub struct Made {
    /// Name of the tap or macvtap.
    pub interface: String,
    /// The same, open. A tap goes when it is closed.
    pub tap: Tap,
}

impl HostSetup {
    /// For the machine `owner`, a namespace and a name as in `default/vm`: interfaces are marked with it.
    ///
    /// # Errors
    /// The kernel cannot be asked about the network.
    pub fn new(owner: &str) -> Result<Self, SetupError> {
        let namespace = Namespace::current().and_then(|own| own.id()).map_err(SetupError::Namespace)?;
        let mut mark = format!("{MARK}{owner}");
        mark.truncate(mark.floor_char_boundary(LONGEST_ALIAS));
        Ok(Self { netlink: Netlink::open()?, namespace, mark })
    }

    /// Whether what `record` tells of was made in this namespace; so is nothing at all.
    pub fn is_where(&self, record: &Record) -> bool {
        record.namespace.is_none_or(|namespace| namespace == self.namespace)
    }

    /// Makes what is wanted. Before each step `save` is called with the record that has it.
    ///
    /// # Errors
    /// Something cannot be made or written down. What was made before stays in `record`, to be undone.
    pub fn make(&mut self, wanted: &Wanted, record: &mut Record, save: Save<'_>) -> Result<Made, SetupError> {
        record.namespace = Some(self.namespace);
        let mut maker = Maker { netlink: &mut self.netlink, mark: &self.mark, record, save };
        maker.make(wanted)
    }
}
