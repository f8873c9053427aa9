//! What KubeVirt's handler remembers of a pod's interface whose address it gave to the guest:
//! `/var/run/kubevirt-private/vif-cache-<interface>.json` (`pkg/network/cache/dhcpconfig.go`).

use std::net::{IpAddr, Ipv4Addr};

use net::dhcp::PodRoute;
use net::{IpNet, MacAddress};
use serde::Deserialize;
use spec::base64;

/// A pod's interface as it was before its address went to the guest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VifCache {
    /// Its MAC address.
    pub mac: Option<MacAddress>,
    /// Its address of IPv4 with the subnet.
    pub address: Option<IpNet>,
    /// The address that DHCP is answered from.
    pub server: Option<Ipv4Addr>,
    /// Its default gateway.
    pub gateway: Option<Ipv4Addr>,
    /// Its routes.
    pub routes: Vec<PodRoute>,
    /// Its MTU.
    pub mtu: Option<u16>,
    /// The cluster gave it no address, so the guest gets none.
    pub has_no_address: bool,
}

/// As Go writes it: addresses as text, masks and hardware addresses as bytes in base64, nothing as null or "".
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Raw {
    #[serde(rename = "IP", default)]
    ip: RawNet,
    #[serde(rename = "MAC", default)]
    mac: Option<String>,
    #[serde(rename = "AdvertisingIPAddr", default)]
    server: String,
    #[serde(default)]
    routes: Option<Vec<RawRoute>>,
    #[serde(default)]
    mtu: u16,
    #[serde(rename = "IPAMDisabled", default)]
    ipam_disabled: bool,
    #[serde(default)]
    gateway: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
struct RawNet {
    #[serde(rename = "IP", default)]
    ip: Option<String>,
    #[serde(default)]
    mask: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RawRoute {
    #[serde(default)]
    dst: Option<RawNet>,
    #[serde(default)]
    gw: String,
    #[serde(default)]
    src: String,
}

impl VifCache {
    /// Reads the file's text.
    ///
    /// # Errors
    /// It is not what KubeVirt writes.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_str(text)?;
        let mac = raw.mac.and_then(|mac| base64::decode(&mac).ok());
        Ok(Self {
            mac: mac.and_then(|mac| MacAddress::from_slice(&mac)),
            address: raw.ip.net().and_then(|(address, prefix)| IpNet::new(address, prefix)),
            server: v4(&raw.server),
            gateway: v4(&raw.gateway),
            routes: raw.routes.unwrap_or_default().iter().filter_map(RawRoute::route).collect(),
            mtu: Some(raw.mtu).filter(|mtu| *mtu != 0),
            has_no_address: raw.ipam_disabled,
        })
    }
}

impl RawNet {
    /// Address and prefix of a network of IPv4.
    fn net(&self) -> Option<(Ipv4Addr, u8)> {
        let address = v4(self.ip.as_deref()?)?;
        let mask = base64::decode(self.mask.as_deref()?).ok()?;
        // Masks of IPv4 come in either length.
        let mask = mask.get(mask.len().checked_sub(4)?..)?;
        let mask = u32::from_be_bytes(mask.try_into().ok()?);
        let prefix = mask.leading_ones();
        (mask.count_ones() == prefix).then(|| u8::try_from(prefix).ok().map(|prefix| (address, prefix)))?
    }
}

impl RawRoute {
    fn route(&self) -> Option<PodRoute> {
        let destination = match &self.dst {
            Some(net) if net.ip.is_some() => Some(net.net()?),
            _ => None,
        };
        Some(PodRoute { destination, gateway: v4(&self.gw), source: v4(&self.src) })
    }
}

/// An address of IPv4, which Go may write as one of IPv6.
fn v4(text: &str) -> Option<Ipv4Addr> {
    match text.parse().ok()? {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(address) => address.to_ipv4_mapped(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As KubeVirt 1.8 writes it, in part.
    const FILE: &str = r#"{
      "Name": "eth0",
      "IP": {"IP": "10.244.0.7", "Mask": "////AA==", "Label": "", "Flags": 0, "Scope": 0, "Peer": null,
             "Broadcast": null, "PreferedLft": 0, "ValidLft": 0, "LinkIndex": 0},
      "IPv6": {"Label": "", "Flags": 0, "Scope": 0, "Peer": null},
      "MAC": "3q0AAL7v",
      "AdvertisingIPAddr": "169.254.75.10",
      "AdvertisingIPv6Addr": "",
      "Routes": [
        {"LinkIndex": 2, "Scope": 0, "Dst": null, "Src": "", "Gw": "10.244.0.1", "MultiPath": null},
        {"LinkIndex": 2, "Scope": 253, "Dst": {"IP": "10.244.0.0", "Mask": "////AA=="}, "Src": "10.244.0.7", "Gw": ""},
        {"LinkIndex": 2, "Dst": {"IP": "10.9.0.0", "Mask": "//8AAA=="}, "Src": "", "Gw": "::ffff:10.244.0.9"}],
      "Mtu": 1450,
      "IPAMDisabled": false,
      "Gateway": "10.244.0.1",
      "Subdomain": ""
    }"#;

    #[test]
    fn kubevirts_file_is_understood() {
        let cache = VifCache::parse(FILE).unwrap();
        let ip = |text: &str| text.parse::<Ipv4Addr>().unwrap();
        assert_eq!(cache.mac.unwrap().to_string(), "de:ad:00:00:be:ef");
        assert_eq!(cache.address.unwrap().to_string(), "10.244.0.7/24");
        assert_eq!((cache.server, cache.gateway), (Some(ip("169.254.75.10")), Some(ip("10.244.0.1"))));
        assert_eq!((cache.mtu, cache.has_no_address, cache.routes.len()), (Some(1450), false, 3));
        assert_eq!(cache.routes[0].destination, None);
        assert_eq!(cache.routes[1].source, Some(ip("10.244.0.7")));
        assert_eq!(cache.routes[2].destination, Some((ip("10.9.0.0"), 16)));
        assert_eq!(cache.routes[2].gateway, Some(ip("10.244.0.9")));
    }

    #[test]
    fn what_is_left_out_or_nonsense_is_nothing() {
        assert_eq!(VifCache::parse("{}").unwrap(), VifCache::default());
        let bare = VifCache::parse(
            r#"{"IP": {"IP": "10.0.0.1", "Mask": "AAD/"}, "MAC": null, "IPAMDisabled": true}"#,
        );
        assert_eq!(bare.unwrap(), VifCache { has_no_address: true, ..VifCache::default() });
        let odd =
            VifCache::parse(r#"{"IP": {"IP": "10.0.0.1", "Mask": "AP8A/w=="}, "Routes": null}"#).unwrap();
        assert_eq!(odd.address, None, "a mask with holes");
        assert!(VifCache::parse("7").is_err() && VifCache::parse(r#"{"Mtu": 70000}"#).is_err());
    }
}
