//! How fast a card's frames may be moved, and by whom.

use super::Card;
use crate::plan::{NicLimit, PlanError};

/// Annotation of a machine whose frames the host's kernel is to move: `"true"`.
const VHOST: &str = "kubevmm.io/vhost-net";

impl Card<'_> {
    /// The command line's limit.
    pub(super) fn limit(&self) -> Option<NicLimit> {
        let mut limits = self.given.options.nic_limits.iter();
        limits.rfind(|(network, _)| *network == self.interface.name).map(|(_, limit)| *limit)
    }

    /// Whether the kernel moves the card's frames. It can where these are `on_tap` as they are; where not, that is told.
    pub(super) fn vhost(&self, on_tap: bool, warnings: &mut Vec<PlanError>) -> Result<bool, PlanError> {
        let refuse = |message: &str| PlanError::at("metadata.annotations", message);
        match self.given.vmi.metadata.annotations.get(VHOST).map(String::as_str) {
            None | Some("false") => Ok(false),
            Some("true") if self.limit().is_some() => Err(refuse(
                "the kernel does not limit what it moves: leave out kubevmm.io/vhost-net or --nic-limit",
            )),
            Some("true") if !on_tap => {
                let name = &self.interface.name;
                let message = format!(
                    "kubevmm moves the frames of {name} itself: kubevmm.io/vhost-net is for taps and macvtaps as they are, \
                     without passt and without DHCP from kubevmm"
                );
                warnings.push(PlanError::at(self.field(""), message));
                Ok(false)
            }
            Some("true") => Ok(true),
            Some(_) => Err(refuse("kubevmm.io/vhost-net is \"true\" or \"false\"")),
        }
    }
}
