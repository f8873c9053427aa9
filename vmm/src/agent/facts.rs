//! What an agent says of its guest. Names and forms of fields are those of QEMU's `qga/qapi-schema.json`; text is tamed,
//! lists are cut.

use std::net::IpAddr;

use serde::{Deserialize, Deserializer};

use super::text::tamed;

/// Most entries that are kept of a list of the guest's.
pub(super) const MOST: usize = 256;

/// The agent itself (`guest-info`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct AgentInfo {
    /// Its version, as in `7.2.22`.
    #[serde(deserialize_with = "tamed")]
    pub version: String,
    /// What it can be asked for.
    #[serde(rename = "supported_commands", deserialize_with = "few")]
    pub commands: Vec<AgentCommandInfo>,
}

/// Something that an agent can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct AgentCommandInfo {
    /// Name of the command, as in `guest-ping`.
    #[serde(deserialize_with = "tamed")]
    pub name: String,
    /// Whether the guest's administrator allows it.
    pub enabled: bool,
}

/// Commands that KubeVirt asks every agent to know (`pkg/virt-handler/guest-agent.go`).
const REQUIRED: [&str; 10] = [
    "guest-ping",
    "guest-get-time",
    "guest-info",
    "guest-shutdown",
    "guest-network-get-interfaces",
    "guest-get-fsinfo",
    "guest-get-host-name",
    "guest-get-users",
    "guest-get-timezone",
    "guest-get-osinfo",
];

impl AgentInfo {
    /// Whether the agent knows the command and may carry it out.
    pub fn can(&self, name: &str) -> bool {
        self.commands.iter().any(|command| command.enabled && command.name == name)
    }

    /// Commands that KubeVirt asks for and this agent does not have, or may not carry out.
    pub fn lacks(&self) -> impl Iterator<Item = &'static str> {
        REQUIRED.into_iter().filter(|name| !self.can(name))
    }
}

/// The guest's operating system (`guest-get-osinfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct OsInfo {
    /// Name, as in `Debian GNU/Linux`.
    #[serde(deserialize_with = "tamed")]
    pub name: String,
    /// The kernel's release, as of `uname -r`.
    #[serde(deserialize_with = "tamed")]
    pub kernel_release: String,
    /// The kernel's version, as of `uname -v`.
    #[serde(deserialize_with = "tamed")]
    pub kernel_version: String,
    /// Version, as in `12 (bookworm)`.
    #[serde(deserialize_with = "tamed")]
    pub version: String,
    /// Version for programs, as in `12`.
    #[serde(deserialize_with = "tamed")]
    pub version_id: String,
    /// Name for people.
    #[serde(deserialize_with = "tamed")]
    pub pretty_name: String,
    /// Kind of machine, as in `x86_64`.
    #[serde(deserialize_with = "tamed")]
    pub machine: String,
    /// Name for programs, as in `debian`.
    #[serde(deserialize_with = "tamed")]
    pub id: String,
}

/// The guest's time zone (`guest-get-timezone`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct TimeZone {
    /// Its name, where the guest has one.
    #[serde(default, deserialize_with = "tamed")]
    pub zone: String,
    /// Seconds east of UTC.
    pub offset: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct HostName {
    #[serde(deserialize_with = "tamed")]
    pub(super) host_name: String,
}

/// A network card of the guest (`guest-network-get-interfaces`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Interface {
    /// Its name in the guest, as in `eth0`.
    #[serde(deserialize_with = "tamed")]
    pub name: String,
    /// Its hardware address in lower case, as in `02:00:00:00:00:01`; empty if it has none.
    #[serde(default, rename = "hardware-address", deserialize_with = "tamed")]
    pub mac: String,
    /// Its addresses.
    #[serde(default, rename = "ip-addresses", deserialize_with = "addresses")]
    pub addresses: Vec<InterfaceAddress>,
}

/// An address of a network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of its network's prefix in bits.
    pub prefix: u8,
}

/// Somebody who is logged in (`guest-get-users`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct User {
    /// The user's name.
    #[serde(rename = "user", deserialize_with = "tamed")]
    pub name: String,
    /// The user's domain, in a Windows guest.
    #[serde(default, deserialize_with = "tamed")]
    pub domain: String,
    /// When the user logged in, in seconds since 1970.
    pub login_time: f64,
}

/// A mounted file system (`guest-get-fsinfo`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct FileSystem {
    /// The disk that it is on, as in `vda1`.
    #[serde(deserialize_with = "tamed")]
    pub name: String,
    /// Where it is mounted.
    #[serde(rename = "mountpoint", deserialize_with = "tamed")]
    pub mount_point: String,
    /// Its kind, as in `ext4`.
    #[serde(rename = "type", deserialize_with = "tamed")]
    pub kind: String,
    /// Bytes in use, where the agent knows.
    #[serde(default)]
    pub used_bytes: u64,
    /// Its size in bytes, where the agent knows.
    #[serde(default)]
    pub total_bytes: u64,
    /// The disks below it.
    #[serde(default, rename = "disk", deserialize_with = "few")]
    pub devices: Vec<Device>,
}

/// A disk below a file system.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Device {
    /// Its serial number.
    #[serde(default, deserialize_with = "tamed")]
    pub serial: String,
    /// What it is attached to, as in `virtio`.
    #[serde(deserialize_with = "tamed")]
    pub bus_type: String,
}

/// Whether the guest's file systems take writes (`guest-fsfreeze-status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FreezeStatus {
    /// They do.
    Thawed,
    /// They hold writes back until they are thawed.
    Frozen,
}

/// What there is to know of a guest on the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuestInfo {
    /// The operating system, if the agent says.
    pub os: Option<OsInfo>,
    /// The host name, empty if the agent does not say.
    pub host_name: String,
    /// The time zone, if the agent says.
    pub time_zone: Option<TimeZone>,
    /// Whether file systems take writes, if the agent says.
    pub freeze: Option<FreezeStatus>,
}

/// A list of which no more is kept than a guest has in earnest.
pub(super) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let mut list = Vec::deserialize(deserializer)?;
    list.truncate(MOST);
    Ok(list)
}

/// Addresses; what is none is left out.
fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<InterfaceAddress>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct Said {
        ip_address: String,
        prefix: u8,
    }
    let said = few::<D, Said>(deserializer)?;
    let read = |said: Said| Some(InterfaceAddress { ip: said.ip_address.parse().ok()?, prefix: said.prefix });
    Ok(said.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_debians_agent_are_understood() {
        let interfaces: Vec<Interface> = serde_json::from_str(
            r#"[{"name": "lo", "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}],
                "statistics": {"tx-packets": 29}, "hardware-address": "00:00:00:00:00:00"},
                {"name": "ifb0", "hardware-address": "c2:d2:30:a9:9e:70"},
                {"name": "eth0", "ip-addresses": [{"ip-address-type": "ipv6", "ip-address": "fe80::1", "prefix": 64},
                {"ip-address-type": "ipv4", "ip-address": "nonsense", "prefix": 64}]}]"#,
        )
        .unwrap();
        assert_eq!(interfaces.len(), 3);
        assert_eq!(interfaces[0].addresses[0].ip, "127.0.0.1".parse::<IpAddr>().unwrap());
        assert_eq!(interfaces[1].mac, "c2:d2:30:a9:9e:70");
        assert_eq!(interfaces[2].addresses.len(), 1, "an address that is none is left out");
        let systems: Vec<FileSystem> = serde_json::from_str(
            r#"[{"name": "vda", "total-bytes": 97572749312, "mountpoint": "/", "disk": [{"bus-type": "virtio", "bus": 0,
                "unit": 0, "pci-controller": {"bus": 0, "slot": 2, "domain": 0, "function": 0}, "dev": "/dev/vda",
                "target": 0}], "used-bytes": 21591207936, "type": "ext4"}]"#,
        )
        .unwrap();
        assert_eq!(
            (systems[0].used_bytes, systems[0].devices[0].bus_type.as_str()),
            (21_591_207_936, "virtio")
        );
        let users: Vec<User> =
            serde_json::from_str(r#"[{"login-time": 1795718489.68, "user": "root"}]"#).unwrap();
        assert_eq!(users[0].name, "root");
        assert_eq!(serde_json::from_str::<FreezeStatus>(r#""frozen""#).unwrap(), FreezeStatus::Frozen);
        let info: AgentInfo = serde_json::from_str(
            r#"{"version": "7.2.22", "supported_commands": [
                {"enabled": true, "name": "guest-ping", "success-response": true},
                {"enabled": false, "name": "guest-exec", "success-response": true}]}"#,
        )
        .unwrap();
        assert!(info.can("guest-ping") && !info.can("guest-exec") && !info.can("guest-info"));
        assert_eq!(info.lacks().count(), 9);
    }

    #[test]
    fn long_lists_are_cut() {
        let many = format!("[{}]", vec![r#"{"name":"x"}"#; 5000].join(","));
        let call: Listed<Interface> = serde_json::from_str(&many).unwrap();
        assert_eq!(call.0.len(), MOST);
    }

    #[derive(Deserialize)]
    #[serde(transparent, bound = "T: Deserialize<'de>")]
    struct Listed<T>(#[serde(deserialize_with = "few")] Vec<T>);
}
