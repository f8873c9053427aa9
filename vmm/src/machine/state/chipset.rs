//! Saved states of the fixed devices.

use devices::pci::ConfigState;
use devices::platform::StateError;
use devices::platform::{fw_cfg, i8042, nmi_status, pm, reset, rtc, serial, vmclock};
use serde::{Deserialize, Serialize};

use crate::machine::chipset::Chipset;

/// The fixed devices of a machine. The panic port has no state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChipsetState {
    /// 00:00.0.
    pub host_bridge: ConfigState,
    /// 00:1f.0.
    pub lpc: ConfigState,
    /// Address register of the configuration ports.
    pub config_address: u32,
    /// Reset control register.
    pub reset: reset::State,
    /// Power management.
    pub pm: pm::State,
    /// Real-time clock.
    pub rtc: rtc::State,
    /// COM1.
    pub serial: serial::State,
    /// Keyboard controller.
    pub i8042: i8042::State,
    /// NMI status.
    pub nmi_status: nmi_status::State,
    /// Firmware configuration.
    pub fw_cfg: fw_cfg::State,
    /// The page that tells of disruptions; older machines have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vmclock: Option<vmclock::State>,
}

impl ChipsetState {
    pub(super) fn of(chipset: &Chipset) -> Self {
        Self {
            host_bridge: chipset.host_bridge.save(),
            lpc: chipset.lpc.save(),
            config_address: chipset.config_ports.save(),
            reset: chipset.reset.save(),
            pm: chipset.pm.save(),
            rtc: chipset.rtc.save(),
            serial: chipset.serial.save(),
            i8042: chipset.i8042.save(),
            nmi_status: chipset.nmi_status.save(),
            fw_cfg: chipset.fw_cfg.save(),
            vmclock: Some(chipset.vmclock.save()),
        }
    }

    /// Gives the devices their states; interrupt lines are driven to their levels.
    pub(super) fn restore(&self, chipset: &Chipset) -> Result<(), StateError> {
        chipset.host_bridge.restore(&self.host_bridge);
        chipset.lpc.restore(&self.lpc);
        chipset.config_ports.restore(self.config_address);
        chipset.reset.restore(&self.reset)?;
        chipset.pm.restore(&self.pm)?;
        chipset.rtc.restore(&self.rtc)?;
        chipset.serial.restore(&self.serial)?;
        chipset.i8042.restore(&self.i8042)?;
        chipset.nmi_status.restore(&self.nmi_status)?;
        chipset.fw_cfg.restore(&self.fw_cfg)?;
        self.vmclock.as_ref().map_or(Ok(()), |state| chipset.vmclock.restore(state))
    }
}
