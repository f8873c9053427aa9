//! A snapshot as the first program wrote it that took any (format 1, version 0.1.0 as of November 2026): a small machine that
//! counts, with devices of all kinds that need nothing of the host's network. It is never written anew.

use std::collections::BTreeSet;
use std::time::Duration;

use devices::virtio::DeviceState;

use super::freeze::indication;
use super::{FrozenBefore, Manifest, Snapshot, check, describe, unpack};
use crate::agent::UNFREEZE;
use crate::machine::FunctionState;

const FORMAT_1: &[u8] = include_bytes!("golden/format-1.tar");
/// The network card of another one.
const NET_1: &str = include_str!("golden/net-v1.json");

/// What kind of device a state is of. Each new one needs a state here that is as old as it.
fn kind(state: &DeviceState) -> &'static str {
    match state {
        DeviceState::Net(_) => "net",
        DeviceState::Blk(_) => "blk",
        DeviceState::Console(_) => "console",
        DeviceState::Rng(_) => "rng",
        DeviceState::Balloon(_) => "balloon",
    }
}

const KINDS: [&str; 5] = ["balloon", "blk", "console", "net", "rng"];

#[test]
fn a_snapshot_of_the_first_program_is_read_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = unpack(FORMAT_1, &folder.path().join("golden")).unwrap();
    let snapshot = Snapshot::open(&path).unwrap();
    check(&snapshot).unwrap();
    let text = describe(&snapshot).unwrap();
    assert!(
        text.contains("by kubevmm 0.1.0") && text.contains("data, 0.1 MiB, copied to disk-data.raw"),
        "{text}"
    );
    assert!(!snapshot.manifest.is_frozen());
    assert_eq!(snapshot.manifest.thaw_after(), UNFREEZE);
    let frozen = Manifest { indications: vec![indication::AGENT.to_owned()], ..snapshot.manifest.clone() };
    assert_eq!(frozen.thaw_after(), Duration::ZERO);
    for (left, wanted) in [(Some(1500), Duration::from_millis(1500)), (None, UNFREEZE)] {
        let frozen_before = Some(FrozenBefore { thaws_in_ms: left });
        let before = Manifest { frozen_before, ..frozen.clone() };
        assert_eq!(before.thaw_after(), wanted, "what somebody else has frozen is thawed in its own time");
    }
    let state = snapshot.state().unwrap();
    assert_eq!((state.vcpus.len(), state.ports.len()), (2, 1));
    assert!(state.watchdog.is_some());
    assert_eq!(state.chipset.vmclock, None, "it did not exist then");
    let written: serde_json::Value =
        serde_json::from_slice(&snapshot.contents("state.json").unwrap()).unwrap();
    assert!(serde_json::to_value(&state).unwrap() == written, "what is written of it is something else");
}

#[test]
fn every_kind_of_device_has_a_state_of_that_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = unpack(FORMAT_1, &folder.path().join("golden")).unwrap();
    let state = Snapshot::open(&path).unwrap().state().unwrap();
    let net: FunctionState = serde_json::from_str(NET_1).unwrap();
    let all = state.functions.iter().chain([&net]);
    let kinds: BTreeSet<_> = all.map(|function| kind(&function.state.device)).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
}
