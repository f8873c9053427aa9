//! Root ports and what is in their slots.

use std::sync::Arc;

use devices::pci::{Card, Forwarded, OnSlot, PciAddress, PciBus, PortParts, RootPort};

use super::BuildError;
use super::functions::{Functions, Parts};
use crate::plan::{Plan, PortPlan};
use crate::state::{Event, Mailbox};

/// A root port of a machine.
pub(super) struct Port {
    /// Where a device in its slot is.
    pub(super) card: PciAddress,
    pub(super) port: Arc<RootPort>,
}

/// Makes the ports of `plan`, with those of `functions` in their slots that belong there, and plugs them in.
pub(super) fn build(
    plan: &Plan,
    functions: &Functions,
    parts: &Parts,
    bus: &PciBus,
) -> Result<Vec<Port>, BuildError> {
    plan.ports.iter().map(|planned| port(planned, functions, parts, bus)).collect()
}

fn port(planned: &PortPlan, functions: &Functions, parts: &Parts, bus: &PciBus) -> Result<Port, BuildError> {
    let what = || format!("root port {}", planned.bus);
    let slot = parts.routes.slot(planned.gsi);
    let made = PortParts {
        number: planned.bus.into(),
        forwarded: Forwarded {
            bus: planned.bus,
            memory: planned.memory.clone(),
            prefetchable: planned.prefetchable.clone(),
        },
        routes: Arc::clone(&parts.routes) as _,
        msi_slot: slot.map_err(|source| BuildError::Device { what: what(), source })?,
        on_slot: on_slot(planned.card(), &parts.mailbox),
    };
    let card = functions.at(planned.card()).map(|function| Arc::clone(function) as Arc<dyn Card>);
    let port = Arc::new(RootPort::new(made, card));
    bus.insert_port(planned.address, Arc::clone(&port));
    Ok(Port { card: planned.card(), port })
}

/// Posts what the guest does with the device at `card`.
fn on_slot(card: PciAddress, mailbox: &Mailbox) -> OnSlot {
    let mailbox = mailbox.clone();
    Arc::new(move |event| mailbox.post(Event::Slot(card, event)))
}
