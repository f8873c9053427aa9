//! How a machine is to be moved: KubeVirt's options of a migration, resolved.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use spec::api::{MigrationConfiguration, MigrationPolicy, Quantity, VirtualMachineInstanceMigration};

use super::storage::Wish;
use super::transport::{Address, BadAddress, Protection};

/// Options of a migration. Defaults are KubeVirt's (`pkg/virt-config/virt-config.go`) but for the downtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MigrationOptions {
    /// Most bytes a second, for all connections together; `None` for as fast as it goes.
    pub bandwidth: Option<NonZeroU64>,
    /// How long the guest may stand still, in milliseconds.
    #[serde(rename = "downtimeMs", with = "milliseconds")]
    pub downtime: Duration,
    /// How many connections carry pages.
    pub connections: Connections,
    /// vCPUs may be slowed down if their guest writes faster than can be copied.
    pub auto_converge: bool,
    /// Seconds for each GiB of memory that the whole may take; 0 or `None` for no limit.
    #[serde(rename = "completionTimeoutPerGiB")]
    pub completion_timeout_per_gib: Option<u64>,
    /// How long it may go on without less being left, in seconds; `None` for no limit.
    #[serde(rename = "progressTimeout", with = "seconds")]
    pub progress_timeout: Option<Duration>,
    /// A guest that is still not copied when the time is over is stopped for as long as it takes.
    pub allow_workload_disruption: bool,
    /// Whether memory may follow its machine.
    pub post_copy: PostCopy,
    /// Folder with `ca.crt`, `tls.crt` and `tls.key`: the stream goes over a network encrypted.
    pub tls: Option<PathBuf>,
    /// Name that the destination's certificate has to have; its host's name if there is none.
    pub tls_peer: Option<String>,
    /// Disks whose storage is not the same on both sides are copied.
    pub copy_storage: bool,
    /// These disks are copied, too, where it cannot be told whether their storage is the same.
    pub copy_disks: Vec<String>,
    /// The stream may go over a network as it is, without encryption.
    pub insecure: bool,
    /// Name of the MigrationPolicy that has filled in what nobody said.
    pub policy: Option<String>,
}

/// Whether a machine may run at the destination before all of its memory is there. From then on it is lost if either side dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PostCopy {
    /// It may not.
    #[default]
    Never,
    /// When the time is over that it may take, if its guest may be disturbed then.
    WhenLate,
    /// When all of it was copied once.
    AtOnce,
}

/// How many connections carry a machine: 1 to 16. Two by default: what the destination does most of the time is to have its kernel
/// give it memory for what comes, and with two it does that on two processors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Connections(u8);

impl Connections {
    /// The most that there may be.
    pub const MOST: u8 = 16;
}

impl Default for Connections {
    fn default() -> Self {
        Self(2)
    }
}

impl From<Connections> for u8 {
    fn from(connections: Connections) -> Self {
        connections.0
    }
}

/// Too many connections, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there may be 1 to 16 connections, not {0}")]
pub struct BadConnections(u8);

impl TryFrom<u8> for Connections {
    type Error = BadConnections;

    fn try_from(count: u8) -> Result<Self, BadConnections> {
        if (1..=Self::MOST).contains(&count) { Ok(Self(count)) } else { Err(BadConnections(count)) }
    }
}

/// Which disks are to be copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyWishes {
    /// All whose storage is not the same on both sides.
    pub others: bool,
    /// These.
    pub named: Vec<String>,
}

impl CopyWishes {
    /// What is wished for the disk of this name.
    pub fn of(&self, name: &str) -> Wish {
        match self.named.iter().any(|named| named == name) {
            true => Wish::Copy,
            false if self.others => Wish::CopyOthers,
            false => Wish::Share,
        }
    }
}

/// Somebody wants a machine to move.
#[derive(Clone, Debug, PartialEq)]
pub struct MigrationRequest {
    /// Where to.
    pub address: Address,
    /// How.
    pub options: MigrationOptions,
    /// The order as an object, with a name and an ID.
    pub object: VirtualMachineInstanceMigration,
}

/// The options of the policy that picks a machine, given as its object, as JSON; none if no policy does.
pub fn by_policies(policies: &[MigrationPolicy], machine: &Value, namespace: &str) -> Map<String, Value> {
    let labels: BTreeMap<String, String> =
        serde_json::from_value(machine["metadata"]["labels"].clone()).unwrap_or_default();
    // What Kubernetes puts onto every namespace.
    let of_namespace = BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), namespace.to_owned())]);
    MigrationPolicy::choose(policies, &labels, &of_namespace).map(by_policy).unwrap_or_default()
}

/// The options that a policy says, as JSON. What it leaves open is not among them.
fn by_policy(policy: &MigrationPolicy) -> Map<String, Value> {
    let spec = &policy.spec;
    let mut options = Map::from_iter([
        ("policy".to_owned(), policy.metadata.name.clone().into()),
        ("autoConverge".to_owned(), spec.allow_auto_converge.unwrap_or(false).into()),
        ("allowWorkloadDisruption".to_owned(), spec.allows_disruption().unwrap_or(false).into()),
    ]);
    let mut put = |name: &str, value: Value| drop(options.insert(name.to_owned(), value));
    if let Some(bytes) = spec.bandwidth_per_migration.as_ref().and_then(Quantity::bytes) {
        // KubeVirt: none is no limit.
        put("bandwidth", Some(bytes).filter(|bytes| *bytes > 0).into());
    }
    if spec.allow_post_copy == Some(true) {
        put("postCopy", "whenLate".into());
    }
    if let Some(seconds) = spec.completion_timeout_per_gi_b {
        put("completionTimeoutPerGiB", seconds.into());
    }
    if let Some(time) = spec.max_downtime_ms {
        put("downtimeMs", time.into());
    }
    options
}

/// The address that a migration's `connectURL` means; KubeVirt's have no scheme.
///
/// # Errors
/// It means none.
pub fn connect_url(url: &str) -> Result<Address, BadAddress> {
    let has_scheme = ["unix:", "tcp:"].iter().any(|scheme| url.starts_with(scheme));
    if has_scheme { url.parse() } else { format!("tcp://{url}").parse() }
}

impl MigrationOptions {
    /// Which disks are to be copied.
    pub fn copies(&self) -> CopyWishes {
        CopyWishes { others: self.copy_storage, named: self.copy_disks.clone() }
    }

    /// What is to protect the stream.
    pub fn protection(&self) -> Protection {
        Protection { folder: self.tls.clone(), peer: self.tls_peer.clone(), insecure: self.insecure }
    }

    /// The same as the status of a machine has it.
    pub fn configuration(&self) -> MigrationConfiguration {
        MigrationConfiguration {
            allow_auto_converge: self.auto_converge,
            allow_post_copy: self.post_copy != PostCopy::Never,
            allow_workload_disruption: self.allow_workload_disruption,
            bandwidth_per_migration: self.bandwidth.map(|bytes| Quantity::of(bytes.get())),
            completion_timeout_per_gi_b: whole(self.completion_timeout_per_gib.unwrap_or(0)),
            disable_tls: self.insecure,
            max_downtime_ms: u64::try_from(self.downtime.as_millis()).unwrap_or(u64::MAX),
            progress_timeout: whole(self.progress_timeout.map_or(0, |time| time.as_secs())),
            ..MigrationConfiguration::default()
        }
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl Default for MigrationOptions {
    fn default() -> Self {
        Self {
            bandwidth: None,
            downtime: Duration::from_millis(300),
            connections: Connections::default(),
            auto_converge: false,
            completion_timeout_per_gib: Some(150),
            progress_timeout: Some(Duration::from_secs(150)),
            allow_workload_disruption: false,
            post_copy: PostCopy::Never,
            tls: None,
            tls_peer: None,
            copy_storage: false,
            copy_disks: Vec::new(),
            insecure: false,
            policy: None,
        }
    }
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        time.map(|time| time.as_secs()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Option::<u64>::deserialize(from).map(|seconds| seconds.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_policy_says_is_an_option() {
        let policy: MigrationPolicy = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p"},
            "spec": {"selectors": {}, "bandwidthPerMigration": "64Mi", "maxDowntimeMs": 7, "allowPostCopy": true},
        }))
        .unwrap();
        let options: MigrationOptions = serde_json::from_value(by_policy(&policy).into()).unwrap();
        assert_eq!(options.bandwidth.map(NonZeroU64::get), Some(64 << 20));
        assert_eq!((options.downtime.as_millis(), options.policy.as_deref()), (7, Some("p")));
        assert!(options.allow_workload_disruption && !options.auto_converge);
        assert_eq!(options.post_copy, PostCopy::WhenLate);
        assert_eq!(
            options.completion_timeout_per_gib,
            MigrationOptions::default().completion_timeout_per_gib
        );
    }

    #[test]
    fn options_may_be_left_out_but_not_invented() {
        let some: MigrationOptions =
            serde_json::from_str(r#"{"downtimeMs":50,"progressTimeout":null}"#).unwrap();
        let expected = MigrationOptions {
            downtime: Duration::from_millis(50),
            progress_timeout: None,
            ..MigrationOptions::default()
        };
        assert_eq!(some, expected);
        let text = serde_json::to_string(&some).unwrap();
        assert_eq!(serde_json::from_str::<MigrationOptions>(&text).unwrap(), some);
        assert!(serde_json::from_str::<MigrationOptions>(r#"{"quickly":true}"#).is_err());
        for (count, good) in [(0, false), (1, true), (16, true), (17, false), (256, false)] {
            let text = format!(r#"{{"connections":{count}}}"#);
            assert_eq!(serde_json::from_str::<MigrationOptions>(&text).is_ok(), good, "{count}");
        }
    }
}
