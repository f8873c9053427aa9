//! Traffic between the test host and a guest through a tap, in several VMMs side by side. With instruction counting, a
//! nanosecond of the test host's clock is an instruction of everything in it: both ends' kernels and programs, and the
//! VMM between them.

use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use guest::traffic::{self, Run};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{PAYLOAD, peers};
use crate::cases::tools::tap;
use crate::failure::{Doing, Failure};
use crate::manifest::Manifest;
use crate::supervisor::Sink;
use crate::verdict::Line;

/// Where everything of a run is.
const FOLDER: &str = "/tmp/bench";
const TAP: &str = "tap0";
const MAC: &str = "02:00:00:aa:bb:01";
const HOST: &str = "10.77.0.1/24";
const GUEST: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
/// When a guest that does not answer is given up.
const BOOT: Duration = Duration::from_secs(120);

/// What carries the traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vmm {
    /// The program under test.
    Kubevmm,
    /// The same with its queues in the host's kernel.
    KubevmmVhost,
    /// QEMU of the test host's Debian.
    Qemu,
    /// The same with its queues in the host's kernel.
    QemuVhost,
    /// A cloud-hypervisor that whoever measures has brought along.
    CloudHypervisor,
}

impl Vmm {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Kubevmm, Self::KubevmmVhost, Self::Qemu, Self::QemuVhost, Self::CloudHypervisor];

    /// As options and figures name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kubevmm => "kubevmm",
            Self::KubevmmVhost => "kubevmm-vhost",
            Self::Qemu => "qemu",
            Self::QemuVhost => "qemu-vhost",
            Self::CloudHypervisor => "cloud-hypervisor",
        }
    }
}

/// What one start of the test host measures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measurement {
    /// What carries the traffic.
    pub vmm: Vmm,
    /// Names of lines of the table that are there already.
    pub done: Vec<String>,
    /// How often the host has hung before. Where that is a matter of single instructions, a run that begins with a little
    /// more or less comes by it.
    pub attempt: u32,
}

/// A line of the table.
#[derive(Debug)]
pub struct Row {
    /// What figures are called, behind the VMM's name and a slash.
    pub name: &'static str,
    /// For people.
    pub what: &'static str,
    /// What a figure is a number of instructions for.
    pub unit: &'static str,
    run: Run,
    /// How many units the run has.
    count: usize,
}

const BYTES: usize = 64 << 20;
const DATAGRAMS: usize = 3200;
const ECHOES: usize = 1000;

/// The table.
pub const ROWS: [Row; 7] = [
    Row {
        name: "tcp-from",
        what: "TCP, guest to host",
        unit: "byte",
        run: Run::StreamFrom(BYTES),
        count: BYTES,
    },
    Row { name: "tcp-to", what: "TCP, host to guest", unit: "byte", run: Run::StreamTo(BYTES), count: BYTES },
    Row {
        name: "udp-1400-from",
        what: "UDP of 1400 bytes, guest to host",
        unit: "packet",
        run: Run::DatagramsFrom(1400, DATAGRAMS),
        count: DATAGRAMS,
    },
    Row {
        name: "udp-1400-to",
        what: "UDP of 1400 bytes, host to guest",
        unit: "packet",
        run: Run::DatagramsTo(1400, DATAGRAMS),
        count: DATAGRAMS,
    },
    Row {
        name: "udp-64-from",
        what: "UDP of 64 bytes, guest to host",
        unit: "packet",
        run: Run::DatagramsFrom(64, DATAGRAMS),
        count: DATAGRAMS,
    },
    Row {
        name: "udp-64-to",
        what: "UDP of 64 bytes, host to guest",
        unit: "packet",
        run: Run::DatagramsTo(64, DATAGRAMS),
        count: DATAGRAMS,
    },
    Row {
        name: "echo",
        what: "request and response, host to guest and back",
        unit: "exchange",
        run: Run::Echo(ECHOES),
        count: ECHOES,
    },
];

impl Row {
    /// A run that fills caches, and windows of TCP.
    const fn warm_up(&self) -> Run {
        match self.run {
            Run::StreamFrom(bytes) => Run::StreamFrom(bytes / 8),
            Run::StreamTo(bytes) => Run::StreamTo(bytes / 8),
            Run::DatagramsFrom(size, count) => Run::DatagramsFrom(size, count / 8),
            Run::DatagramsTo(size, count) => Run::DatagramsTo(size, count / 8),
            Run::Echo(count) => Run::Echo(count / 8),
        }
    }
}

/// Measures and hands the figures to `sink`.
pub(super) fn run(what: &Measurement, sink: &Sink<'_>) -> Result<(), Failure> {
    let vmm = what.vmm;
    fs::create_dir_all(FOLDER)?;
    peers::mount()?;
    tap(TAP, HOST)?;
    let mut child = start(vmm)?;
    let measured = measure(what, sink);
    child.kill()?;
    child.wait()?;
    measured.map_err(|Failure(why)| Failure(format!("{}: {why}{}", vmm.name(), log(vmm))))
}

fn measure(what: &Measurement, sink: &Sink<'_>) -> Result<(), Failure> {
    wait_for_guest()?;
    for row in ROWS.iter().filter(|row| !what.done.iter().any(|done| done == row.name)) {
        let exchange = |run| traffic::run(GUEST, run).doing(row.what);
        if let Some(more) = usize::try_from(what.attempt).ok().filter(|more| *more > 0) {
            exchange(Run::Echo(more))?;
        }
        exchange(row.warm_up())?;
        let took = exchange(row.run)?;
        let name = format!("{}/{}", what.vmm.name(), row.name);
        sink(&Line::Figure { name, value: ratio(took, row.count), unit: row.unit.to_owned() });
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures have four digits")]
fn ratio(took: Duration, count: usize) -> f64 {
    took.as_secs_f64() * 1e9 / count as f64
}

/// Waits until the guest exchanges a byte.
fn wait_for_guest() -> Result<(), Failure> {
    let started = Instant::now();
    while let Err(error) = traffic::run(GUEST, Run::Echo(1)) {
        if started.elapsed() > BOOT {
            return Err(Failure(format!("the guest does not answer: {error}")));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn log_file(vmm: Vmm) -> String {
    format!("{FOLDER}/{}.log", vmm.name())
}

/// The end of what a VMM and its guest's console said.
fn log(vmm: Vmm) -> String {
    let text = fs::read_to_string(log_file(vmm)).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(20).collect();
    lines.iter().rev().map(|line| format!("\n  {line}")).collect()
}

fn kernel_args() -> String {
    format!("console=ttyS0 panic=-1 quiet guest.traffic={GUEST}/24")
}

fn start(vmm: Vmm) -> Result<Child, Failure> {
    let mut command = match vmm {
        Vmm::Kubevmm | Vmm::KubevmmVhost => kubevmm(vmm)?,
        Vmm::Qemu => qemu("off"),
        Vmm::QemuVhost => qemu("on"),
        Vmm::CloudHypervisor => cloud_hypervisor(),
    };
    let log = File::create(log_file(vmm))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().doing(vmm.name())
}

fn kubevmm(vmm: Vmm) -> Result<Command, Failure> {
    let image = format!("rootfs:{PAYLOAD}/guest");
    let mut manifest = Manifest::linux("bench", &image, "vmlinux").tap("lan", MAC);
    manifest.set("/spec/domain/firmware/kernelBoot/kernelArgs", json!(kernel_args()));
    let vhost = if vmm == Vmm::KubevmmVhost { "true" } else { "false" };
    manifest.set("/metadata/annotations", json!({"kubevmm.io/vhost-net": vhost}));
    let path = format!("{FOLDER}/{}.yaml", vmm.name());
    fs::write(&path, serde_json::to_vec_pretty(&manifest.0)?).doing("writing a manifest")?;
    let mut command = Command::new(Path::new(PAYLOAD).join("kubevmm"));
    command.args(["run", &path, "--tap", &format!("lan={TAP}"), "--console", "stdio"]);
    command.args(["--runtime-dir", &format!("{FOLDER}/run-{}", vmm.name())]);
    Ok(command)
}

/// QEMU; the guest is as kubevmm's is.
fn qemu(vhost: &str) -> Command {
    let mut command = peers::qemu(&kernel_args());
    let netdev = format!("tap,id=lan,ifname={TAP},script=no,downscript=no,vhost={vhost}");
    command.args(["-netdev", &netdev, "-device", &format!("virtio-net-pci,netdev=lan,mac={MAC},romfile=")]);
    command
}

fn cloud_hypervisor() -> Command {
    let mut command = Command::new(format!("{}/cloud-hypervisor", peers::FOLDER));
    command.args(["--kernel", &peers::boot_file("vmlinux"), "--initramfs", &peers::boot_file("initrd.img")]);
    command.args(["--cmdline", &kernel_args(), "--cpus", "boot=1", "--memory", "size=256M"]);
    command.args(["--net", &format!("tap={TAP},mac={MAC}"), "--serial", "tty", "--console", "off"]);
    command
}
