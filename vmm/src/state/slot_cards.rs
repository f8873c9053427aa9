//! Network cards that come and go, and their cables.

use devices::say;
use spec::api::{Interface, InterfaceState, Network};

use super::devices::Answer;
use super::driver::Driver;
use super::slots::{SlotKind, refusal};
use super::{Done, Refusal, RefusalKind};
use crate::hotplug::{CardChange, NewCards};
use crate::machine::Machine;
use crate::plan::{DevicePlan, Function};
use crate::status::EventReason;

impl Driver {
    /// Has the machine's network cards be as `wanted`: one change after the other, up to the first that is refused.
    pub(super) fn change_cards(&mut self, machine: &mut Machine, wanted: &NewCards) -> Answer {
        let current = self.keeper.board().current();
        let changes = wanted
            .changes(&current.vmi.spec)
            .map_err(|error| Refusal::new(RefusalKind::Invalid, error.to_string()))?;
        let mut done = Done::Finished;
        for change in changes {
            match change {
                CardChange::Remove(name) => self.remove_card(machine, &name)?,
                CardChange::Link(name, up) => {
                    self.set_link(machine, &name, up)?;
                    continue;
                }
                CardChange::Add(added) => {
                    let (interface, network) = *added;
                    self.add_card(machine, interface, network)?;
                }
            }
            done = Done::Begun;
        }
        Ok(done)
    }

    fn add_card(
        &mut self,
        machine: &mut Machine,
        interface: Interface,
        network: Network,
    ) -> Result<(), Refusal> {
        // Before anything is made that would have to be undone.
        self.free_port()?;
        let name = interface.name.clone();
        if self.plan.functions.iter().any(|function| function.name == name) {
            return Err(Refusal::conflict(format!("the machine has a device {name:?} already")));
        }
        let current = self.keeper.board().current();
        let (plan, backend) = self
            .depot
            .card(&current.vmi, &interface, &network, &mut self.resources.network)
            .map_err(|error| refusal(&error))?;
        let mut status = plan.status();
        // KubeVirt's word for a card that is in the pod and not in the guest yet.
        status.info_source = "multus-status".into();
        let slot = self.put_in(machine, &name, DevicePlan::Nic(Box::new(plan)), backend)?;
        self.keeper.add_card(interface, network, status);
        self.keeper.tell(EventReason::CardAttached, format!("Interface {name} is in slot {slot}"));
        Ok(())
    }

    /// Asks the guest to let a card go. Until then it is there as one that is to be absent.
    fn remove_card(&mut self, machine: &Machine, name: &str) -> Result<(), Refusal> {
        self.ask_out(machine, SlotKind::Card, name)?;
        self.keeper.set_card_state(name, InterfaceState::Absent);
        Ok(())
    }

    /// The guest has taken a card into use.
    pub(super) fn card_accepted(&mut self, name: &str) {
        self.keeper.set_card_present(name);
        let message = format!("The guest has taken the interface {name} into use");
        self.keeper.tell(EventReason::CardReady, message);
    }

    /// Plugs the cable of a card in, or pulls it, also for when the machine is built again.
    fn set_link(&mut self, machine: &Machine, name: &str, up: bool) -> Result<(), Refusal> {
        let is_it = |function: &&mut Function| function.name == name;
        let nic =
            self.plan.functions.iter_mut().find(is_it).and_then(|function| match &mut function.device {
                DevicePlan::Nic(nic) => Some(nic),
                _ => None,
            });
        let Some(nic) = nic.filter(|_| machine.set_link(name, up)) else {
            let message = format!("the machine has no network card {name:?}");
            return Err(Refusal::new(RefusalKind::NotFound, message));
        };
        nic.link_up = up;
        let state = if up { "up" } else { "down" };
        say!("kubevmm: the link of network card {name} is {state}");
        self.keeper.set_card_state(name, if up { InterfaceState::Up } else { InterfaceState::Down });
        Ok(())
    }
}
