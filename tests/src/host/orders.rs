//! What the test host is told, on a small disk of its own: JSON, padded with spaces to whole sectors.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::bench_migrate::Mover;
use super::bench_net::Measurement;
use crate::failure::{Doing, Failure};

/// Size of the disk: whole sectors, room for the names of all cases.
const SIZE: usize = 64 << 10;

/// What the test host is started for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Orders {
    /// Run cases.
    Test(Selection),
    /// Boot the example with the console on the terminal.
    Demo,
    /// Boot the example, show its greeting and power it off.
    DemoBatch,
    /// Measure.
    Bench,
    /// Measure the traffic of a guest.
    BenchNet(Measurement),
    /// Measure what it costs to move a guest.
    BenchMigrate(Mover),
    /// A shell for developers.
    Shell,
}

/// Which cases to run, and how.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Those that [`Case::matches`](crate::case::Case::matches) picks.
    pub filter: String,
    /// But not these: they have been run.
    pub done: Vec<String>,
    /// So many at a time.
    pub jobs: usize,
    /// Keep the logs of cases that pass, too.
    pub keep: bool,
    /// Run the cases of [`Tier::Long`](crate::case::Tier::Long) instead of those of the test host.
    #[serde(default)]
    pub long: bool,
    /// For how many minutes a soak goes on.
    #[serde(default)]
    pub minutes: u64,
}

impl Orders {
    /// The disk's contents.
    ///
    /// # Errors
    /// If the orders are too long for it.
    pub fn to_disk(&self) -> Result<Vec<u8>, Failure> {
        let mut bytes = serde_json::to_vec(self)?;
        crate::ensure!(bytes.len() <= SIZE, "the orders are too long");
        bytes.resize(SIZE, b' ');
        Ok(bytes)
    }

    /// Reads a disk.
    ///
    /// # Errors
    /// If it cannot be read or holds no orders.
    pub fn from_disk(path: &Path) -> Result<Self, Failure> {
        let bytes = fs::read(path).doing("reading the orders")?;
        serde_json::from_slice(&bytes).doing("understanding the orders")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_a_disk() {
        let path = std::env::temp_dir().join(format!("kubevmm-orders-test-{}", std::process::id()));
        let selection = Selection {
            filter: "boot".into(),
            done: vec!["boot-a".into()],
            jobs: 2,
            keep: true,
            ..Selection::default()
        };
        for orders in [Orders::Test(selection), Orders::Shell] {
            fs::write(&path, orders.to_disk().unwrap()).unwrap();
            assert_eq!(Orders::from_disk(&path).unwrap(), orders);
        }
        fs::remove_file(path).unwrap();
        let endless = Selection { done: vec!["x".repeat(SIZE)], ..Selection::default() };
        assert!(Orders::Test(endless).to_disk().is_err());
    }
}
