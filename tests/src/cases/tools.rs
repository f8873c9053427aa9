//! Things of the test host that several cases use.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::failure::{Doing, Failure, Outcome};
use crate::wait::until;

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

/// Waits until somebody in the network of this process listens at a TCP port.
pub(crate) fn listens(process: u32, port: u16) -> Outcome {
    let listening = format!(":{port:04X} 00000000:0000 0A ");
    let of_any = format!(":{port:04X} 00000000000000000000000000000000:0000 0A ");
    until("a server that listens", || {
        let sockets = ["tcp", "tcp6"].map(|kind| fs::read_to_string(format!("/proc/{process}/net/{kind}")));
        Ok(sockets.iter().flatten().any(|text| text.contains(&listening) || text.contains(&of_any)))
    })
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

/// A file as a block device.
pub(crate) struct LoopDevice(String);

impl LoopDevice {
    /// The device of a file.
    pub(crate) fn of(file: &Path) -> Result<Self, Failure> {
        busybox(&["losetup", "-f", &file.to_string_lossy()])?;
        let backs = |index: &u32| {
            let place = format!("/sys/block/loop{index}/loop/backing_file");
            fs::read_to_string(place).is_ok_and(|backing| Path::new(backing.trim_end()) == file)
        };
        let index = (0..8).find(backs).ok_or("no loop device took the file")?;
        Ok(Self(format!("/dev/loop{index}")))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // One that is in use still goes when it is not any more.
        let _ = busybox(&["losetup", "-d", &self.0]);
    }
}
