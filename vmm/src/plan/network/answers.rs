//! What is answered in place of the network: the guest's addresses, as KubeVirt gives them.

use std::net::{IpAddr, Ipv4Addr};

use net::dhcp::{
    Answers, Extras4, LEASE_SECONDS, Lease4, Lease6, PodRoute, PrivateOption, Route4, RouterAdvert,
    routes_of_pod,
};
use net::host::{Behind, Names, Wanted};
use net::netlink::{Interface, Route};
use net::{IpNet, MacAddress};
use spec::api::{InterfaceBinding, NetworkSource};
use spec::cni::{Ipam, StaticAddresses};

use super::{BindingPlan, Card, PlanError};

/// The address of the bridge that stands for the network (`pkg/network/setup/netpod`).
pub(super) const BRIDGE_MAC: MacAddress = MacAddress([0x02, 0, 0, 0, 0, 0]);
/// What a pod without name servers and search domains is taken to have (`pkg/network/dns/resolveconf.go`).
const USUAL_SERVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const USUAL_DOMAIN: &str = "cluster.local";

/// What answers are made for.
pub(super) struct Context<'a> {
    pub(super) card: &'a Card<'a>,
    pub(super) binding: &'a BindingPlan,
    pub(super) pod_interface: &'a str,
    pub(super) mac: MacAddress,
}

impl Context<'_> {
    /// What is answered, and the addresses by which others reach the guest.
    pub(super) fn answers(&self, warnings: &mut Vec<PlanError>) -> (Option<Answers>, Vec<IpAddr>) {
        let made = match self.binding {
            BindingPlan::Made(Wanted::Masquerade { networks, mtu, .. }) => self.masquerade(networks, *mtu),
            BindingPlan::Made(Wanted::PodBridge { .. }) => self.bridge(),
            BindingPlan::Made(Wanted::BridgePort { .. }) => self.of_ipam(warnings),
            BindingPlan::Interface { name } if !self.pod_interface.is_empty() => self.found(name),
            BindingPlan::Passt(_) => (None, self.pods_addresses()),
            _ => (None, Vec::new()),
        };
        let has_lease = made.0.as_ref().is_some_and(|answers| answers.lease4.is_some());
        if self.card.interface.dhcp_options.is_some() && !has_lease {
            let message =
                "kubevmm answers no DHCP on this network, and whoever does knows nothing of these options";
            warnings.push(PlanError::at(self.card.field("dhcpOptions"), message));
        }
        made
    }

    /// What belongs to a tap that KubeVirt's handler made.
    fn found(&self, tap: &str) -> (Option<Answers>, Vec<IpAddr>) {
        let survey = self.card.given.survey;
        match &self.card.interface.binding {
            InterfaceBinding::Masquerade(_) => {
                let bridge = survey.interface(&Names::in_pod(self.pod_interface).bridge);
                let has = |behind: &Behind| {
                    let mut own = bridge.into_iter().flat_map(|bridge| survey.addresses_of(bridge));
                    own.any(|address| address.net.address() == behind.gateway.address())
                };
                let networks: Vec<_> =
                    self.card.networks_behind(|usual| usual).into_iter().filter(has).collect();
                let mtu = survey.interface(tap).map_or(super::bindings::USUAL_MTU, |tap| tap.mtu);
                self.masquerade(&networks, mtu)
            }
            InterfaceBinding::Bridge(_) if !self.card.is_macvtap(tap) => self.bridge(),
            _ => (None, self.pods_addresses()),
        }
    }

    fn masquerade(&self, networks: &[Behind], mtu: u32) -> (Option<Answers>, Vec<IpAddr>) {
        let mtu = u16::try_from(mtu).ok();
        let mut answers = Answers {
            server_mac: BRIDGE_MAC,
            lease4: None,
            lease6: None,
            advert: None,
            neighbours: Vec::new(),
        };
        for Behind { gateway, guest } in networks {
            match (gateway.address(), guest.address()) {
                (IpAddr::V4(server), IpAddr::V4(address)) => {
                    let lease = self.lease4(server, mtu);
                    let (client, router) = (None, Some(server));
                    answers.lease4 =
                        Some(Lease4 { client, address, prefix: guest.prefix(), router, ..lease });
                }
                (_, IpAddr::V6(address)) => {
                    let (dns, search) = (self.servers6(), self.search());
                    answers.lease6 =
                        Some(Lease6 { client: None, address, dns, search, seconds: LEASE_SECONDS });
                    answers.advert = self.advert(gateway, mtu);
                }
                _ => {}
            }
        }
        (Some(answers), self.pods_addresses())
    }

    /// KubeVirt's bridge advertises nothing, so that its guests have no route out; here they have one.
    fn advert(&self, gateway: &IpNet, mtu: Option<u16>) -> Option<RouterAdvert> {
        let IpAddr::V6(prefix) = gateway.network().address() else { return None };
        let router = RouterAdvert::link_local(BRIDGE_MAC);
        Some(RouterAdvert { router, prefix, prefix_len: gateway.prefix(), mtu, dns: self.servers6() })
    }

    /// The pod's address, which becomes the guest's.
    fn bridge(&self) -> (Option<Answers>, Vec<IpAddr>) {
        let given = self.card.given;
        let cache = given.vif_cache.get(self.pod_interface);
        if cache.is_some_and(|cache| cache.has_no_address) {
            return (None, Vec::new());
        }
        let pod = given.survey.interface(self.pod_interface);
        let of_survey = || given.survey.global_address(pod?, true).map(|address| address.net);
        let Some(net) = cache.and_then(|cache| cache.address).or_else(of_survey) else {
            return (None, Vec::new());
        };
        let IpAddr::V4(address) = net.address() else { return (None, Vec::new()) };
        let routes = match cache {
            Some(cache) => cache.routes.clone(),
            None => pod.map(|pod| pod_routes(&given.survey.routes_of(pod))).unwrap_or_default(),
        };
        let (gateway, routes) = routes_of_pod(&routes, address);
        let of_pod = |pod: &Interface| u16::try_from(pod.mtu).ok();
        let mtu = cache.and_then(|cache| cache.mtu).or_else(|| pod.and_then(of_pod));
        let server = cache.and_then(|cache| cache.server).unwrap_or_else(|| self.card.server_address());
        let router = gateway.or_else(|| cache.and_then(|cache| cache.gateway));
        let lease = Lease4 { address, prefix: net.prefix(), router, routes, ..self.lease4(server, mtu) };
        (Some(of_lease(lease)), vec![address.into()])
    }

    /// The addresses that a NetworkAttachmentDefinition gives.
    fn of_ipam(&self, warnings: &mut Vec<PlanError>) -> (Option<Answers>, Vec<IpAddr>) {
        let card = self.card;
        let NetworkSource::Multus(multus) = &card.network.source else { return (None, Vec::new()) };
        let config = card.given.resolved.networks.get(&card.network.name);
        match config.map(|config| &config.ipam) {
            Some(Ipam::Static(given)) => {
                let addresses = given.addresses.iter().map(|(address, _)| *address).collect();
                let mtu = config.and_then(|config| config.mtu).and_then(|mtu| u16::try_from(mtu).ok());
                (self.static_lease(given, mtu).map(of_lease), addresses)
            }
            // Its server is on the network itself, where the guest finds it.
            Some(Ipam::Other(plugin)) if plugin != "dhcp" => {
                let message = format!(
                    "the guest gets no address: the IPAM plugin {plugin:?} of {:?} is the cluster's (kubevmm does \"static\")",
                    multus.network_name
                );
                warnings.push(PlanError::at(card.field("bridge"), message));
                (None, Vec::new())
            }
            _ => (None, Vec::new()),
        }
    }

    fn static_lease(&self, given: &StaticAddresses, mtu: Option<u16>) -> Option<Lease4> {
        let v4 = |(address, prefix): &(IpAddr, u8)| match address {
            IpAddr::V4(address) => Some((*address, *prefix)),
            IpAddr::V6(_) => None,
        };
        let only_v4 = |address: IpAddr| match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        let (address, prefix) = given.addresses.iter().find_map(v4)?;
        let mut router = given.gateway.and_then(only_v4);
        let mut routes = Vec::new();
        for (destination, via) in &given.routes {
            let (Some((destination, prefix)), via) = (v4(destination), via.and_then(only_v4)) else {
                continue;
            };
            let via = via.or(router);
            routes.push(Route4 { destination, prefix, via });
            router = router.or(via.filter(|_| prefix == 0));
        }
        // A lone default route is told by the gateway.
        if routes.iter().all(|route| route.prefix == 0) {
            routes.clear();
        }
        let base = self.lease4(self.card.server_address(), mtu);
        let dns: Vec<_> = given.name_servers.iter().copied().filter_map(only_v4).collect();
        Some(Lease4 { address, prefix, router, routes, dns, search: given.search.clone(), ..base })
    }

    /// What is in every lease; the address is the caller's to set.
    fn lease4(&self, server: Ipv4Addr, mtu: Option<u16>) -> Lease4 {
        let vmi = self.card.given.vmi;
        Lease4 {
            client: Some(self.mac),
            address: Ipv4Addr::UNSPECIFIED,
            prefix: 32,
            server,
            router: None,
            routes: Vec::new(),
            dns: self.servers4(),
            search: self.search(),
            hostname: Some(vmi.hostname().to_owned()).filter(|name| !name.is_empty()),
            mtu,
            extras: self.extras(),
            seconds: LEASE_SECONDS,
        }
    }

    fn extras(&self) -> Extras4 {
        let Some(options) = &self.card.interface.dhcp_options else { return Extras4::default() };
        let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let private = options.private_options.iter().filter_map(|option| {
            let code = u8::try_from(option.option).ok()?;
            Some(PrivateOption { code, value: option.value.clone() })
        });
        Extras4 {
            boot_file: text(&options.boot_file_name),
            tftp_server: text(&options.tftp_server_name),
            ntp: options.ntp_servers.iter().filter_map(|server| server.parse().ok()).collect(),
            private: private.collect(),
        }
    }

    /// The host's name servers that a guest can reach.
    fn servers(&self) -> impl Iterator<Item = IpAddr> {
        let servers = &self.card.given.survey.resolver.nameservers;
        servers.iter().copied().filter(|server| !server.is_loopback())
    }

    fn servers4(&self) -> Vec<Ipv4Addr> {
        let v4 = self.servers().filter_map(|server| match server {
            IpAddr::V4(server) => Some(server),
            IpAddr::V6(_) => None,
        });
        let v4: Vec<_> = v4.collect();
        let has_none = v4.is_empty() && self.servers().next().is_none();
        if has_none { vec![USUAL_SERVER] } else { v4 }
    }

    fn servers6(&self) -> Vec<std::net::Ipv6Addr> {
        let v6 = self.servers().filter_map(|server| match server {
            IpAddr::V6(server) if !server.is_unicast_link_local() => Some(server),
            _ => None,
        });
        v6.collect()
    }

    /// The host's search domains, and that of the machine's subdomain before them, if they are a cluster's
    /// (`pkg/network/dns/resolveconf.go`, `DomainNameWithSubdomain`).
    fn search(&self) -> Vec<String> {
        let given = self.card.given;
        let mut search = given.survey.resolver.search.clone();
        if search.is_empty() && given.survey.in_pod {
            search.push(USUAL_DOMAIN.to_owned());
        }
        let subdomain = given.vmi.spec.subdomain.as_deref().unwrap_or_default();
        let services = search.iter().filter(|domain| domain.contains(".svc."));
        if let Some(longest) = services.max_by_key(|domain| domain.len()).filter(|_| !subdomain.is_empty())
            && !longest.starts_with(&format!("{subdomain}."))
        {
            search.insert(0, format!("{subdomain}.{longest}"));
        }
        search
    }

    /// The addresses of the interface behind the card.
    fn pods_addresses(&self) -> Vec<IpAddr> {
        let survey = self.card.given.survey;
        let Some(pod) = survey.interface(self.pod_interface) else { return Vec::new() };
        let of = |v4| survey.global_address(pod, v4).map(|address| address.net.address());
        [of(true), of(false)].into_iter().flatten().collect()
    }
}

fn of_lease(lease: Lease4) -> Answers {
    Answers {
        server_mac: BRIDGE_MAC,
        lease4: Some(lease),
        lease6: None,
        advert: None,
        neighbours: Vec::new(),
    }
}

fn pod_routes(routes: &[&Route]) -> Vec<PodRoute> {
    let v4 = |address: IpAddr| match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    };
    let of_v4 = routes.iter().filter_map(|route| {
        let destination = v4(route.destination.address())?;
        Some(PodRoute {
            destination: (!route.destination.is_everywhere())
                .then_some((destination, route.destination.prefix())),
            gateway: route.gateway.and_then(v4),
            source: route.source.and_then(v4),
        })
    });
    of_v4.collect()
}

impl Card<'_> {
    /// The address that DHCP is answered from on a bridge: 169.254.75.1N, where N is the card's number.
    pub(super) fn server_address(&self) -> Ipv4Addr {
        format!("169.254.75.1{}", self.index).parse().unwrap_or(Ipv4Addr::new(169, 254, 75, 10))
    }
}
