//! Limits of the command line on how fast a disk may be used.

use std::num::NonZeroU64;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most that the guest may use of a disk in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskLimit {
    /// Requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<NonZeroU64>,
    /// Bytes read and written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<NonZeroU64>,
}

/// The text is no limit.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no limit: use requests:NUMBER, bytes:SIZE (10M, 1Gi), or both with a comma between them")]
pub struct BadLimit(String);

impl FromStr for DiskLimit {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        let bad = || BadLimit(text.chars().take(60).collect());
        let mut limit = Self::default();
        for part in text.split(',') {
            let (what, amount) = part.split_once(':').ok_or_else(bad)?;
            let amount: spec::api::Quantity = amount.parse().map_err(|_| bad())?;
            let amount = amount.bytes().and_then(NonZeroU64::new).ok_or_else(bad)?;
            match what {
                "requests" => limit.requests = Some(amount),
                "bytes" => limit.bytes = Some(amount),
                _ => return Err(bad()),
            }
        }
        Ok(limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_requests_bytes_or_both() {
        let limit = |text: &str| text.parse::<DiskLimit>().ok().map(|limit| (limit.requests, limit.bytes));
        assert_eq!(limit("requests:500"), Some((NonZeroU64::new(500), None)));
        assert_eq!(
            limit("bytes:10M,requests:2k"),
            Some((NonZeroU64::new(2000), NonZeroU64::new(10_000_000)))
        );
        for bad in ["", "500", "requests:", "requests:0", "bytes:-1", "bytes:1X", "iops:5", "bytes:1,"] {
            assert_eq!(limit(bad), None, "{bad}");
        }
    }
}
