//! Configurations of CNI plugins, as NetworkAttachmentDefinitions carry them: what of them says where a guest's card
//! belongs. Facts are those of the plugins' own documents (containernetworking/plugins, macvtap-cni).

use std::net::IpAddr;

use serde::Deserialize;

use crate::api::NetworkAttachmentDefinition;
use crate::formats;

/// The resource names of macvtap-cni's device plugin: this and the interface that macvtaps are made on.
const MACVTAP_RESOURCE: &str = "macvtap.network.kubevirt.io/";
/// The annotation that names the device plugin's resource that a network needs.
const RESOURCE: &str = "k8s.v1.cni.cncf.io/resourceName";
/// The bridge that the bridge plugin uses when none is named.
const USUAL_BRIDGE: &str = "cni0";

/// What a network's plugin was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniConfig {
    /// What the plugin attaches to.
    pub plugin: CniPlugin,
    /// The longest payload of a frame, where it is set.
    pub mtu: Option<u32>,
    /// Where addresses come from.
    pub ipam: Ipam,
}

/// What a plugin attaches to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CniPlugin {
    /// A bridge of the host.
    Bridge {
        /// Its name.
        bridge: String,
        /// The VLAN that the port is in, 1 to 4094.
        vlan: Option<u16>,
    },
    /// An interface of the host that is shared by MAC address.
    Macvlan {
        /// Its name; the interface of the default route where none is named.
        master: Option<String>,
    },
    /// The same by macvtap-cni, which says in the device plugin's resource what the interface is.
    Macvtap {
        /// Its name.
        master: Option<String>,
    },
    /// An interface of the host that is handed over.
    HostDevice {
        /// Its name.
        device: String,
    },
    /// A virtual function of a network card.
    Sriov,
    /// Another plugin.
    Other(String),
}

/// Where addresses come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipam {
    /// Nowhere: the network is one of frames only.
    None,
    /// These are given (the plugin `static`).
    Static(Box<StaticAddresses>),
    /// Another plugin chooses them.
    Other(String),
}

/// Addresses that a configuration gives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StaticAddresses {
    /// The addresses with their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// The first gateway.
    pub gateway: Option<IpAddr>,
    /// Routes: where to, and by which gateway.
    pub routes: Vec<((IpAddr, u8), Option<IpAddr>)>,
    /// Name servers.
    pub name_servers: Vec<IpAddr>,
    /// Domains that names are looked up in.
    pub search: Vec<String>,
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum CniError {
    /// It is no JSON, or a value has the wrong type.
    #[error("is not a CNI configuration: {0}")]
    Json(#[from] serde_json::Error),
    /// It names no plugin.
    #[error("names no plugin: give \"type\", or \"plugins\" in a list")]
    NoPlugin,
    /// A value makes no sense.
    #[error("{key} {value:?} {fault}")]
    Value {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// Why not.
        fault: &'static str,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    plugins: Vec<Raw>,
    bridge: Option<String>,
    vlan: Option<u16>,
    master: Option<String>,
    device: Option<String>,
    mtu: Option<u32>,
    ipam: Option<RawIpam>,
    #[serde(default)]
    dns: RawDns,
}

#[derive(Deserialize)]
struct RawIpam {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    addresses: Vec<RawAddress>,
    #[serde(default)]
    routes: Vec<RawRoute>,
    #[serde(default)]
    dns: RawDns,
}

#[derive(Deserialize)]
struct RawAddress {
    address: String,
    gateway: Option<String>,
}

#[derive(Deserialize)]
struct RawRoute {
    dst: String,
    gw: Option<String>,
}

#[derive(Deserialize, Default)]
struct RawDns {
    #[serde(default)]
    nameservers: Vec<String>,
    #[serde(default)]
    search: Vec<String>,
}

impl CniConfig {
    /// Reads a configuration, or the first plugin of a list of them. `resource` is the device plugin's resource that goes
    /// with it.
    ///
    /// # Errors
    /// It is no JSON, names no plugin, or has values that make no sense.
    pub fn parse(text: &str, resource: Option<&str>) -> Result<Self, CniError> {
        let mut raw: Raw = serde_json::from_str(text)?;
        if raw.r#type.is_empty() {
            if raw.plugins.is_empty() {
                return Err(CniError::NoPlugin);
            }
            raw = raw.plugins.swap_remove(0);
        }
        if raw.r#type.is_empty() {
            return Err(CniError::NoPlugin);
        }
        let ipam = ipam(&raw)?;
        Ok(Self { mtu: raw.mtu.filter(|mtu| *mtu != 0), plugin: plugin(raw, resource)?, ipam })
    }
}

impl NetworkAttachmentDefinition {
    /// What the network's plugin is told; `None` where the cluster's nodes have the configuration as a file.
    ///
    /// # Errors
    /// As [`CniConfig::parse`].
    pub fn cni(&self) -> Result<Option<CniConfig>, CniError> {
        let resource = self.metadata.annotations.get(RESOURCE).map(String::as_str);
        let config = Some(self.spec.config.trim()).filter(|config| !config.is_empty());
        config.map(|config| CniConfig::parse(config, resource)).transpose()
    }
}

fn plugin(raw: Raw, resource: Option<&str>) -> Result<CniPlugin, CniError> {
    let interface = |key: &'static str, name: Option<String>| match name.filter(|name| !name.is_empty()) {
        Some(name) => match formats::interface_name(&name) {
            Some(fault) => Err(CniError::Value { key, value: name, fault }),
            None => Ok(Some(name)),
        },
        None => Ok(None),
    };
    Ok(match raw.r#type.as_str() {
        // The second is the name under which OpenShift has it.
        "bridge" | "cnv-bridge" => {
            let bridge = interface("bridge", raw.bridge)?.unwrap_or_else(|| USUAL_BRIDGE.to_owned());
            let vlan = raw.vlan.filter(|vlan| *vlan != 0);
            if let Some(vlan) = vlan.filter(|vlan| *vlan > 4094) {
                let fault = "is not a VLAN: those are 1 to 4094";
                return Err(CniError::Value { key: "vlan", value: vlan.to_string(), fault });
            }
            CniPlugin::Bridge { bridge, vlan }
        }
        "macvlan" => CniPlugin::Macvlan { master: interface("master", raw.master)? },
        "macvtap" => {
            let of_resource = resource.and_then(|resource| resource.strip_prefix(MACVTAP_RESOURCE));
            let master = raw.master.or_else(|| of_resource.map(str::to_owned));
            CniPlugin::Macvtap { master: interface("master", master)? }
        }
        "host-device" => match interface("device", raw.device)? {
            Some(device) => CniPlugin::HostDevice { device },
            None => CniPlugin::Other(raw.r#type),
        },
        "sriov" => CniPlugin::Sriov,
        _ => CniPlugin::Other(raw.r#type),
    })
}

fn ipam(raw: &Raw) -> Result<Ipam, CniError> {
    let Some(ipam) = raw.ipam.as_ref().filter(|ipam| !ipam.r#type.is_empty()) else { return Ok(Ipam::None) };
    if ipam.r#type != "static" {
        return Ok(Ipam::Other(ipam.r#type.clone()));
    }
    let mut all = StaticAddresses::default();
    for given in &ipam.addresses {
        all.addresses.push(cidr("address", &given.address)?);
        let gateway = given.gateway.as_deref().filter(|gateway| !gateway.is_empty());
        all.gateway = all.gateway.or(gateway.map(|gateway| address("gateway", gateway)).transpose()?);
    }
    for route in &ipam.routes {
        let gateway = route.gw.as_deref().map(|gateway| address("gw", gateway)).transpose()?;
        all.routes.push((cidr("dst", &route.dst)?, gateway));
    }
    for dns in [&ipam.dns, &raw.dns] {
        for server in &dns.nameservers {
            all.name_servers.push(address("nameservers", server)?);
        }
        all.search.extend(dns.search.iter().cloned());
    }
    Ok(Ipam::Static(Box::new(all)))
}

fn cidr(key: &'static str, text: &str) -> Result<(IpAddr, u8), CniError> {
    let fault = "is not an address with a prefix such as 10.1.2.3/24";
    formats::cidr(text).ok_or_else(|| CniError::Value { key, value: crate::text::shorten(text, 60), fault })
}

fn address(key: &'static str, text: &str) -> Result<IpAddr, CniError> {
    let fault = "is not an IP address";
    text.parse().map_err(|_| CniError::Value { key, value: crate::text::shorten(text, 60), fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> CniConfig {
        CniConfig::parse(text, None).unwrap()
    }

    #[test]
    fn plugins_say_what_they_attach_to() {
        let bridge = |bridge: &str, vlan| CniPlugin::Bridge { bridge: bridge.into(), vlan };
        for (text, want) in [
            (r#"{"type": "bridge", "bridge": "br1", "ipam": {}}"#, bridge("br1", None)),
            (r#"{"type": "cnv-bridge", "bridge": "br1", "vlan": 7}"#, bridge("br1", Some(7))),
            (r#"{"cniVersion": "0.3.1", "type": "bridge"}"#, bridge("cni0", None)),
            (
                r#"{"plugins": [{"type": "bridge", "bridge": "br2"}, {"type": "tuning"}]}"#,
                bridge("br2", None),
            ),
            (
                r#"{"type": "macvlan", "master": "eth1", "mode": "bridge"}"#,
                CniPlugin::Macvlan { master: Some("eth1".into()) },
            ),
            (r#"{"type": "macvlan"}"#, CniPlugin::Macvlan { master: None }),
            (r#"{"type": "macvtap"}"#, CniPlugin::Macvtap { master: None }),
            (r#"{"type": "host-device", "device": "eth1"}"#, CniPlugin::HostDevice { device: "eth1".into() }),
            (r#"{"type": "sriov", "vlan": 9000}"#, CniPlugin::Sriov),
            (r#"{"type": "ovs"}"#, CniPlugin::Other("ovs".into())),
        ] {
            assert_eq!(parse(text).plugin, want, "{text}");
        }
        let with_resource = CniConfig::parse(
            r#"{"type": "macvtap", "mtu": 1400}"#,
            Some("macvtap.network.kubevirt.io/eth0.40"),
        );
        let with_resource = with_resource.unwrap();
        assert_eq!(with_resource.plugin, CniPlugin::Macvtap { master: Some("eth0.40".into()) });
        assert_eq!(with_resource.mtu, Some(1400));
    }

    #[test]
    fn addresses_are_read_where_they_are_given() {
        assert_eq!(parse(r#"{"type": "bridge", "ipam": {}}"#).ipam, Ipam::None);
        let other = parse(r#"{"type": "bridge", "ipam": {"type": "host-local", "subnet": "10.0.0.0/24"}}"#);
        assert_eq!(other.ipam, Ipam::Other("host-local".into()));
        let given = parse(
            r#"{"type": "bridge", "ipam": {"type": "static", "addresses": [
                {"address": "10.1.0.5/16", "gateway": "10.1.0.1"}, {"address": "fd00::5/64"}],
                "routes": [{"dst": "10.9.0.0/16", "gw": "10.1.0.9"}, {"dst": "0.0.0.0/0"}],
                "dns": {"nameservers": ["10.1.0.53"], "search": ["a.example"]}}}"#,
        );
        let Ipam::Static(given) = given.ipam else { panic!("{given:?}") };
        assert_eq!(given.addresses.len(), 2);
        assert_eq!(given.gateway, Some("10.1.0.1".parse().unwrap()));
        assert_eq!((given.routes.len(), given.name_servers.len(), given.search.len()), (2, 1, 1));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"plugins": []}"#,
            r#"{"plugins": [{}]}"#,
            r#"{"type": 1}"#,
            r#"{"type": "bridge", "bridge": "a/b"}"#,
            r#"{"type": "bridge", "bridge": "much-too-long-a-name"}"#,
            r#"{"type": "bridge", "vlan": 4095}"#,
            r#"{"type": "macvlan", "master": ".."}"#,
            r#"{"type": "bridge", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5"}]}}"#,
            r#"{"type": "bridge", "ipam": {"type": "static", "addresses": [{"address": "10.1.0.5/33"}]}}"#,
        ] {
            assert!(CniConfig::parse(bad, None).is_err(), "{bad}");
        }
    }
}
