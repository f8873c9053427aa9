//! Network cards of a plan.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use spec::api::{Interface, InterfaceState, VirtualMachineInstance};

use super::{Options, PlanError};

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// The text is not a MAC address of one station.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a MAC address of a network card, such as 02:00:00:12:34:56")]
pub struct BadMacAddress(String);

impl FromStr for MacAddress {
    type Err = BadMacAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| BadMacAddress(text.to_owned()))?;
        }
        let multicast = bytes.first().is_some_and(|first| first & 1 != 0);
        if parts.next().is_some() || multicast {
            return Err(BadMacAddress(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = BadMacAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// A network card on an interface of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NicPlan {
    /// Network of the manifest that the card is on.
    pub network: String,
    /// tap or macvtap interface of the host.
    pub tap: String,
    /// Address of the card.
    pub mac: MacAddress,
    /// Pairs of queues.
    pub queue_pairs: u16,
}

/// The cards of a machine by name, and what the user should know about those that are not there.
pub(super) struct Cards {
    pub(super) cards: Vec<(String, NicPlan)>,
    pub(super) warnings: Vec<PlanError>,
}

/// Plans the cards of `vmi`; cards whose network has no tap are left out, with a warning each.
pub(super) fn plan(
    vmi: &VirtualMachineInstance,
    options: &Options,
    queue_pairs: u16,
) -> Result<Cards, PlanError> {
    let mut planned = Cards { cards: Vec::new(), warnings: Vec::new() };
    for (index, interface) in vmi.spec.domain.devices.interfaces.iter().enumerate() {
        if interface.state == Some(InterfaceState::Absent) {
            continue;
        }
        let field = format!("spec.domain.devices.interfaces[{index}]");
        let Some((_, tap)) = options.taps.iter().find(|(network, _)| *network == interface.name) else {
            let name = &interface.name;
            let message = format!("the guest gets no such card: give its tap with --tap {name}=INTERFACE");
            planned.warnings.push(PlanError::at(field, message));
            continue;
        };
        let mac = mac_address(vmi, interface)
            .map_err(|error| PlanError::at(format!("{field}.macAddress"), error.to_string()))?;
        let card = NicPlan { network: interface.name.clone(), tap: tap.clone(), mac, queue_pairs };
        planned.cards.push((interface.name.clone(), card));
    }
    let unknown = options.taps.iter().find(|(network, _)| {
        !vmi.spec.domain.devices.interfaces.iter().any(|interface| interface.name == *network)
    });
    if let Some((network, _)) = unknown {
        let message = format!("--tap names a network {network:?} that no interface of the manifest is on");
        return Err(PlanError::at("spec.domain.devices.interfaces", message));
    }
    Ok(planned)
}

fn mac_address(vmi: &VirtualMachineInstance, interface: &Interface) -> Result<MacAddress, BadMacAddress> {
    match interface.mac_address.as_deref().filter(|mac| !mac.is_empty()) {
        Some(mac) => mac.parse(),
        None => Ok(own_address(vmi, &interface.name)),
    }
}

/// A locally administered address that is the same at each start of the same VM.
fn own_address(vmi: &VirtualMachineInstance, interface: &str) -> MacAddress {
    let name = format!("{}/{}/{interface}", vmi.namespace(), vmi.metadata.name);
    let [a, b, c, d, ..] = spec::Uuid::of_machine(&name).bytes();
    MacAddress([0x02, 0x00, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_checked() {
        let mac: MacAddress = "ce:44:ac:10:00:06".parse().unwrap();
        assert_eq!(mac.to_string(), "ce:44:ac:10:00:06");
        assert_eq!("CE-44-AC-10-00-06".parse::<MacAddress>().unwrap(), mac);
        for bad in
            ["", "ce:44:ac:10:00", "ce:44:ac:10:00:06:07", "01:00:5e:00:00:01", "ce:44:ac:10:00:6", "xx"]
        {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }
}
