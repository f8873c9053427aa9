//! `cargo xtask test cloud`: Debian with systemd and cloud-init as the guest, on a disk that is made once.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use ::tests::host::DEBIAN_INITRD;
use ::tests::host::orders::{Orders, Selection};

use crate::cargo::{Programs, Subject};
use crate::cpio::Archive;
use crate::debian::{self, With};
use crate::error::{Doing, Error, Result};
use crate::guest_image::{add_busybox, file_system};
use crate::host::{Boot, Host, Parts};
use crate::kernel::Kernel;
use crate::process;
use crate::store::{Fingerprint, Store, empty_folder};
use crate::test::{self, COUNTING_LIMIT};

/// What Debian consists of. cloud-init needs python3-cffi-backend, which debootstrap does not find by itself.
const PACKAGES: &str =
    "systemd,systemd-sysv,udev,kmod,dbus,iproute2,cloud-init,python3-cffi-backend,fio,e2fsprogs";
/// Where packages come from if the host's own sources do not say.
const MIRROR: &str = "http://deb.debian.org/debian";
/// Size of the guest's disk; most of it is a hole.
const DISK: u64 = 3 << 30;
/// Size of the disk for work; all of it is a hole at first.
const WORK: u64 = 8 << 30;
/// Memory of the test host in MiB: the guest has 768.
const MEMORY: u64 = 2560;

/// What the guest's initramfs needs to find the disk.
const MODULES: &[&str] = &["virtio_pci", "virtio_blk"];

const INIT: &str = "#!/bin/busybox sh
busybox mkdir -p /proc /sys /dev /root
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
while read module; do busybox insmod $module; done < /lib/modules/order
until disk=$(busybox findfs LABEL=debian); do busybox sleep 0.1; done
busybox mount -t ext4 $disk /root && exec busybox switch_root /root /sbin/init
echo the disk with Debian cannot be mounted
exec busybox sh
";

const CLOUD_CONFIG: &str = "datasource_list: [NoCloud, ConfigDrive, None]
system_info:
  network:
    renderers: [networkd]
locale: false
";

/// The tests' program, as a service.
const SERVICE: &str = "[Unit]
Description=Answers the tests
[Service]
ExecStart=/usr/local/bin/kubevmm-guest
Restart=always
[Install]
WantedBy=multi-user.target
";

/// Services that only cost time in a guest that lives for minutes.
const MASKED: [&str; 7] = [
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "systemd-timesyncd.service",
];

/// Boots Debian and sees that cloud-init does what it is told.
pub(crate) fn run(store: &Store) -> Result<ExitCode> {
    let host = LongHost::with_debian(store, &Subject::Release)?;
    let totals = host.cases(store, "cloud-debian", 0, Duration::from_secs(75 * 60))?;
    println!("{totals}");
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The test host, for long cases.
pub(crate) struct LongHost {
    host: Host,
    drives: Vec<String>,
    counting: bool,
}

impl LongHost {
    /// Without further disks.
    pub(crate) fn plain(store: &Store, subject: &Subject) -> Result<Self> {
        let programs = Programs::build(store, subject)?;
        Ok(Self { host: Host::prepare(store, &programs)?, drives: Vec::new(), counting: false })
    }

    /// With a disk for work and one with Debian on it, which is made if it is not there yet. An error says what this
    /// machine lacks.
    pub(crate) fn with_debian(store: &Store, subject: &Subject) -> Result<Self> {
        let programs = Programs::build(store, subject)?;
        let parts = Parts::gather(store)?;
        let kernel = Kernel::unpack(store)?;
        let drive = |file: &Path, more: &str| format!("file={},format=raw,if=virtio{more}", file.display());
        let drives = vec![
            drive(&make_work_disk(store, &kernel)?, ",cache=unsafe"),
            drive(&disk(store, &kernel, &programs)?, ",snapshot=on"),
        ];
        Ok(Self { host: Host::assemble(store, parts, &programs)?, drives, counting: false })
    }

    /// The same with a clock that counts instructions, so that nothing fails because the machine is busy.
    pub(crate) fn counting(mut self) -> Self {
        self.counting = true;
        self
    }

    /// The same with a further disk, which is only read.
    pub(crate) fn and_disk(mut self, file: &Path) -> Self {
        self.drives.push(format!("file={},format=raw,if=virtio,readonly=on", file.display()));
        self
    }

    /// Runs long cases.
    pub(crate) fn cases(
        &self,
        store: &Store,
        filter: &str,
        minutes: u64,
        limit: Duration,
    ) -> Result<::tests::verdict::Totals> {
        let results = store.path("results");
        empty_folder(&results)?;
        let selection = Selection {
            filter: filter.to_owned(),
            jobs: 1,
            keep: true,
            long: true,
            minutes,
            ..Selection::default()
        };
        let boot = Boot {
            orders: Orders::Test(selection.clone()),
            terminal: false,
            counting: self.counting,
            memory: MEMORY,
            limit: if self.counting { limit.max(COUNTING_LIMIT) } else { limit },
            silence: None,
            drives: self.drives.clone(),
        };
        let tally = test::in_host(&self.host, boot, selection, &results)?;
        println!("logs are in {}", results.display());
        Ok(tally.totals)
    }
}

/// The disk with Debian on it.
fn disk(store: &Store, kernel: &Kernel, programs: &Programs) -> Result<PathBuf> {
    let base = base(store)?;
    let busybox = busybox(store)?;
    let inputs = Fingerprint::new("debian disk 1").file(&kernel.vmlinuz).file(&programs.guest).file(&busybox);
    let inputs = inputs.file(&base.join("etc/os-release")).text(CLOUD_CONFIG).text(SERVICE);
    let folder = store.folder("debian-disk", &inputs.text(&MASKED.join(" ")), |folder| {
        furnish(&base, kernel, programs, &busybox)?;
        file_system(&base, &folder.join("disk.raw"), DISK, "debian")
    })?;
    Ok(folder.join("disk.raw"))
}

fn busybox(store: &Store) -> Result<PathBuf> {
    Ok(debian::unpack(store, "busybox-static", With::Nothing)?.root.join("bin/busybox"))
}

/// Debian as debootstrap makes it.
fn base(store: &Store) -> Result<PathBuf> {
    if !process::is_root() {
        return Err("debootstrap needs root: run this as root".into());
    }
    let tool = debian::unpack(store, "debootstrap", With::Nothing)?.root;
    let release = fs::read_to_string("/etc/os-release").doing("reading /etc/os-release")?;
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.unwrap_or("bookworm");
    let inputs = Fingerprint::new("debian base 1").text(PACKAGES).text(suite);
    store.folder("debian-base", &inputs, |folder| {
        eprintln!("making Debian's root file system with debootstrap: this takes some minutes");
        let log = fs::File::create(store.path("debootstrap.log")).doing("creating a log")?;
        let status = Command::new("sh")
            .env("DEBOOTSTRAP_DIR", tool.join("usr/share/debootstrap"))
            .arg(tool.join("usr/sbin/debootstrap"))
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), suite])
            .arg(folder)
            .arg(MIRROR)
            .stdout(log)
            .status()
            .doing("starting debootstrap")?;
        if !status.success() {
            let log = store.path("debootstrap.log");
            return Err(Error(format!("debootstrap ended with {status}; its log is {}", log.display())));
        }
        Ok(())
    })
}

/// Adds what makes it a test's guest; what is there already is replaced.
fn furnish(root: &Path, kernel: &Kernel, programs: &Programs, busybox: &Path) -> Result<()> {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap_or(root)).doing("making a folder")?;
        fs::write(&path, text).doing(format_args!("writing {}", path.display()))
    };
    let program = |from: &Path, to: &str| {
        fs::copy(from, root.join(to)).doing(format_args!("copying {}", from.display()))?;
        fs::set_permissions(root.join(to), fs::Permissions::from_mode(0o755)).doing("setting a mode")
    };
    program(&programs.guest, "usr/local/bin/kubevmm-guest")?;
    program(busybox, "bin/busybox")?;
    write("etc/fstab", "LABEL=debian / ext4 defaults 0 1\n")?;
    write("etc/cloud/cloud.cfg.d/90-kubevmm.cfg", CLOUD_CONFIG)?;
    write("etc/systemd/system/kubevmm-guest.service", SERVICE)?;
    for service in MASKED {
        let link = root.join("etc/systemd/system").join(service);
        let _ = fs::remove_file(&link);
        symlink("/dev/null", &link).doing("masking a service")?;
    }
    let modules = root.join("lib/modules");
    let _ = fs::remove_dir_all(&modules);
    fs::create_dir_all(&modules).doing("making a folder")?;
    process::output(Command::new("cp").arg("-r").arg(&kernel.modules_folder).arg(&modules))?;
    process::output(Command::new("chroot").arg(root).arg("depmod").arg(kernel.release()))?;
    let enable = ["systemctl", "enable", "kubevmm-guest", "systemd-networkd"];
    process::output(Command::new("chroot").arg(root).args(enable)).map(drop)
}

/// Where the disk for work is.
pub(crate) fn work_disk(store: &Store) -> PathBuf {
    store.path("debian-work.raw")
}

/// A fresh disk for work, with the guest's initramfs on it.
fn make_work_disk(store: &Store, kernel: &Kernel) -> Result<PathBuf> {
    let content = store.path("debian-work");
    empty_folder(&content)?;
    let mut archive = Archive::default();
    archive.file("init", INIT.as_bytes());
    add_busybox(&mut archive, &busybox(store)?)?;
    kernel.add_modules(&mut archive, MODULES)?;
    fs::write(content.join(DEBIAN_INITRD), archive.finish()).doing("writing the guest's initramfs")?;
    let disk = work_disk(store);
    file_system(&content, &disk, WORK, "work")?;
    fs::remove_dir_all(content).doing("removing a folder")?;
    Ok(disk)
}
