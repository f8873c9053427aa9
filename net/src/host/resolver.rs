//! `resolv.conf`: whom the host asks for names, and what guests are told to ask.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a resolv.conf(5) says that guests are told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resolver {
    /// Servers, in order; those of link-local IPv6 without their zone, which means nothing elsewhere.
    pub nameservers: Vec<IpAddr>,
    /// Domains that short names are looked up in, in order.
    pub search: Vec<String>,
}

/// Most servers and domains that are kept; a C library looks at 3 and (since 2.26) any number.
const MOST: usize = 64;

impl Resolver {
    /// Reads the text of a resolv.conf. What is not understood is passed over, as C libraries do.
    pub fn parse(text: &str) -> Self {
        let mut resolver = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let word = words.next().and_then(|word| word.split('%').next());
                    resolver.nameservers.extend(word.and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last of these lines wins; `domain` is a search list of one.
                Some("search") => resolver.search = words.take(MOST).map(domain).collect(),
                Some("domain") => resolver.search = words.take(1).map(domain).collect(),
                _ => {}
            }
        }
        resolver.nameservers.truncate(MOST);
        resolver
    }
}

fn domain(word: &str) -> String {
    word.trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_resolv_conf_is_understood() {
        let resolver = Resolver::parse(
            "# of the kubelet\nsearch default.svc.cluster.local svc.cluster.local. cluster.local\n\
             nameserver 10.96.0.10\nnameserver\tfe80::1%eth0\nnameserver nonsense\noptions ndots:5\n",
        );
        assert_eq!(
            resolver.nameservers,
            ["10.96.0.10", "fe80::1"].map(|text| text.parse::<IpAddr>().unwrap())
        );
        assert_eq!(resolver.search, ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
    }

    #[test]
    fn the_last_search_line_wins_and_lists_are_bounded() {
        assert_eq!(Resolver::parse("search a b\ndomain c d").search, ["c"]);
        assert_eq!(Resolver::parse(""), Resolver::default());
        let many = "nameserver 1.1.1.1\n".repeat(1000) + "search " + &"x ".repeat(1000);
        let resolver = Resolver::parse(&many);
        assert_eq!((resolver.nameservers.len(), resolver.search.len()), (MOST, MOST));
    }
}
