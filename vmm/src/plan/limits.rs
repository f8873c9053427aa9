//! Limits of the command line on how fast disks and network cards may be used.

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

/// Most that a network card may carry in a second, in each direction by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NicLimit {
    /// Frames; one that the host cuts into segments counts once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packets: Option<NonZeroU64>,
    /// Bytes of frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<NonZeroU64>,
}

/// The text is no limit.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is no limit: use {operations}:NUMBER, bytes:SIZE (10M, 1Gi), or both with a comma between them"
)]
pub struct BadLimit {
    text: String,
    operations: &'static str,
}

/// Operations, as the limit calls them, and bytes.
type Pair = (Option<NonZeroU64>, Option<NonZeroU64>);

fn parse(text: &str, operations: &'static str) -> Result<Pair, BadLimit> {
    let bad = || BadLimit { text: text.chars().take(60).collect(), operations };
    let (mut number, mut bytes) = (None, None);
    for part in text.split(',') {
        let (what, amount) = part.split_once(':').ok_or_else(bad)?;
        let amount: spec::api::Quantity = amount.parse().map_err(|_| bad())?;
        let amount = amount.bytes().and_then(NonZeroU64::new).ok_or_else(bad)?;
        match what {
            "bytes" => bytes = Some(amount),
            _ if what == operations => number = Some(amount),
            _ => return Err(bad()),
        }
    }
    Ok((number, bytes))
}

impl FromStr for DiskLimit {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        parse(text, "requests").map(|(requests, bytes)| Self { requests, bytes })
    }
}

impl FromStr for NicLimit {
    type Err = BadLimit;

    fn from_str(text: &str) -> Result<Self, BadLimit> {
        parse(text, "packets").map(|(packets, bytes)| Self { packets, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_operations_bytes_or_both() {
        let limit = |text: &str| text.parse::<DiskLimit>().ok().map(|limit| (limit.requests, limit.bytes));
        assert_eq!(limit("requests:500"), Some((NonZeroU64::new(500), None)));
        assert_eq!(
            limit("bytes:10M,requests:2k"),
            Some((NonZeroU64::new(2000), NonZeroU64::new(10_000_000)))
        );
        for bad in ["", "500", "requests:", "requests:0", "bytes:-1", "bytes:1X", "packets:5", "bytes:1,"] {
            assert_eq!(limit(bad), None, "{bad}");
        }
        let limit = "packets:1k".parse::<NicLimit>().unwrap();
        assert_eq!((limit.packets, limit.bytes), (NonZeroU64::new(1000), None));
        let refused = "requests:1".parse::<NicLimit>().unwrap_err();
        assert!(refused.to_string().contains("use packets:NUMBER"), "{refused}");
    }
}
