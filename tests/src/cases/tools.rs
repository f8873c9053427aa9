//! Things of the test host that several cases use.

use std::process::{Command, Stdio};

use crate::failure::{Doing, Failure};

/// Runs a busybox applet that has to succeed; its standard output.
pub(crate) fn busybox(arguments: &[&str]) -> Result<String, Failure> {
    run("/bin/busybox", arguments)
}

/// Runs one of Debian's programs (`nft`, `ip`, `dnsmasq`, `iperf3`, `tcpdump`, …) that has to succeed; its standard output.
pub(crate) fn tool(name: &str, arguments: &[&str]) -> Result<String, Failure> {
    run(&format!("/usr/bin/{name}"), arguments)
}

fn run(program: &str, arguments: &[&str]) -> Result<String, Failure> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .doing(&format!("starting {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(Failure(format!("{program} {arguments:?} ended with {}: {text}{errors}", output.status)))
}

/// A tap in a network namespace of this case's own, with this address.
pub(crate) fn tap(name: &str, address: &str) -> Result<(), Failure> {
    guest::sys::unshare_network().doing("making a network namespace")?;
    more_tap(name, address)
}

/// One more tap in the namespace that is there.
pub(crate) fn more_tap(name: &str, address: &str) -> Result<(), Failure> {
    guest::sys::make_tap(name).doing("making a tap")?;
    busybox(&["ip", "addr", "add", address, "dev", name])?;
    busybox(&["ip", "link", "set", name, "up"]).map(drop)
}
