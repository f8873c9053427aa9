//! Addresses of cards and networks, with the text forms that manifests and state files hold.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct MacAddress(pub [u8; 6]);

impl MacAddress {
    /// From what a kernel or a frame holds; `None` if it is not six bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// The text is not a MAC address of one station.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a MAC address of a network card, such as 02:00:00:12:34:56")]
pub struct BadMacAddress(String);

impl FromStr for MacAddress {
    type Err = BadMacAddress;

    /// Takes the two forms that the API takes, with colons and with hyphens; groups of stations are refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2);
            let value = part.and_then(|part| u8::from_str_radix(part, 16).ok());
            *byte = value.ok_or_else(|| BadMacAddress(text.to_owned()))?;
        }
        let multicast = bytes.first().is_some_and(|first| first & 1 != 0);
        if parts.next().is_some() || multicast {
            return Err(BadMacAddress(text.to_owned()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = BadMacAddress;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// An address with the length of its network's prefix, as in 10.0.2.1/24. Bits behind the prefix may be set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct IpNet {
    address: IpAddr,
    prefix: u8,
}

impl IpNet {
    /// `None` if no address of its family has a prefix of that many bits.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Option<Self> {
        let address = address.into();
        (prefix <= bits(address)).then_some(Self { address, prefix })
    }

    /// One address alone: a prefix of all its bits.
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self { address, prefix: bits(address) }
    }

    /// Where packets go that no other route takes: 0.0.0.0/0.
    pub const EVERYWHERE_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// The same for IPv6: ::/0.
    pub const EVERYWHERE_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// The address, all its bits.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Bits of the prefix: 0 to 32, or to 128.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is of IPv4.
    pub fn is_v4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether it is the destination of a default route.
    pub fn is_everywhere(&self) -> bool {
        self.prefix == 0
    }

    /// The same network with the bits behind the prefix cleared.
    #[must_use]
    pub fn network(&self) -> Self {
        let address = match self.address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & self.mask_v4())),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & self.mask_v6())),
        };
        Self { address, prefix: self.prefix }
    }

    /// Whether `address` lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_v4() == address.is_ipv4() && Self { address, prefix: self.prefix }.network() == self.network()
    }

    /// The address `count` behind the first one of the network (the network's own), with the same prefix;
    /// `None` if the network has not that many.
    pub fn nth(&self, count: u32) -> Option<Self> {
        let address = match self.network().address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().checked_add(count)?)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().checked_add(u128::from(count))?)),
        };
        self.contains(address).then_some(Self { address, prefix: self.prefix })
    }

    fn mask_v4(&self) -> u32 {
        u32::MAX.checked_shl(32_u32.saturating_sub(u32::from(self.prefix))).unwrap_or(0)
    }

    fn mask_v6(&self) -> u128 {
        u128::MAX.checked_shl(128_u32.saturating_sub(u32::from(self.prefix))).unwrap_or(0)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not an address with a prefix.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a network, such as 10.0.2.0/24 or fd10:0:2::/120")]
pub struct BadIpNet(String);

impl FromStr for IpNet {
    type Err = BadIpNet;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadIpNet(text.to_owned());
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        if prefix.is_empty() || !prefix.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(bad());
        }
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        Self::new(address, prefix.parse().map_err(|_| bad())?).ok_or_else(bad)
    }
}

impl From<IpNet> for String {
    fn from(net: IpNet) -> Self {
        net.to_string()
    }
}

impl TryFrom<String> for IpNet {
    type Error = BadIpNet;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mac_addresses_are_checked() {
        let mac: MacAddress = "ce:44:ac:10:00:06".parse().unwrap();
        assert_eq!(mac.to_string(), "ce:44:ac:10:00:06");
        assert_eq!("CE-44-AC-10-00-06".parse::<MacAddress>().unwrap(), mac);
        for bad in
            ["", "ce:44:ac:10:00", "ce:44:ac:10:00:06:07", "01:00:5e:00:00:01", "ce:44:ac:10:00:6", "xx"]
        {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn networks_know_their_members() {
        let net: IpNet = "10.0.2.77/24".parse().unwrap();
        assert_eq!(net.network().to_string(), "10.0.2.0/24");
        assert_eq!(net.nth(1).unwrap().to_string(), "10.0.2.1/24");
        assert_eq!(net.nth(255).unwrap().address().to_string(), "10.0.2.255");
        assert_eq!(net.nth(256), None);
        assert!(net.contains("10.0.2.0".parse().unwrap()));
        assert!(!net.contains("10.0.3.0".parse().unwrap()) && !net.contains("::1".parse().unwrap()));
        let six: IpNet = "fd10:0:2::/120".parse().unwrap();
        assert_eq!(six.nth(2).unwrap().to_string(), "fd10:0:2::2/120");
        assert!(IpNet::EVERYWHERE_V4.contains("1.2.3.4".parse().unwrap()));
        assert!(IpNet::EVERYWHERE_V6.contains("fe80::1".parse().unwrap()));
        let last: IpNet = "255.255.255.255/32".parse().unwrap();
        assert_eq!((last.network(), last.nth(1)), (last, None));
    }

    #[test]
    fn texts_that_are_no_networks_are_refused() {
        for bad in [
            "",
            "10.0.2.0",
            "10.0.2.0/33",
            "::/129",
            "10.0.2/24",
            "1.2.3.4/+8",
            "1.2.3.4/",
            "a/8",
            "1.2.3.4/8/8",
        ] {
            assert!(bad.parse::<IpNet>().is_err(), "{bad}");
        }
        assert_eq!(IpNet::new(Ipv4Addr::LOCALHOST, 33), None);
    }
}
