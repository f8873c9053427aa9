//! Network cards as a machine is to have them, and what has to be done for it.

use spec::api::{Interface, InterfaceState, Network, VirtualMachineInstanceSpec};

/// All network cards that a machine is to have, as KubeVirt has it said: in the machine's specification.
#[derive(Clone, Debug, PartialEq)]
pub struct NewCards {
    /// Its `spec.domain.devices.interfaces`; those that are absent are to go.
    pub interfaces: Vec<Interface>,
    /// Its `spec.networks`.
    pub networks: Vec<Network>,
}

/// Something to be done for it.
#[derive(Clone, Debug, PartialEq)]
pub enum CardChange {
    /// The guest is to let the card of this name go.
    Remove(String),
    /// The card's cable is to be in (true) or out.
    Link(String, bool),
    /// A card is to come.
    Add(Box<(Interface, Network)>),
}

/// A change that is not possible while the machine runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CardsError {
    /// It is about something else than coming, going and the cable.
    #[error(
        "the interface {0:?} cannot become another one while the machine runs: only its state can be changed"
    )]
    Other(String),
    /// A network is another one.
    #[error("the network {0:?} cannot become another one while the machine runs")]
    Network(String),
    /// A card has no network.
    #[error("the interface {0:?} is on no network")]
    NoNetwork(String),
    /// A card is on its way out.
    #[error("the guest was asked to let the interface {0:?} go, and has not done it yet")]
    Leaving(String),
}

impl NewCards {
    /// What has to be done so that a machine with this specification has these cards: what goes first.
    ///
    /// # Errors
    /// It cannot be done.
    pub fn changes(&self, current: &VirtualMachineInstanceSpec) -> Result<Vec<CardChange>, CardsError> {
        let now = &current.domain.devices.interfaces;
        let is_wanted = |name: &str| self.interfaces.iter().any(|card| card.name == name && !is_absent(card));
        let goes = now.iter().filter(|card| !is_absent(card) && !is_wanted(&card.name));
        let mut changes: Vec<_> = goes.map(|card| CardChange::Remove(card.name.clone())).collect();
        for card in self.interfaces.iter().filter(|card| !is_absent(card)) {
            let name = || card.name.clone();
            let network = self.networks.iter().find(|network| network.name == card.name);
            let network = network.ok_or_else(|| CardsError::NoNetwork(name()))?;
            match now.iter().find(|old| old.name == card.name) {
                None => changes.push(CardChange::Add(Box::new((card.clone(), network.clone())))),
                Some(old) if is_absent(old) => return Err(CardsError::Leaving(name())),
                Some(old) if without_state(old) != without_state(card) => {
                    return Err(CardsError::Other(name()));
                }
                Some(_) if !current.networks.contains(network) => return Err(CardsError::Network(name())),
                Some(old) if is_up(old) != is_up(card) => changes.push(CardChange::Link(name(), is_up(card))),
                Some(_) => {}
            }
        }
        Ok(changes)
    }
}

fn is_absent(card: &Interface) -> bool {
    card.state == Some(InterfaceState::Absent)
}

fn is_up(card: &Interface) -> bool {
    card.state != Some(InterfaceState::Down)
}

fn without_state(card: &Interface) -> Interface {
    Interface { state: None, ..card.clone() }
}

#[cfg(test)]
mod tests {
    use std::slice;

    use spec::api::{MultusNetwork, NetworkSource};

    use super::*;

    fn card(name: &str, state: Option<InterfaceState>) -> Interface {
        Interface { name: name.into(), state, ..Interface::default() }
    }

    fn network(name: &str) -> Network {
        let multus = MultusNetwork { network_name: name.into(), ..MultusNetwork::default() };
        Network { name: name.into(), source: NetworkSource::Multus(multus) }
    }

    fn spec(cards: &[Interface]) -> VirtualMachineInstanceSpec {
        let networks = cards.iter().map(|card| network(&card.name)).collect();
        let mut spec = VirtualMachineInstanceSpec { networks, ..VirtualMachineInstanceSpec::default() };
        spec.domain.devices.interfaces = cards.to_vec();
        spec
    }

    fn wanted(cards: &[Interface]) -> NewCards {
        NewCards {
            interfaces: cards.to_vec(),
            networks: cards.iter().map(|card| network(&card.name)).collect(),
        }
    }

    #[test]
    fn cards_come_go_and_lose_their_cable() {
        let (a, b) = (card("a", None), card("b", None));
        let now = spec(&[a.clone(), b.clone()]);
        assert_eq!(wanted(&[a.clone(), b.clone()]).changes(&now).unwrap(), []);
        let gone = CardChange::Remove("b".into());
        assert_eq!(wanted(slice::from_ref(&a)).changes(&now).unwrap(), slice::from_ref(&gone));
        let absent = card("b", Some(InterfaceState::Absent));
        assert_eq!(wanted(&[a.clone(), absent.clone()]).changes(&now).unwrap(), slice::from_ref(&gone));
        let all = [card("a", Some(InterfaceState::Down)), absent.clone(), card("c", None)];
        let add = CardChange::Add(Box::new((card("c", None), network("c"))));
        assert_eq!(wanted(&all).changes(&now).unwrap(), [gone, CardChange::Link("a".into(), false), add]);
        // One that is on its way out is left alone.
        assert_eq!(wanted(slice::from_ref(&a)).changes(&spec(&[a.clone(), absent.clone()])).unwrap(), []);
        let back = wanted(&[a.clone(), b]).changes(&spec(&[a.clone(), absent]));
        assert_eq!(back, Err(CardsError::Leaving("b".into())));
        let up = wanted(&[card("a", Some(InterfaceState::Up))]).changes(&spec(&[a]));
        assert_eq!(up.unwrap(), [], "that is what it is without a word");
    }

    #[test]
    fn a_card_does_not_become_another() {
        let now = spec(&[card("a", None)]);
        let other = Interface { mac_address: Some("02:00:00:00:00:01".into()), ..card("a", None) };
        assert_eq!(wanted(&[other]).changes(&now), Err(CardsError::Other("a".into())));
        let mut moved = wanted(&[card("a", None)]);
        moved.networks = vec![Network { name: "a".into(), ..network("elsewhere") }];
        assert_eq!(moved.changes(&now), Err(CardsError::Network("a".into())));
        moved.networks.clear();
        assert_eq!(moved.changes(&now), Err(CardsError::NoNetwork("a".into())));
    }
}
