//! What the interfaces of a guest's network are called.
//!
//! In a pod they have KubeVirt's names (pkg/network/link/names.go, pkg/network/namescheme), so that what KubeVirt's
//! handler made is found, and what kubevmm made looks the same. Outside of pods several machines share a network
//! namespace; there the names have a hash of machine and network in them.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The primary interface of a pod.
pub const POD_PRIMARY: &str = "eth0";

/// How many digits of a hash KubeVirt puts into a name; with "k6t-" in front it is as long as a name can be.
const DIGITS: usize = 11;

/// Names for one network of one machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Names {
    /// The tap or macvtap that the guest's card is on.
    pub tap: String,
    /// The bridge that connects it.
    pub bridge: String,
}

impl Names {
    /// KubeVirt's names for what is attached to `pod_interface`, such as `eth0` or `pod2c26b46b68f`.
    pub fn in_pod(pod_interface: &str) -> Self {
        let short = pod_interface.strip_prefix("pod").unwrap_or(pod_interface);
        // `tap0` for eth0, `tap1` for net1, `tap2c26b46b68f` for pod2c26b46b68f: three letters are replaced.
        let rest = pod_interface.char_indices().nth(3).and_then(|(at, _)| pod_interface.get(at..));
        Self { tap: format!("tap{}", rest.unwrap_or_default()), bridge: format!("k6t-{short}") }
    }

    /// Names that no other machine or network of this host has.
    pub fn on_host(namespace: &str, machine: &str, network: &str) -> Self {
        let hash = hash(&format!("{namespace}/{machine}/{network}"));
        Self { tap: format!("tap{hash}"), bridge: format!("k6t-{hash}") }
    }
}

/// What KubeVirt calls the pod's interface of a secondary network.
pub fn pod_interface(network: &str) -> String {
    format!("pod{}", hash(network))
}

/// What older releases of KubeVirt called it: `ordinal` counts the multus networks that are not the default one, from 1.
pub fn ordinal_pod_interface(ordinal: usize) -> String {
    format!("net{ordinal}")
}

/// The first digits of a name's SHA-256.
pub(crate) fn hash(name: &str) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(name.as_bytes()) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.truncate(DIGITS);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secondary_interfaces_are_named_as_by_kubevirt() {
        let vectors = [
            ("foo", "pod2c26b46b68f"),
            ("default", "pod37a8eec1ce1"),
            ("sriov-net", "pod5862143f341"),
            ("ptp", "pode31d7ce2712"),
            ("net1", "pod6c270ef2f25"),
            ("red", "podb1f51a511f1"),
        ];
        for (network, interface) in vectors {
            assert_eq!(pod_interface(network), interface);
        }
    }

    #[test]
    fn taps_and_bridges_are_named_after_the_pods_interface() {
        let names = |tap: &str, bridge: &str| Names { tap: tap.into(), bridge: bridge.into() };
        assert_eq!(Names::in_pod("eth0"), names("tap0", "k6t-eth0"));
        assert_eq!(Names::in_pod("pod2c26b46b68f"), names("tap2c26b46b68f", "k6t-2c26b46b68f"));
        assert_eq!(Names::in_pod(&ordinal_pod_interface(1)), names("tap1", "k6t-net1"));
        assert_eq!(Names::in_pod("é"), names("tap", "k6t-é"), "no panic");
    }

    #[test]
    fn machines_of_one_host_do_not_meet() {
        let one = Names::on_host("default", "vm", "net");
        assert_eq!(one, Names::on_host("default", "vm", "net"));
        for other in [Names::on_host("other", "vm", "net"), Names::on_host("default", "vm", "lan")] {
            assert!(one.tap != other.tap && one.bridge != other.bridge);
        }
        assert!(one.tap.len() <= 15 && one.bridge.len() == 15);
    }
}
