//! The test host: what it is made of, and running it.

mod lines;
mod monitor;
pub(crate) mod tools;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tests::host::EXIT_PORT;
use tests::host::orders::Orders;
use tests::verdict::Line;

use crate::cargo::Programs;
use crate::cpio::Archive;
use crate::debian::{self, With};
use crate::error::{Doing, Error, Result};
use crate::guest_image::{self, GuestImage, add_busybox, file_system};
use crate::kernel::Kernel;
use crate::process;
use crate::qemu::Qemu;
use crate::store::{Fingerprint, Store, empty_folder, place, place_tree};
use lines::Lines;
use monitor::Monitor;
use tools::Tools;

/// What the test host's kernel needs beyond what is built in.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "kvm-amd",
    "tun",
    "veth",
    "bridge",
    "macvtap",
    "dummy",
    "vhost_net",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "loop",
];

/// What the test host's kernel is told.
const KERNEL_ARGS: &str = "console=ttyS0 panic=-1 mitigations=off quiet";
/// When a start of the test host is given up; it takes a few seconds.
const START_LIMIT: Duration = Duration::from_secs(90);
/// How often the test host is started before that is called a failure.
const ATTEMPTS: usize = 3;

/// Everything that a run of the test host needs.
#[derive(Debug)]
pub(crate) struct Host {
    qemu: Qemu,
    vmlinuz: PathBuf,
    initramfs: PathBuf,
    payload: PathBuf,
    dir: PathBuf,
}

/// What a run is for.
#[derive(Debug, Clone)]
pub(crate) struct Boot {
    /// What the host does.
    pub(crate) orders: Orders,
    /// Whether its console is this process's terminal (else a file).
    pub(crate) terminal: bool,
    /// Count instructions instead of time.
    pub(crate) counting: bool,
    /// Memory in MiB.
    pub(crate) memory: u64,
    /// When it is given up.
    pub(crate) limit: Duration,
    /// How long it may be silent before it is taken for broken, if it never is for long.
    pub(crate) silence: Option<Duration>,
    /// Further disks, each as an argument of QEMU's `-drive`.
    pub(crate) drives: Vec<String>,
}

impl Boot {
    /// When a start that says nothing is given up. Where instructions are counted, the machine may be busy.
    fn start_limit(&self) -> Duration {
        if self.counting { START_LIMIT.saturating_mul(10) } else { START_LIMIT }
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The first process of the host did all it was told and returned this.
    Whole(i32),
    /// The host went down before, or it hung.
    Broken,
}

/// What comes out of Debian's archive.
#[derive(Debug)]
pub(crate) struct Parts {
    qemu: Qemu,
    kernel: Kernel,
    busybox: PathBuf,
    tools: Tools,
}

impl Parts {
    /// Fetches what is not there yet. An error means that this machine cannot have a test host.
    pub(crate) fn gather(store: &Store) -> Result<Self> {
        process::need("mkfs.ext4", "e2fsprogs")?;
        process::need("tar", "tar")?;
        let qemu = Qemu::find(store)?;
        let kernel = Kernel::unpack(store)?;
        let busybox = debian::unpack(store, "busybox-static", With::Nothing)?.root.join("bin/busybox");
        let tools = Tools::gather(store)?;
        Ok(Self { qemu, kernel, busybox, tools })
    }
}

impl Host {
    /// Puts the test host together.
    pub(crate) fn assemble(store: &Store, parts: Parts, programs: &Programs) -> Result<Self> {
        let guest = guest_image::prepare(store, &parts.kernel, programs)?;
        Ok(Self {
            initramfs: initramfs(store, &parts, programs)?,
            payload: payload(store, &programs.kubevmm, &guest, &parts.tools)?,
            vmlinuz: parts.kernel.vmlinuz,
            qemu: parts.qemu,
            dir: store.path("host"),
        })
    }

    /// Both steps at once.
    pub(crate) fn prepare(store: &Store, programs: &Programs) -> Result<Self> {
        Self::assemble(store, Parts::gather(store)?, programs)
    }

    /// Where the console's log and the results disk are.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Boots the host, hands its lines to `sink` as they come, and waits for its end.
    ///
    /// Now and then QEMU's software CPU hangs before the kernel says anything; then it is started again.
    pub(crate) fn run(&self, boot: &Boot, mut sink: impl FnMut(Line)) -> Result<Ended> {
        for _ in 0..ATTEMPTS {
            if let Some(ended) = self.attempt(boot, &mut sink)? {
                return Ok(ended);
            }
            eprintln!("the test host did not come up within {:?}: starting it again", boot.start_limit());
        }
        Err(Error(format!("the test host does not come up; {}", self.where_console())))
    }

    /// One start: nothing if the host did not come up.
    fn attempt(&self, boot: &Boot, sink: &mut impl FnMut(Line)) -> Result<Option<Ended>> {
        let (lines, results) = (self.file("lines.json"), self.file("results.raw"));
        File::create(&lines).doing("creating a file for results")?;
        fs::write(self.file("orders.raw"), boot.orders.to_disk().map_err(|failure| failure.0)?)
            .doing("writing the orders")?;
        let disk = File::create(&results).doing("creating the results disk")?;
        disk.set_len(1 << 30).doing("sizing the results disk")?;
        self.keep_logs();
        let mut command = self.command(boot, &lines, &results);
        // The terminal is the host's console.
        let monitor =
            (!boot.terminal).then(|| Monitor::attach(&mut command, &self.file("monitor.log"))).transpose()?;
        let mut child = command.spawn().doing("starting QEMU")?;
        let mut reader = Lines::new(&lines)?;
        let started = Instant::now();
        let mut heard = started;
        let status = loop {
            let ended = child.try_wait().doing("waiting for QEMU")?;
            reader.pass_on(&mut |line| {
                heard = Instant::now();
                sink(line);
            })?;
            if let Some(status) = ended {
                break status;
            }
            if !reader.begun() && started.elapsed() > boot.start_limit() {
                stop(&mut child);
                return Ok(None);
            }
            // Where time is counted, nobody knows how long a case takes here.
            if (!boot.counting && reader.is_overdue())
                || boot.silence.is_some_and(|longest| heard.elapsed() > longest)
            {
                println!("the test host says nothing any more: it is stopped");
                if let Some(monitor) = &monitor {
                    println!("{}", monitor.ask(&mut child));
                }
                stop(&mut child);
                return Ok(Some(Ended::Broken));
            }
            if started.elapsed() > boot.limit {
                stop(&mut child);
                return Err(Error(format!(
                    "the test host did not end within {:?}; {}",
                    boot.limit,
                    self.where_console()
                )));
            }
            thread::sleep(Duration::from_millis(50));
        };
        // `isa-debug-exit` makes 2n + 1 of n.
        let status = status.code().filter(|code| code % 2 == 1).map(|code| code / 2);
        Ok(Some(status.filter(|_| reader.ended()).map_or(Ended::Broken, Ended::Whole)))
    }

    /// Keeps what the start before wrote, for those who want to know why there is another.
    fn keep_logs(&self) {
        for log in ["console.log", "qemu.log", "monitor.log"] {
            // The first start has none.
            let _ = fs::rename(self.file(log), self.file(&format!("{log}.old")));
        }
    }

    /// Where to look when the host went wrong.
    pub(crate) fn where_console(&self) -> String {
        format!("its console is in {}", self.file("console.log").display())
    }

    fn command(&self, boot: &Boot, lines: &Path, results: &Path) -> Command {
        let mut command = self.qemu.command();
        // One processor: with two, both now and then stick for ever at the same instruction of an interrupt's entry,
        // and a host that has two processors of its own runs the cases no faster.
        command.args(["-accel", "tcg,tb-size=1024", "-smp", "1"]);
        if boot.counting {
            command.args(["-icount", "shift=0,sleep=off"]);
        }
        command.args([
            "-machine",
            "q35",
            "-cpu",
            "EPYC-v1,+svm,+npt",
            "-nodefaults",
            "-display",
            "none",
            "-no-reboot",
        ]);
        command.args(["-m", &boot.memory.to_string()]);
        command
            .arg("-kernel")
            .arg(&self.vmlinuz)
            .arg("-initrd")
            .arg(&self.initramfs)
            .args(["-append", KERNEL_ARGS]);
        let console = if boot.terminal {
            command.stdin(Stdio::inherit());
            "stdio,id=console,signal=off".to_owned()
        } else {
            format!("file,id=console,path={}", self.file("console.log").display())
        };
        command.args(["-chardev", &console, "-serial", "chardev:console"]);
        command.args(["-serial", &format!("file:{}", lines.display())]);
        let orders = self.file("orders.raw");
        let disks =
            [(self.payload.as_path(), ",readonly=on"), (results, ",cache=unsafe"), (&orders, ",readonly=on")];
        for (file, more) in disks {
            command.args(["-drive", &format!("file={},format=raw,if=virtio{more}", file.display())]);
        }
        for drive in &boot.drives {
            command.args(["-drive", drive]);
        }
        if let Ok(log) = File::create(self.file("qemu.log")) {
            // QEMU names the processor features it lacks, which nobody needs to read each time.
            command.stderr(log);
        }
        command.args(["-device", &format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=2")]);
        command
    }

    /// Unpacks what cases have sent out into a folder for each.
    pub(crate) fn take_results(&self, into: &Path) -> Result<()> {
        let mut command = Command::new("tar");
        command
            .args(["--extract", "--ignore-zeros", "--file"])
            .arg(self.file("results.raw"))
            .arg("--directory")
            .arg(into);
        process::output(&mut command).map(drop)
    }
}

fn stop(child: &mut Child) {
    // It may end by itself just now, which is as good.
    let _ = child.kill();
    let _ = child.wait();
}

fn initramfs(store: &Store, parts: &Parts, programs: &Programs) -> Result<PathBuf> {
    let Parts { kernel, busybox, .. } = parts;
    let inputs = Fingerprint::new("host 2").file(busybox).file(&kernel.vmlinuz).file(&programs.runner);
    let folder = store.folder("host-initramfs", &inputs.text(&MODULES.join(" ")), |folder| {
        let mut archive = Archive::default();
        archive.copy("init", &programs.runner)?;
        add_busybox(&mut archive, busybox)?;
        tools::add_links(&mut archive);
        kernel.add_modules(&mut archive, MODULES)?;
        fs::write(folder.join("initrd.img"), archive.finish()).doing("writing the test host's initramfs")
    })?;
    fs::create_dir_all(store.path("host")).doing("making the test host's folder")?;
    Ok(folder.join("initrd.img"))
}

/// The disk with the program under test, the guest, the examples and the tools.
fn payload(store: &Store, kubevmm: &Path, guest: &GuestImage, tools: &Tools) -> Result<PathBuf> {
    let examples = store.root.join("resources/examples");
    let inputs =
        Fingerprint::new("payload 3").file(kubevmm).file(&guest.rootfs).file(&guest.layout).file(&examples);
    let inputs = tools.fingerprint(inputs);
    let folder = store.folder("payload", &inputs, |folder| {
        let content = store.path("payload-content");
        empty_folder(&content)?;
        place(kubevmm, &content.join("kubevmm"))?;
        place_tree(&guest.rootfs, &content.join("guest"))?;
        tools.place(&content)?;
        // As in the workspace, so that the examples' relative references hold.
        place_tree(&guest.layout, &content.join("target/kubevmm/images/hello"))?;
        place_tree(&examples, &content.join("resources/examples"))?;
        let bytes = size(&content).saturating_mul(11) / 10 + (16 << 20);
        file_system(&content, &folder.join("payload.raw"), bytes.next_multiple_of(1 << 20), "payload")?;
        fs::remove_dir_all(content).doing("removing a folder")
    })?;
    Ok(folder.join("payload.raw"))
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.fold(0, u64::saturating_add)
}

/// Memory of this machine that is free to use, in MiB.
pub(crate) fn available_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or_default();
    line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap_or(0) / 1024
}
