//! Opening what a network card is on.

use std::sync::Arc;

use net::passt::Passt;
use net::{Answered, AnswersHandle, Link, Tap, VhostNet};

use super::{HostNetwork, OpenError};
use crate::plan::{BindingPlan, NicPlan};
use crate::sys::fds;

/// What a card's frames go through.
#[derive(Clone, Debug)]
pub struct NicLink {
    /// What the device sends to and receives from.
    pub link: Arc<dyn Link>,
    /// The tap or macvtap, if it is on one.
    pub tap: Option<Arc<Tap>>,
    /// The kernel's workers, one a queue pair, if they move the frames.
    pub workers: Vec<Arc<VhostNet>>,
    /// What is answered here in place of the network.
    pub answers: Option<AnswersHandle>,
}

/// Opens what the card `name` is on, and makes it before if the plan says so.
pub(super) fn open(name: &str, nic: &NicPlan, host: &mut HostNetwork) -> Result<NicLink, OpenError> {
    let fail = |source| OpenError::Tap { name: name.to_owned(), source };
    let tap = match &nic.binding {
        BindingPlan::Interface { name } => Tap::open(name, nic.queue_pairs).map_err(fail)?,
        BindingPlan::Files { descriptors } => {
            let files = fds::inherited(descriptors).map_err(|source| OpenError::Host {
                what: format!("the open files of tap {name}"),
                source,
            })?;
            Tap::from_fds(files).map_err(fail)?
        }
        BindingPlan::Made(wanted) => {
            host.make(wanted).map_err(|source| OpenError::Network { name: name.to_owned(), source })?
        }
        BindingPlan::Passt(plan) => {
            let passt = Passt::start(plan)
                .map_err(|source| OpenError::Passt { name: name.to_owned(), source: Box::new(source) })?;
            let (link, answers) = answered(name, Arc::new(passt), nic)?;
            return Ok(NicLink { link, tap: None, workers: Vec::new(), answers });
        }
    };
    let tap = Arc::new(tap);
    let (link, answers) = answered(name, Arc::clone(&tap) as _, nic)?;
    Ok(NicLink { link, tap: Some(tap), workers: workers(name, nic)?, answers })
}

/// The link, with what the plan says answered in front of it.
fn answered(
    name: &str,
    link: Arc<dyn Link>,
    nic: &NicPlan,
) -> Result<(Arc<dyn Link>, Option<AnswersHandle>), OpenError> {
    let Some(answers) = nic.answers.clone() else { return Ok((link, None)) };
    let fail = |source| OpenError::Host { what: format!("DHCP for interface {name}"), source };
    let link = Answered::new(link, answers).map_err(fail)?;
    let handle = link.handle();
    Ok((Arc::new(link), Some(handle)))
}

/// The kernel's workers that the plan asks for.
fn workers(name: &str, nic: &NicPlan) -> Result<Vec<Arc<VhostNet>>, OpenError> {
    let fail = |source| OpenError::Host { what: format!("vhost-net for interface {name}"), source };
    let count = if nic.vhost { nic.queue_pairs } else { 0 };
    (0..count).map(|_| VhostNet::open().map(Arc::new).map_err(fail)).collect()
}
