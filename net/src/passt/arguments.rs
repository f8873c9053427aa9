//! What passt is told.

use std::net::IpAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::IpNet;
use crate::host::Forwards;
use crate::nft::{Forward, Protocol};

/// How passt is to be started. It tells the guest by DHCP, DHCPv6 and router advertisements what its network is:
/// the host's own addresses, unless others are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PasstPlan {
    /// The program.
    pub program: PathBuf,
    /// Which of the host's ports lead to the guest. All are those that nobody has, as far as this user may.
    pub forwards: Forwards,
    /// Longest payload of a frame that the guest is told of; passt's own choice else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// The host's interface whose addresses and routes the guest gets; that of the default route else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// The guest's addresses, at most one for each version of IP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpNet>,
    /// Its gateways, likewise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IpAddr>,
}

impl PasstPlan {
    /// With passt's own choice of everything that can be chosen.
    pub fn new(program: PathBuf, forwards: Forwards) -> Self {
        Self { program, forwards, mtu: None, interface: None, addresses: Vec::new(), gateways: Vec::new() }
    }

    /// The arguments for a passt that gets its socket as descriptor `fd`. `root` if it would run as root otherwise.
    pub(super) fn arguments(&self, fd: i32, root: bool) -> Vec<String> {
        let mut all = ["--foreground", "--quiet", "--fd"].map(str::to_owned).to_vec();
        all.push(fd.to_string());
        let mut add = |option: &str, value: String| all.extend([option.to_owned(), value]);
        if root {
            // By number: containers need not have a user of the name that it would look for.
            add("--runas", NOBODY.to_owned());
        }
        add("--tcp-ports", self.ports(Protocol::Tcp));
        add("--udp-ports", self.ports(Protocol::Udp));
        if let Some(mtu) = self.mtu {
            add("--mtu", mtu.to_string());
        }
        if let Some(interface) = &self.interface {
            add("--interface", interface.clone());
        }
        for address in &self.addresses {
            add("--address", address.address().to_string());
            if address.is_v4() {
                add("--netmask", address.prefix().to_string());
            }
        }
        for gateway in &self.gateways {
            add("--gateway", gateway.to_string());
        }
        all
    }

    fn ports(&self, protocol: Protocol) -> String {
        let forwards = match &self.forwards {
            Forwards::All => return "all".to_owned(),
            Forwards::Only(forwards) => forwards,
        };
        let texts =
            forwards.iter().filter(|forward| forward.protocol == protocol).map(port).collect::<Vec<_>>();
        if texts.is_empty() { "none".to_owned() } else { texts.join(",") }
    }
}

/// User and group that nobody else is.
const NOBODY: &str = "65534:65534";

fn port(forward: &Forward) -> String {
    match (forward.first, forward.last) {
        (first, last) if first == last => first.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forward(protocol: Protocol, first: u16, last: u16) -> Forward {
        Forward { protocol, first, last, range: first != last }
    }

    #[test]
    fn ports_and_addresses_become_options() {
        let ports = vec![
            forward(Protocol::Tcp, 22, 22),
            forward(Protocol::Udp, 53, 53),
            forward(Protocol::Tcp, 8000, 8010),
        ];
        let mut plan = PasstPlan::new("/usr/bin/passt".into(), Forwards::Only(ports));
        let text = |plan: &PasstPlan, root| plan.arguments(7, root).join(" ");
        assert_eq!(text(&plan, false), "--foreground --quiet --fd 7 --tcp-ports 22,8000-8010 --udp-ports 53");
        plan.forwards = Forwards::Only(Vec::new());
        plan.mtu = Some(1400);
        plan.interface = Some("eth0".into());
        plan.addresses = vec!["10.0.2.15/24".parse().unwrap(), "fd00::15/64".parse().unwrap()];
        plan.gateways = vec!["10.0.2.2".parse().unwrap()];
        assert_eq!(
            text(&plan, true),
            "--foreground --quiet --fd 7 --runas 65534:65534 --tcp-ports none --udp-ports none --mtu 1400 \
             --interface eth0 --address 10.0.2.15 --netmask 24 --address fd00::15 --gateway 10.0.2.2"
        );
        plan = PasstPlan::new("/usr/bin/passt".into(), Forwards::All);
        assert!(text(&plan, false).ends_with("--tcp-ports all --udp-ports all"));
    }
}
