//! `/etc/resolv.conf`: the name servers and search domains that a guest takes over from its pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What KubeVirt tells guests of pods without a name server (`pkg/network/dns/resolveconf.go`).
const DEFAULT_SERVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
/// The same for pods without search domains.
const DEFAULT_DOMAIN: &str = "cluster.local";
/// Longest name of a domain (RFC 1035 §2.3.4).
const LONGEST_NAME: usize = 253;
/// No more of either kind are taken: each has to fit into an option.
const MOST: usize = 16;

/// How names are looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// Name servers with addresses of IPv4, in order.
    pub servers4: Vec<Ipv4Addr>,
    /// Those with addresses of IPv6, in order.
    pub servers6: Vec<Ipv6Addr>,
    /// Search domains in lower case, in order.
    pub search: Vec<String>,
}

impl ResolvConf {
    /// Reads the text of the file. Where it names no server, KubeVirt's 8.8.8.8 is the one, and where it names no
    /// search domain, `cluster.local`. Options, comments, and what is not understood are passed over, and so are
    /// servers on loopback, where a guest would find itself; of several lines of search domains the last one counts
    /// (resolv.conf(5)).
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => found.add_server(words.next().unwrap_or_default()),
                Some("search" | "domain") => {
                    found.search = words.take(MOST).filter_map(domain).collect();
                }
                _ => {}
            }
        }
        if found.servers4.is_empty() && found.servers6.is_empty() {
            found.servers4.push(DEFAULT_SERVER);
        }
        if found.search.is_empty() {
            found.search.push(DEFAULT_DOMAIN.to_owned());
        }
        found
    }

    fn add_server(&mut self, word: &str) {
        // A link-local server has its interface behind the address, and does not parse.
        match word.parse() {
            Ok(server) if IpAddr::is_loopback(&server) => {}
            Ok(IpAddr::V4(server)) if self.servers4.len() < MOST => self.servers4.push(server),
            Ok(IpAddr::V6(server)) if self.servers6.len() < MOST => self.servers6.push(server),
            _ => {}
        }
    }

    /// Puts `<subdomain>.<namespace>.svc.<cluster>` first, so that the VMs of a headless service find each other by
    /// their names; nothing if there is no such domain to extend, or it is there already
    /// (`pkg/network/dns/resolveconf.go`, `DomainNameWithSubdomain`).
    pub fn add_subdomain(&mut self, subdomain: &str) {
        let services = self.search.iter().filter(|domain| domain.contains(".svc."));
        let Some(longest) = longest(services) else { return };
        let prefix = format!("{subdomain}.").to_lowercase();
        if subdomain.is_empty() || longest.starts_with(&prefix) {
            return;
        }
        if let Some(extended) = domain(&format!("{prefix}{longest}")) {
            self.search.insert(0, extended);
        }
    }
}

/// The longest of the names, which KubeVirt takes for the domain that a client is in; of equals the first.
pub(crate) fn longest<'a>(names: impl Iterator<Item = &'a String>) -> Option<&'a String> {
    names.fold(None, |best: Option<&String>, name| match best {
        Some(best) if best.len() >= name.len() => Some(best),
        _ => Some(name),
    })
}

/// A name fit for a search list, in lower case and without its final dot.
fn domain(word: &str) -> Option<String> {
    let name = word.strip_suffix('.').unwrap_or(word).to_lowercase();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(plain);
    (name.len() <= LONGEST_NAME && name.split('.').all(label)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "search default.svc.cluster.local svc.cluster.local cluster.local Example.COM.\n\
        nameserver 10.96.0.10\nnameserver fd00::a\n# nameserver 1.1.1.1\noptions ndots:5\n";

    #[test]
    fn a_pods_file_is_read() {
        let found = ResolvConf::parse(POD);
        assert_eq!(found.servers4, [Ipv4Addr::new(10, 96, 0, 10)]);
        assert_eq!(found.servers6, ["fd00::a".parse::<Ipv6Addr>().unwrap()]);
        let search = ["default.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.com"];
        assert_eq!(found.search, search);
    }

    #[test]
    fn kubevirts_defaults_stand_in() {
        let found = ResolvConf::parse("nameserver nonsense\nsearch .. a..b\nnameserver fe80::1%eth0");
        assert_eq!(found.servers4, [DEFAULT_SERVER]);
        assert_eq!(found.servers6, [] as [Ipv6Addr; 0]);
        assert_eq!(found.search, ["cluster.local"]);
        assert_eq!(ResolvConf::parse("nameserver fd00::1").servers4, [] as [Ipv4Addr; 0]);
        let local = ResolvConf::parse("nameserver 127.0.0.53\nnameserver ::1");
        assert_eq!((local.servers4.as_slice(), local.servers6.len()), ([DEFAULT_SERVER].as_slice(), 0));
    }

    #[test]
    fn a_subdomain_extends_the_longest_service_domain() {
        let mut found = ResolvConf::parse(POD);
        found.add_subdomain("");
        assert_eq!(found.search.len(), 4);
        found.add_subdomain("Group");
        assert_eq!(found.search[0], "group.default.svc.cluster.local");
        found.add_subdomain("group");
        assert_eq!(found.search.len(), 5);
        let mut elsewhere = ResolvConf::parse("search example.com");
        elsewhere.add_subdomain("group");
        assert_eq!(elsewhere.search, ["example.com"]);
    }

    #[test]
    fn endless_files_are_bounded() {
        let text = format!("{}search {}", "nameserver 1.2.3.4\n".repeat(1000), "a.b ".repeat(1000));
        let found = ResolvConf::parse(&text);
        assert_eq!((found.servers4.len(), found.search.len()), (MOST, MOST));
    }
}
