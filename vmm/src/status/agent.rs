//! What the status says of a guest by its agent and by probes.

use std::collections::BTreeMap;

use spec::api::{GuestOsInfo, InterfaceStatus, VirtualMachineInstanceStatus};

use super::conditions::{AGENT_CONNECTED, AGENT_VERSION, CREDENTIALS, Wanted};
use crate::agent::{AgentInfo, AgentReport, FreezeStatus, GuestInfo, Interface, OsInfo, ProbeKind};

/// Who says what the status says of a card: the plan, the agent, or both.
pub(super) const DOMAIN: &str = "domain";
const AGENT: &str = "guest-agent";
const BOTH: &str = "domain, guest-agent";

/// What agent and probes have said.
#[derive(Debug)]
pub(super) struct AgentStatus {
    connected: Option<AgentInfo>,
    credentials: Option<Result<(), String>>,
    /// What the readiness probe has against the guest.
    unready: Option<String>,
    /// Addresses that cards had before the agent said theirs, by the cards' names.
    before: BTreeMap<String, (String, Vec<String>)>,
}

impl AgentStatus {
    /// Nothing yet; a guest with a readiness probe is not ready before it has succeeded.
    pub(super) fn new(has_readiness: bool) -> Self {
        let unready = has_readiness.then(|| "the readiness probe has not succeeded yet".to_owned());
        Self { connected: None, credentials: None, unready, before: BTreeMap::new() }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.connected.is_some()
    }

    /// What the readiness probe has against the guest, if anything.
    pub(super) fn unready(&self) -> Option<&str> {
        self.unready.as_deref()
    }

    /// Takes news.
    pub(super) fn note(&mut self, report: &AgentReport, status: &mut VirtualMachineInstanceStatus) {
        match report {
            AgentReport::Connected(agent) => self.connected = Some(agent.clone()),
            AgentReport::Lost(_) => {
                self.connected = None;
                status.guest_os_info = None;
                status.fs_freeze_status.clear();
                self.forget_interfaces(&mut status.interfaces);
            }
            AgentReport::Info(guest) => {
                let GuestInfo { os, freeze, .. } = &**guest;
                status.guest_os_info = os.as_ref().map(os_info);
                status.fs_freeze_status = freeze.map(freeze_status).unwrap_or_default();
            }
            AgentReport::Freeze(freeze) => status.fs_freeze_status = freeze_status(*freeze),
            AgentReport::Interfaces(interfaces) => self.take_interfaces(interfaces, &mut status.interfaces),
            AgentReport::Credentials(result) => self.credentials = Some(result.clone()),
            AgentReport::Probe(result) if result.kind == ProbeKind::Readiness => {
                self.unready = result.health.clone().err();
            }
            AgentReport::Identity(_) | AgentReport::Probe(_) => {}
        }
    }

    /// KubeVirt's conditions (`pkg/virt-handler/vm.go`).
    pub(super) fn conditions(&self) -> [(&'static str, Option<Wanted>); 3] {
        let connected = self.connected.as_ref().map(|agent| Wanted {
            holds: true,
            reason: "",
            message: format!("guest agent {}", agent.version).into(),
        });
        let lacks = self.connected.as_ref().map(|agent| agent.lacks().collect::<Vec<_>>());
        let unsupported = lacks.filter(|lacks| !lacks.is_empty()).map(|lacks| Wanted {
            holds: true,
            reason: "This guest agent doesn't support required basic commands",
            message: format!("it lacks {}", lacks.join(", ")).into(),
        });
        let credentials = self.credentials.as_ref().map(|result| Wanted {
            holds: result.is_ok(),
            reason: "",
            message: result.as_ref().err().cloned().unwrap_or_default().into(),
        });
        [(AGENT_CONNECTED, connected), (AGENT_VERSION, unsupported), (CREDENTIALS, credentials)]
    }

    /// Cards of the plan are told by their hardware addresses; those that only the guest knows come behind them.
    fn take_interfaces(&mut self, found: &[Interface], cards: &mut Vec<InterfaceStatus>) {
        self.forget_interfaces(cards);
        for interface in found {
            let addresses: Vec<String> = interface.addresses.iter().map(|one| one.ip.to_string()).collect();
            let first =
                interface.addresses.iter().find(|one| one.ip.is_ipv4()).or(interface.addresses.first());
            let first = first.map(|one| one.ip.to_string()).unwrap_or_default();
            let is_it = |card: &&mut InterfaceStatus| {
                card.info_source != AGENT
                    && !card.mac.is_empty()
                    && card.mac.eq_ignore_ascii_case(&interface.mac)
            };
            if let Some(card) = cards.iter_mut().find(is_it) {
                // Bridges and VLANs in the guest share their card's address: the card itself comes first.
                if card.info_source == BOTH {
                    continue;
                }
                card.info_source = BOTH.into();
                card.interface_name.clone_from(&interface.name);
                let before = (card.ip_address.clone(), card.ip_addresses.clone());
                self.before.insert(card.name.clone(), before);
                // A card that has none yet may be given what was leased to it.
                if !addresses.is_empty() {
                    (card.ip_address, card.ip_addresses) = (first, addresses);
                }
            } else {
                cards.push(InterfaceStatus {
                    info_source: AGENT.into(),
                    interface_name: interface.name.clone(),
                    ip_address: first,
                    ip_addresses: addresses,
                    mac: interface.mac.clone(),
                    ..InterfaceStatus::default()
                });
            }
        }
    }

    fn forget_interfaces(&mut self, cards: &mut Vec<InterfaceStatus>) {
        cards.retain(|card| card.info_source != AGENT);
        for card in cards.iter_mut().filter(|card| card.info_source == BOTH) {
            card.info_source = DOMAIN.into();
            card.interface_name.clear();
            if let Some(before) = self.before.remove(&card.name) {
                (card.ip_address, card.ip_addresses) = before;
            }
        }
    }
}

fn os_info(os: &OsInfo) -> GuestOsInfo {
    let OsInfo { name, kernel_release, kernel_version, version, version_id, pretty_name, machine, id } =
        os.clone();
    GuestOsInfo { name, kernel_release, kernel_version, version, version_id, pretty_name, machine, id }
}

/// KubeVirt's status has nothing to say of file systems that are not frozen.
fn freeze_status(status: FreezeStatus) -> String {
    match status {
        FreezeStatus::Frozen => "frozen".into(),
        FreezeStatus::Thawed => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::{InterfaceAddress, ProbeResult};

    fn interface(name: &str, mac: &str, addresses: &[&str]) -> Interface {
        let addresses = addresses.iter().map(|ip| InterfaceAddress { ip: ip.parse().unwrap(), prefix: 24 });
        Interface { name: name.into(), mac: mac.into(), addresses: addresses.collect() }
    }

    #[test]
    fn cards_are_told_by_their_hardware_address() {
        let card = InterfaceStatus {
            name: "default".into(),
            mac: "02:00:00:00:00:AA".into(),
            info_source: DOMAIN.into(),
            ip_address: "10.0.2.2".into(),
            ip_addresses: vec!["10.0.2.2".into()],
            ..InterfaceStatus::default()
        };
        let mut status = VirtualMachineInstanceStatus {
            interfaces: vec![card],
            ..VirtualMachineInstanceStatus::default()
        };
        let before = status.clone();
        let mut agent = AgentStatus::new(false);
        let found = [
            interface("eth0", "02:00:00:00:00:aa", &["fe80::1", "10.0.2.7"]),
            interface("eth0.5", "02:00:00:00:00:aa", &["192.168.5.1"]),
            interface("docker0", "02:42:00:00:00:01", &["172.17.0.1"]),
        ];
        for _ in 0..2 {
            agent.note(&AgentReport::Interfaces(found.to_vec()), &mut status);
            let [card, docker] = status.interfaces.as_slice() else { panic!("{:?}", status.interfaces) };
            assert_eq!((card.name.as_str(), card.interface_name.as_str()), ("default", "eth0"));
            assert_eq!((card.info_source.as_str(), card.ip_address.as_str()), (BOTH, "10.0.2.7"));
            assert_eq!(card.ip_addresses, ["fe80::1", "10.0.2.7"]);
            assert_eq!((docker.name.as_str(), docker.info_source.as_str()), ("", AGENT));
        }
        agent.note(&AgentReport::Lost("gone".into()), &mut status);
        assert_eq!(status, before);
    }

    #[test]
    fn conditions_follow_what_the_agent_says() {
        let mut status = VirtualMachineInstanceStatus::default();
        let mut agent = AgentStatus::new(true);
        assert!(agent.unready().is_some());
        assert!(agent.conditions().iter().all(|(_, wanted)| wanted.is_none()));
        agent.note(
            &AgentReport::Connected(AgentInfo { version: "7.2".into(), ..AgentInfo::default() }),
            &mut status,
        );
        agent.note(&AgentReport::Credentials(Err("no chpasswd".into())), &mut status);
        let health = Ok(());
        agent.note(&AgentReport::Probe(ProbeResult { kind: ProbeKind::Readiness, health }), &mut status);
        agent.note(&AgentReport::Freeze(FreezeStatus::Frozen), &mut status);
        assert_eq!((agent.unready(), status.fs_freeze_status.as_str()), (None, "frozen"));
        let [connected, version, credentials] = agent.conditions().map(|(_, wanted)| wanted.unwrap());
        assert_eq!((connected.holds, &*connected.message), (true, "guest agent 7.2"));
        assert!(version.holds && version.message.contains("guest-ping"));
        assert_eq!((credentials.holds, &*credentials.message), (false, "no chpasswd"));
    }
}
