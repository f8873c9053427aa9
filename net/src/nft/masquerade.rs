//! The rules of KubeVirt's `masquerade` binding, one for one and in its order
//! (pkg/network/setup/netpod/masquerade/masquerade.go).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::rules::{Chain, Match, Ports, Protocol, Rule, Verdict};
use crate::host::{Behind, Forwards};

/// Ports that KubeVirt keeps for live migration, unless migration goes by unix sockets.
const MIGRATION_PORTS: [u16; 2] = [49152, 49153];
/// What Istio's proxy listens on (pkg/network/istio), what it leaves to others, and where it sends from.
const ISTIO_PORTS: [u16; 10] = [15000, 15001, 15004, 15006, 15008, 15009, 15020, 15021, 15053, 15090];
const ISTIO_UNPROXIED: u16 = 22;
const ISTIO_LOOPBACK: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 6);

/// How a guest behind masquerade is to be reached, and how it reaches out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Masquerade {
    /// The interface by which others reach the guest, the pod's; none: nobody does but this host itself.
    pub outside: Option<String>,
    /// The bridge that the guest is on.
    pub bridge: String,
    /// For each version of IP that there is: the bridge's address and the guest's.
    pub families: Vec<Behind>,
    /// What leads to the guest.
    pub forwards: Forwards,
    /// Leave connections of this host's to the ports of live migration alone.
    #[serde(default)]
    pub spare_migration: bool,
    /// With Istio's proxy beside it: the pod's IPv4 address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub istio: Option<Ipv4Addr>,
}

/// Ports that lead to the guest, the same number on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forward {
    /// Of which protocol.
    pub protocol: Protocol,
    /// The first port.
    pub first: u16,
    /// The last; the same, if it is one.
    pub last: u16,
    /// Whether the manifest named it as a range, which KubeVirt writes down in another way.
    #[serde(default)]
    pub range: bool,
}

impl Forward {
    fn ports(&self) -> Ports {
        match self.range {
            true => Ports::Range { first: self.first, last: self.last },
            false => Ports::One(self.first),
        }
    }

    fn matching(&self) -> Match {
        Match::Port(self.protocol, self.ports())
    }
}

impl Masquerade {
    /// The rules of one version of IP.
    pub(super) fn rules(&self, ends: Behind) -> Vec<Rule> {
        let guest = Match::From(vec![ends.guest.address()]);
        let mut rules = vec![rule(Chain::Postrouting, [guest], Verdict::Masquerade)];
        if let Some(outside) = &self.outside {
            rules.push(rule(Chain::Prerouting, [Match::In(outside.clone())], Verdict::Jump(Chain::Inbound)));
        }
        let bridge = Match::Out(self.bridge.clone());
        rules.push(rule(Chain::Postrouting, [bridge], Verdict::Jump(Chain::Outbound)));
        if self.spare_migration {
            rules.extend(spare(&MIGRATION_PORTS, ends));
        }
        match &self.forwards {
            Forwards::All => self.forward_all(ends, &mut rules),
            Forwards::Only(forwards) => {
                forwards.iter().for_each(|forward| self.forward(forward, ends, &mut rules))
            }
        }
        rules
    }

    fn forward_all(&self, ends: Behind, rules: &mut Vec<Rule>) {
        let dnat = Verdict::Dnat(ends.guest.address());
        match self.istio {
            None => rules.push(rule(Chain::Inbound, [], dnat.clone())),
            Some(_) => {
                rules.extend(spare(&ISTIO_PORTS, ends));
                let unproxied = Match::Port(Protocol::Tcp, Ports::One(ISTIO_UNPROXIED));
                rules.push(rule(Chain::Inbound, [unproxied], dnat.clone()));
            }
        }
        rules.push(rule(
            Chain::Outbound,
            [Match::From(self.local_sources(ends))],
            Verdict::Snat(ends.gateway.address()),
        ));
        rules.push(rule(Chain::Output, [Match::To(self.local_targets(ends))], dnat));
    }

    fn forward(&self, forward: &Forward, ends: Behind, rules: &mut Vec<Rule>) {
        let dnat = Verdict::Dnat(ends.guest.address());
        match self.istio {
            None => rules.push(rule(Chain::Inbound, [forward.matching()], dnat.clone())),
            Some(_) if (forward.first..=forward.last).contains(&ISTIO_UNPROXIED) => {
                let unproxied = Match::Port(Protocol::Tcp, Ports::One(ISTIO_UNPROXIED));
                rules.push(rule(Chain::Inbound, [unproxied], dnat.clone()));
            }
            // The proxy takes it.
            Some(_) => {}
        }
        let sources = Match::From(self.local_sources(ends));
        rules.push(rule(
            Chain::Outbound,
            [forward.matching(), sources],
            Verdict::Snat(ends.gateway.address()),
        ));
        let targets = Match::To(self.local_targets(ends));
        rules.push(rule(Chain::Output, [targets, forward.matching()], dnat));
    }

    /// Whose packets get the bridge's address, because the guest could not answer them.
    fn local_sources(&self, ends: Behind) -> Vec<IpAddr> {
        let proxy = self.istio.filter(|_| ends.guest.is_v4()).map(|_| IpAddr::V4(ISTIO_LOOPBACK));
        [loopback(ends)].into_iter().chain(proxy).collect()
    }

    /// For whom this host's own packets go to the guest.
    fn local_targets(&self, ends: Behind) -> Vec<IpAddr> {
        let pod = self.istio.filter(|_| ends.guest.is_v4()).map(IpAddr::V4);
        [loopback(ends)].into_iter().chain(pod).collect()
    }
}

/// This host's own connections to these ports of itself stay here.
fn spare(ports: &[u16], ends: Behind) -> [Rule; 2] {
    let keep = |chain| {
        let matches =
            [Match::Port(Protocol::Tcp, Ports::Several(ports.to_vec())), Match::From(vec![loopback(ends)])];
        rule(chain, matches, Verdict::Return)
    };
    [keep(Chain::Output), keep(Chain::Outbound)]
}

fn loopback(ends: Behind) -> IpAddr {
    if ends.guest.is_v4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() }
}

fn rule<const N: usize>(chain: Chain, matches: [Match; N], verdict: Verdict) -> Rule {
    Rule { chain, matches: matches.into(), verdict }
}
