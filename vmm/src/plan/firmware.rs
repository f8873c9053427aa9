//! What a machine says it is: the strings that guests read through SMBIOS.

use serde::{Deserialize, Serialize};
use spec::api::{Chassis, Firmware};

/// SMBIOS strings of a VM that its manifest decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SmbiosPlan {
    /// System UUID.
    pub uuid: String,
    /// System serial number.
    pub serial: String,
    /// Chassis manufacturer.
    pub chassis_manufacturer: String,
    /// Chassis version.
    pub chassis_version: String,
    /// Chassis serial number.
    pub chassis_serial: String,
    /// Chassis asset tag.
    pub chassis_asset: String,
    /// Chassis SKU.
    pub chassis_sku: String,
}

/// Plans the identity of a machine with `uuid`.
pub(super) fn plan(uuid: String, firmware: Option<&Firmware>, chassis: Option<&Chassis>) -> SmbiosPlan {
    let chassis = chassis.cloned().unwrap_or_default();
    SmbiosPlan {
        uuid,
        serial: firmware.and_then(|firmware| firmware.serial.clone()).unwrap_or_default(),
        chassis_manufacturer: chassis.manufacturer,
        chassis_version: chassis.version,
        chassis_serial: chassis.serial,
        chassis_asset: chassis.asset,
        chassis_sku: chassis.sku,
    }
}
