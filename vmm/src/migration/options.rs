//! How a machine is to be moved: KubeVirt's options of a migration, resolved.

use std::num::NonZeroU64;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use spec::api::{MigrationConfiguration, Quantity};

use super::transport::Address;

/// Options of a migration. Defaults are KubeVirt's (`pkg/virt-config/virt-config.go`) but for the downtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MigrationOptions {
    /// Most bytes a second, for all connections together; `None` for as fast as it goes.
    pub bandwidth: Option<NonZeroU64>,
    /// How long the guest may stand still, in milliseconds.
    #[serde(rename = "downtimeMs", with = "milliseconds")]
    pub downtime: Duration,
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
    /// The stream may go over a network as it is, without encryption.
    pub insecure: bool,
}

/// Somebody wants a machine to move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationRequest {
    /// Where to.
    pub address: Address,
    /// How.
    pub options: MigrationOptions,
}

impl MigrationOptions {
    /// The same as the status of a machine has it.
    pub fn configuration(&self) -> MigrationConfiguration {
        MigrationConfiguration {
            allow_auto_converge: self.auto_converge,
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
            auto_converge: false,
            completion_timeout_per_gib: Some(150),
            progress_timeout: Some(Duration::from_secs(150)),
            allow_workload_disruption: false,
            insecure: false,
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
    }
}
