//! Networks that nobody here has.

use std::net::IpAddr;

use super::Survey;
use crate::IpNet;

/// How many networks are looked at.
const ATTEMPTS: u32 = 200;

/// `preferred`, or the next network of the same size behind it that overlaps with none that the host has addresses or
/// routes in; `preferred` itself if there is none.
pub fn free_network(survey: &Survey, preferred: IpNet) -> IpNet {
    (0..ATTEMPTS)
        .filter_map(|count| step(preferred.network(), count))
        .find(|network| !is_taken(survey, *network))
        .unwrap_or(preferred)
}

/// The network `count` places behind `network`.
fn step(network: IpNet, count: u32) -> Option<IpNet> {
    match network.address() {
        IpAddr::V4(v4) => {
            let size = 1_u32.checked_shl(32_u32.checked_sub(network.prefix().into())?)?;
            let address = v4.to_bits().checked_add(size.checked_mul(count)?)?;
            IpNet::new(std::net::Ipv4Addr::from_bits(address), network.prefix())
        }
        IpAddr::V6(v6) => {
            let size = 1_u128.checked_shl(128_u32.checked_sub(network.prefix().into())?)?;
            let address = v6.to_bits().checked_add(size.checked_mul(count.into())?)?;
            IpNet::new(std::net::Ipv6Addr::from_bits(address), network.prefix())
        }
    }
}

fn is_taken(survey: &Survey, network: IpNet) -> bool {
    let overlaps = |net: IpNet| network.contains(net.address()) || net.contains(network.address());
    let routes = survey.routes.iter().map(|route| route.destination).filter(|net| !net.is_everywhere());
    survey.addresses.iter().map(|address| address.net).chain(routes).any(overlaps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Address, Route, Scope};

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn networks_in_use_are_stepped_over() {
        let mut survey = Survey::default();
        let wanted = net("10.0.2.0/24");
        assert_eq!(free_network(&survey, wanted), wanted);
        survey.addresses.push(Address {
            interface: 1,
            net: net("10.0.2.15/24"),
            peer: None,
            broadcast: None,
            scope: Scope::Global,
            permanent: true,
        });
        assert_eq!(free_network(&survey, wanted), net("10.0.3.0/24"));
        let route = |destination| Route {
            destination,
            gateway: None,
            interface: 1,
            source: None,
            metric: 0,
            scope: Scope::Global,
            protocol: 3,
            on_link: false,
        };
        survey.routes.push(route(IpNet::EVERYWHERE_V4));
        assert_eq!(free_network(&survey, wanted), net("10.0.3.0/24"));
        survey.routes.push(route(net("10.0.3.128/25")));
        assert_eq!(free_network(&survey, wanted), net("10.0.4.0/24"));
        survey.routes.push(route(net("10.0.0.0/8")));
        assert_eq!(free_network(&survey, wanted), wanted, "nothing is free near it");
        assert_eq!(free_network(&survey, net("fd10:0:2::/120")), net("fd10:0:2::/120"));
        assert_eq!(free_network(&survey, IpNet::EVERYWHERE_V4), IpNet::EVERYWHERE_V4);
    }
}
