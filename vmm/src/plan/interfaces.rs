//! Network cards of a plan.

use net::{BadMacAddress, MacAddress};
use serde::{Deserialize, Serialize};
use spec::api::{Interface, InterfaceState, VirtualMachineInstance};

use super::{Options, PlanError};

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
