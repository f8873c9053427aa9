//! The test host itself: what every other case relies on.

use std::fs::{self, OpenOptions};

use crate::case::{Case, Ctx};
use crate::ensure;
use crate::failure::{Doing, Outcome};

use super::tools::tool;

pub(super) const CASES: &[Case] = &[
    Case::host("test-host-has-hardware-virtualization", virtualization),
    Case::host("test-host-has-network-tools", network_tools),
];

fn virtualization(_: &Ctx) -> Outcome {
    OpenOptions::new().read(true).write(true).open("/dev/kvm").doing("opening /dev/kvm")?;
    let npt = fs::read_to_string("/sys/module/kvm_amd/parameters/npt").doing("looking for kvm_amd")?;
    ensure!(matches!(npt.trim(), "Y" | "1"), "nested paging is off");
    Ok(())
}

/// The peers and judges of network cases start, and the kernel has what they are asked about.
fn network_tools(_: &Ctx) -> Outcome {
    guest::sys::unshare_network().doing("making a network namespace")?;
    for kind in ["dummy", "bridge", "veth"] {
        tool("ip", &["link", "add", "type", kind])?;
    }
    tool("ip", &["link", "add", "link", "dummy0", "type", "macvtap"])?;
    tool("nft", &["add", "table", "ip", "t"])?;
    tool("nft", &["add", "chain", "ip", "t", "c", "{ type nat hook postrouting priority 100; }"])?;
    for rule in ["ip saddr 10.0.2.2 counter masquerade", "tcp dport {80, 81} snat to 10.0.2.1"] {
        tool("nft", &["add", "rule", "ip", "t", "c", rule])?;
    }
    let rules = tool("nft", &["list", "ruleset"])?;
    ensure!(rules.contains("tcp dport { 80, 81 } snat to 10.0.2.1"), "nft lists {rules}");
    for (name, arguments) in
        [("passt", "--version"), ("dnsmasq", "--version"), ("iperf3", "--version"), ("tcpdump", "--version")]
    {
        tool(name, &[arguments])?;
    }
    Ok(())
}
