//! The watchdog of a plan.

use devices::pci::PciAddress;
use serde::{Deserialize, Serialize};
use spec::api::Devices;

use super::PlanError;
use super::pci::{Allocator, PciPlan};

/// What the watchdog does when the guest has let it run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WatchdogAction {
    /// The machine is reset.
    Reset,
    /// The machine is switched off.
    PowerOff,
    /// The guest is asked to power off, and switched off when its time is over.
    Shutdown,
}

/// A watchdog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WatchdogPlan {
    /// Where it sits.
    pub address: PciAddress,
    /// Where its window is at power-on, below 4 GiB.
    pub window: u64,
    /// What it does.
    pub action: WatchdogAction,
}

/// Plans the watchdog that `devices` asks for, if it does.
pub(super) fn plan(
    devices: &Devices,
    pci: &PciPlan,
    allocator: &mut Allocator,
) -> Result<Option<WatchdogPlan>, PlanError> {
    const FIELD: &str = "spec.domain.devices.watchdog.i6300esb.action";
    let Some(i6300esb) = devices.watchdog.as_ref().and_then(|watchdog| watchdog.i6300esb.as_ref()) else {
        return Ok(None);
    };
    let action = match i6300esb.action.as_str() {
        "" | "reset" => WatchdogAction::Reset,
        "poweroff" => WatchdogAction::PowerOff,
        "shutdown" => WatchdogAction::Shutdown,
        other => return Err(PlanError::at(FIELD, format!("{other:?} is none of poweroff, reset, shutdown"))),
    };
    let full =
        || PlanError::at("spec.domain.devices", "there are more devices than fit on the machine's PCI bus");
    let address = allocator.address().ok_or_else(full)?;
    Ok(Some(WatchdogPlan { address, window: pci.mmio32.start, action }))
}
