//! The guest's own networks behind masquerade.

use net::IpNet;
use net::host::{Behind, free_network};
use net::netlink::Interface;
use spec::api::NetworkSource;

use super::{Card, PlanError};

/// The guest's networks, where the manifest names none.
const USUAL_V4: &str = "10.0.2.0/24";
const USUAL_V6: &str = "fd10:0:2::/120";

impl Card<'_> {
    /// Gateway and guest of the manifest's networks: the first two addresses of IPv4's and of IPv6's. Where it names none,
    /// they are the usual ones as `choose` has them.
    pub(super) fn networks_behind(&self, choose: impl Fn(IpNet) -> IpNet) -> Vec<Behind> {
        let NetworkSource::Pod(pod) = &self.network.source else { return Vec::new() };
        let behind = |(given, usual): (&String, &str)| {
            let net = if given.is_empty() { usual.parse().ok().map(&choose) } else { given.parse().ok() }?;
            Some(Behind { gateway: net.nth(1)?, guest: net.nth(2)? })
        };
        let both = [(&pod.vm_network_cidr, USUAL_V4), (&pod.vm_ipv6_network_cidr, USUAL_V6)];
        both.into_iter().filter_map(behind).collect()
    }

    /// The same for masquerade that is to be made: of the versions of IP that the interface to the outside has, or of IPv4
    /// where there is none. Several machines share a host, so the usual networks may be taken there.
    pub(super) fn networks_to_make(&self, outside: Option<&Interface>) -> Result<Vec<Behind>, PlanError> {
        let survey = self.given.survey;
        let has = |v4| outside.is_some_and(|outside| survey.global_address(outside, v4).is_some());
        let is_there = |behind: &Behind| match behind.gateway.is_v4() {
            true => has(true) || !has(false),
            false => has(false),
        };
        let is_pod = self.pod_network().is_some();
        let choose = |usual| if is_pod { usual } else { free_network(survey, usual) };
        let networks: Vec<_> = self.networks_behind(choose).into_iter().filter(is_there).collect();
        for Behind { gateway, .. } in &networks {
            let is_in = |other: IpNet| other.contains(gateway.address()) || gateway.contains(other.address());
            let Some(taken) = survey.addresses.iter().find(|address| is_in(address.net)) else { continue };
            let name = survey.by_index(taken.interface).map_or("another interface", |other| &other.name);
            let key = if gateway.is_v4() { "vmNetworkCIDR" } else { "vmIPv6NetworkCIDR" };
            let message = format!(
                "the guest's network {} is in use here by {name} ({}): give the pod network another {key}",
                gateway.network(),
                taken.net
            );
            return Err(PlanError::missing(self.field(""), message));
        }
        Ok(networks)
    }
}
