//! The watchdog of a machine.

use std::io;
use std::sync::Arc;

use devices::pci::{PciBus, PciFunction};
use devices::platform::watchdog::Watchdog;

use super::BuildError;
use super::functions::Parts;
use crate::open::Resources;
use crate::plan::Plan;
use crate::vcpu::GuestEvent;

/// Makes the watchdog of `plan`, if there is one, and plugs it in.
pub(super) fn build(
    plan: &Plan,
    resources: &Resources,
    parts: &Parts,
    bus: &PciBus,
) -> Result<Option<Arc<Watchdog>>, BuildError> {
    let Some(planned) = plan.watchdog else { return Ok(None) };
    let fail = |source| BuildError::Device { what: "the watchdog".into(), source };
    let thread = parts.io_threads.first().ok_or_else(|| fail(io::Error::other("there is no I/O thread")))?;
    let mailbox = parts.mailbox.clone();
    let on_expiry = Arc::new(move || mailbox.post(GuestEvent::Hung(planned.action).into()));
    let fired = Arc::clone(&resources.watchdog_fired);
    let watchdog = Watchdog::new(planned.window, &thread.handle(), fired, on_expiry);
    let watchdog = watchdog.map_err(|error| fail(io::Error::other(error)))?;
    bus.insert(planned.address, Arc::clone(&watchdog) as Arc<dyn PciFunction>);
    Ok(Some(watchdog))
}
