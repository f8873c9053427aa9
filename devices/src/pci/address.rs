//! Where a function sits: bus, device, function.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Address of a function in PCI segment 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PciAddress {
    bus: u8,
    device: u8,
    function: u8,
}

impl PciAddress {
    /// Address of `function` (0 to 7) of `device` (0 to 31) on `bus`; higher bits are cut off.
    pub const fn new(bus: u8, device: u8, function: u8) -> Self {
        Self { bus, device: device & 0x1f, function: function & 7 }
    }

    /// The address in a configuration access's bus number and device/function byte.
    pub const fn from_bus_devfn(bus: u8, devfn: u8) -> Self {
        Self::new(bus, devfn >> 3, devfn)
    }

    /// Bus number.
    pub const fn bus(self) -> u8 {
        self.bus
    }

    /// Device number, 0 to 31.
    pub const fn device(self) -> u8 {
        self.device
    }

    /// Function number, 0 to 7.
    pub const fn function(self) -> u8 {
        self.function
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus, self.device, self.function)
    }
}

impl From<PciAddress> for String {
    fn from(address: PciAddress) -> Self {
        address.to_string()
    }
}

/// The text is not of the form `BB:DD.F`.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a PCI address of the form bus:device.function, such as 00:1f.0")]
pub struct BadPciAddress(String);

impl FromStr for PciAddress {
    type Err = BadPciAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (bus, rest) = text.split_once(':')?;
            let (device, function) = rest.split_once('.')?;
            let device = u8::from_str_radix(device, 16).ok().filter(|d| *d < 32)?;
            let function = function.parse().ok().filter(|f| *f < 8)?;
            Some(Self { bus: u8::from_str_radix(bus, 16).ok()?, device, function })
        };
        parse().ok_or_else(|| BadPciAddress(text.to_owned()))
    }
}

impl TryFrom<String> for PciAddress {
    type Error = BadPciAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_address_are_the_same_thing() {
        let lpc = PciAddress::new(0, 0x1f, 0);
        assert_eq!(lpc.to_string(), "00:1f.0");
        assert_eq!("00:1f.0".parse::<PciAddress>().unwrap(), lpc);
        assert_eq!(PciAddress::from_bus_devfn(0, 0xf8), lpc);
        for bad in ["", "00:20.0", "00:1f.8", "0:1f", "zz:00.0"] {
            assert!(bad.parse::<PciAddress>().is_err(), "{bad}");
        }
    }
}
