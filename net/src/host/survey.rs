//! What the network namespace looks like before anything is made in it.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Resolver;
use crate::netlink::{Address, Interface, Netlink, NetlinkError, Route, Scope};

/// A picture of a network namespace, and of what this process may do in it. All that a plan knows of the host's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// All interfaces, by index.
    pub interfaces: Vec<Interface>,
    /// All addresses.
    pub addresses: Vec<Address>,
    /// The routes of the main table, of both versions of IP.
    pub routes: Vec<Route>,
    /// Of `/etc/resolv.conf`.
    pub resolver: Resolver,
    /// The host's or the pod's name.
    pub hostname: String,
    /// What may be done.
    pub rights: Rights,
    /// Where the program `passt` is, if it is in `PATH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passt: Option<PathBuf>,
    /// Whether the namespace is a Kubernetes pod's.
    pub in_pod: bool,
}

/// What this process may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rights {
    /// Make and change interfaces, addresses, routes and rules (`CAP_NET_ADMIN` over this network namespace).
    pub configure: bool,
    /// Open `/dev/net/tun`.
    pub tun: bool,
}

impl Survey {
    /// Looks at the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn gather() -> Result<Self, NetlinkError> {
        let mut netlink = Netlink::open()?;
        Ok(Self {
            interfaces: netlink.interfaces()?,
            addresses: netlink.addresses()?,
            routes: netlink.routes()?,
            resolver: Resolver::parse(&text("/etc/resolv.conf")),
            hostname: text("/proc/sys/kernel/hostname").trim_end().to_owned(),
            rights: Rights { configure: netlink.may_configure(), tun: may_open("/dev/net/tun") },
            passt: std::env::var_os("PATH").and_then(|path| find_program(&path, "passt")),
            // Every container of a pod is told where the cluster's API is.
            in_pod: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
        })
    }

    /// The interface of that name.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.name == name)
    }

    /// The addresses of an interface.
    pub fn addresses_of<'a>(&'a self, interface: &Interface) -> impl Iterator<Item = &'a Address> + use<'a> {
        let index = interface.index;
        self.addresses.iter().filter(move |address| address.interface == index)
    }

    /// The routes out of an interface, the most wanted of a destination first.
    pub fn routes_of(&self, interface: &Interface) -> Vec<&Route> {
        let mut routes = self.routes.iter().filter(|r| r.interface == interface.index).collect::<Vec<_>>();
        routes.sort_by_key(|route| route.metric);
        routes
    }

    /// The first address of an interface that is valid everywhere, of IPv4 or of IPv6.
    pub fn global_address(&self, interface: &Interface, v4: bool) -> Option<&Address> {
        self.addresses_of(interface).find(move |a| a.net.is_v4() == v4 && a.scope == Scope::Global)
    }

    /// The interface that stands for the pod network: `eth0` in a pod; elsewhere the one that the most wanted
    /// default route of IPv4 leaves by, or else that of IPv6.
    pub fn primary(&self) -> Option<&Interface> {
        let by_route = || self.default_route(true).or_else(|| self.default_route(false)).map(|r| r.interface);
        let pods = self.in_pod.then(|| self.interface(super::POD_PRIMARY)).flatten();
        pods.or_else(|| by_route().and_then(|index| self.by_index(index)))
    }

    /// The interface of that index.
    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.interfaces.iter().find(|interface| interface.index == index)
    }

    fn default_route(&self, v4: bool) -> Option<&Route> {
        let of_family = |r: &&Route| r.destination.is_everywhere() && r.destination.is_v4() == v4;
        self.routes.iter().filter(of_family).min_by_key(|route| route.metric)
    }
}

/// The text of a file; none if it cannot be read, as where there is no such file.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn may_open(path: &str) -> bool {
    OpenOptions::new().read(true).write(true).open(path).is_ok()
}

/// The first file called `name` in the folders of `path` that can be run.
fn find_program(path: &OsStr, name: &str) -> Option<PathBuf> {
    let runs =
        |file: &Path| fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    // An empty entry would be the current folder, from which nothing should be run by accident.
    let folders = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    folders.map(|folder| folder.join(name)).find(|file| runs(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IpNet;
    use crate::netlink::Kind;
    use crate::testing::{in_namespace, run};

    #[test]
    fn a_pod_like_namespace_is_surveyed() {
        in_namespace(|| {
            for command in [
                "link add eth0 mtu 1450 type veth peer name other",
                "addr add 10.1.2.3/24 dev eth0",
                "addr add fd00::3/64 dev eth0 nodad",
                "link set eth0 up",
                "link set other up",
                "route add default via 10.1.2.1 dev eth0",
                "route add 10.9.0.0/16 via 10.1.2.9 metric 7",
            ] {
                run("ip", command);
            }
            let survey = Survey::gather().unwrap();
            let eth0 = survey.primary().unwrap();
            assert_eq!((eth0.name.as_str(), &eth0.kind, eth0.mtu), ("eth0", &Kind::Veth, 1450));
            let v4 = survey.global_address(eth0, true).unwrap();
            let v6 = survey.global_address(eth0, false).unwrap();
            assert_eq!((v4.net.to_string(), v6.net.to_string()), ("10.1.2.3/24".into(), "fd00::3/64".into()));
            let routes = survey.routes_of(eth0).into_iter().filter(|r| r.destination.is_v4());
            let routes = routes.map(|r| (r.destination, r.gateway)).collect::<Vec<_>>();
            assert!(routes.contains(&(IpNet::EVERYWHERE_V4, Some([10, 1, 2, 1].into()))), "{routes:?}");
            assert_eq!(routes.len(), 3, "{routes:?}");
            assert!(survey.rights.configure && survey.interface("lo").is_some());
            assert!(survey.by_index(eth0.index) == Some(eth0) && survey.by_index(9999).is_none());
            let again: Survey = serde_json::from_str(&serde_json::to_string(&survey).unwrap()).unwrap();
            assert_eq!(again, survey);
        });
    }

    #[test]
    fn programs_are_looked_for_where_they_should_be() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passt");
        fs::write(&file, "").unwrap();
        let path = std::env::join_paths(["".as_ref(), "relative".as_ref(), folder.path()]).unwrap();
        assert_eq!(find_program(&path, "passt"), None, "it cannot be run");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(find_program(&path, "passt"), Some(file));
        assert_eq!(find_program(&path, "pasta"), None);
    }
}
