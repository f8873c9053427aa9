//! The guest: Debian's kernel, a small initramfs, a small disk; as a folder and as an OCI image layout.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use image::oci::{LayerPacking, LayoutFile, write_layout};

use crate::cargo::Programs;
use crate::cpio::Archive;
use crate::debian::{self, With};
use crate::error::{Doing, Result};
use crate::host::tools::libraries;
use crate::kernel::Kernel;
use crate::process;
use crate::store::{Fingerprint, Store, empty_folder, place};

/// What the guest's devices need.
const MODULES: &[&str] = &[
    "virtio_pci",
    "virtio_blk",
    "virtio_net",
    "virtio_console",
    "virtio-rng",
    "virtio_balloon",
    "qemu_fw_cfg",
    "pvpanic-mmio",
    "pvpanic-pci",
    "button",
    "evdev",
    "isofs",
];

/// The shell's start-up file: `poweroff` and `reboot` without an init that would have to be asked.
const PROFILE: &str =
    "alias poweroff='poweroff -f' reboot='reboot -f' halt='poweroff -f'\nexport PS1='\\h:\\w\\$ '\n";

/// First process of a guest without modules: for little memory, and for measuring. The kernel
/// passes a word such as `hold=1` of its command line on as a variable.
const SMALL_INIT: &str = "#!/bin/busybox sh\necho kubevmm small guest has reached user space\n\
    [ -z \"$hold\" ] || exec /bin/busybox sleep 10000\nexec /bin/busybox poweroff -f\n";

/// What the guest with Debian's agent does in place of answering on the port: it gets a disk, if it has one, and a network,
/// and starts the agent for as long as it runs.
const AGENT_SERVICE: &str = "#!/bin/sh\n\
    export PATH=/bin:/sbin\n\
    hostname agent-guest\n\
    mkdir -p /dev/virtio-ports /mnt\n\
    for port in /sys/class/virtio-ports/*; do\n\
    \x20 ln -s /dev/${port##*/} /dev/virtio-ports/$(cat $port/name)\n\
    done\n\
    [ ! -b /dev/vda ] || mount -t ext4 /dev/vda /mnt\n\
    [ -z \"$address\" ] || { ip link set eth0 up; ip addr add $address dev eth0; }\n\
    [ -z \"$late\" ] || sleep $late\n\
    while true; do\n\
    \x20 qemu-ga -m virtio-serial -p /dev/virtio-ports/org.qemu.guest_agent.0 -t /run -f /run/qga.pid\n\
    \x20 sleep 1\n\
    done\n";
/// The agent ends a guest by this program.
const SHUTDOWN: &str = "#!/bin/sh\ncase \"$2\" in\n-r) reboot -f;;\n*) poweroff -f;;\nesac\n";
/// It sets passwords by this one, which busybox lacks here: NAME:PASSWORD a line, encrypted already with -e.
const CHPASSWD: &str = "#!/bin/sh\n\
    while IFS=: read -r name password; do\n\
    \x20 [ \"$1\" = -e ] || password=$(mkpasswd -m sha512 \"$password\")\n\
    \x20 sed -i \"s|^$name:[^:]*:|$name:$password:|\" /etc/shadow || exit 1\n\
    done\n";
/// Who is there in the guest with Debian's agent.
const USERS: [(&str, &str); 4] = [
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\ndebian:x:1000:1000::/home/debian:/bin/sh\n"),
    ("etc/group", "root:x:0:\ndebian:x:1000:\n"),
    ("etc/shadow", "root:*:19000:0:99999:7:::\ndebian:*:19000:0:99999:7:::\n"),
    (
        "etc/os-release",
        "PRETTY_NAME=\"Test guest\"\nNAME=\"Test\"\nVERSION_ID=\"1\"\nVERSION=\"1 (one)\"\nID=test\n",
    ),
];

/// A disk for guests at work: a file system with a journal, and in it a C compiler with the libraries that it needs.
const WORK_DISK: &str = "disk/work.img";
/// Its size.
const WORK_SIZE: u64 = 48 << 20;

/// The OCI image layout that the examples name, in the store.
const LAYOUT: &str = "images/hello";
/// What is packed into it.
const PACKED: [&str; 3] = ["boot/vmlinuz", "boot/initrd.img", "disk/disk.img"];

/// A prepared guest.
#[derive(Debug)]
pub(crate) struct GuestImage {
    /// The image's root file system as a folder: `boot/…`, `disk/disk.img`.
    pub(crate) rootfs: PathBuf,
    /// The same as an OCI image layout.
    pub(crate) layout: PathBuf,
}

/// Makes the guest unless it is there already.
pub(crate) fn prepare(store: &Store, kernel: &Kernel, programs: &Programs) -> Result<GuestImage> {
    let busybox = debian::unpack(store, "busybox-static", With::Nothing)?.root.join("bin/busybox");
    let agent = debian::unpack(store, "qemu-guest-agent", With::Dependencies)?.root;
    let compiler = debian::unpack(store, "tcc", With::Dependencies)?.root;
    let inputs = Fingerprint::new("guest 5")
        .file(&compiler)
        .text(AGENT_SERVICE)
        .text(SHUTDOWN)
        .text(CHPASSWD)
        .file(&busybox)
        .file(&kernel.vmlinuz)
        .file(&programs.guest);
    let inputs = inputs.text(PROFILE).text(SMALL_INIT).text(&MODULES.join(" "));
    let rootfs = store.folder("guest", &inputs, |folder| {
        place(&kernel.vmlinuz, &folder.join("boot/vmlinuz"))?;
        place(&kernel.vmlinux, &folder.join("boot/vmlinux"))?;
        write(&folder.join("boot/initrd.img"), &initramfs(kernel, programs, &busybox)?)?;
        write(&folder.join("boot/initrd-small.img"), &small_initramfs(&busybox)?)?;
        write(&folder.join("boot/initrd-agent.img"), &agent_initramfs(kernel, programs, &busybox, &agent)?)?;
        root_disk(store, &folder.join("disk/disk.img"))?;
        work_disk(store, &compiler, &folder.join(WORK_DISK))
    })?;
    let layout = store.folder(LAYOUT, &Fingerprint::new("layout 2").file(&rootfs), |folder| {
        let sources = PACKED.map(|path| rootfs.join(path));
        let files: Vec<LayoutFile<'_>> = PACKED
            .iter()
            .zip(&sources)
            .map(|(path, source)| LayoutFile { path, source, mode: 0o644 })
            .collect();
        write_layout(folder, "latest", &files, LayerPacking::Tar).doing("packing the guest image")
    })?;
    Ok(GuestImage { rootfs, layout })
}

fn small_initramfs(busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    archive.copy("bin/busybox", busybox)?;
    archive.file("init", SMALL_INIT.as_bytes());
    Ok(archive.finish())
}

/// The usual guest with Debian's qemu-guest-agent in place of the tests' own.
fn agent_initramfs(kernel: &Kernel, programs: &Programs, busybox: &Path, agent: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    fill(&mut archive, kernel, programs, busybox)?;
    let program = agent.join("usr/sbin/qemu-ga");
    archive.copy("bin/qemu-ga", &program)?;
    for library in libraries(agent, &program)? {
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        let folder = if name.starts_with("ld-linux") { "lib64" } else { "lib/x86_64-linux-gnu" };
        archive.copy(&format!("{folder}/{name}"), &library)?;
    }
    archive.file("etc/agent", AGENT_SERVICE.as_bytes());
    archive.file("sbin/shutdown", SHUTDOWN.as_bytes());
    archive.file("sbin/chpasswd", CHPASSWD.as_bytes());
    for (path, content) in USERS {
        archive.file(path, content.as_bytes());
    }
    archive.folder("root");
    archive.folder("home/debian");
    Ok(archive.finish())
}

fn initramfs(kernel: &Kernel, programs: &Programs, busybox: &Path) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    fill(&mut archive, kernel, programs, busybox)?;
    Ok(archive.finish())
}

fn fill(archive: &mut Archive, kernel: &Kernel, programs: &Programs, busybox: &Path) -> Result<()> {
    archive.copy("init", &programs.guest)?;
    add_busybox(archive, busybox)?;
    archive.file("etc/profile", PROFILE.as_bytes());
    kernel.add_modules(archive, MODULES)
}

/// Busybox and a link for each of its applets.
pub(crate) fn add_busybox(archive: &mut Archive, busybox: &Path) -> Result<()> {
    archive.copy("bin/busybox", busybox)?;
    for applet in
        process::output(Command::new(busybox).arg("--list"))?.lines().filter(|applet| *applet != "busybox")
    {
        archive.link(&format!("bin/{applet}"), "busybox");
    }
    Ok(())
}

/// A disk of 2 MiB with an ext4 file system that says what it is.
fn root_disk(store: &Store, path: &Path) -> Result<()> {
    let content = store.path("root-disk");
    empty_folder(&content)?;
    fs::write(content.join("README"), "The containerDisk of kubevmm's example guest.\n")
        .doing("writing a file")?;
    file_system(&content, path, 2 << 20, "hello")?;
    fs::remove_dir_all(content).doing("removing a folder")
}

fn work_disk(store: &Store, compiler: &Path, path: &Path) -> Result<()> {
    let (content, program) = (store.path("work-disk"), compiler.join("usr/bin/tcc"));
    empty_folder(&content)?;
    for file in libraries(compiler, &program)?.iter().chain([&program]) {
        let name = file.file_name().ok_or("a file without a name")?;
        // Not a link that leads elsewhere.
        let file = file.canonicalize().doing(format_args!("finding {}", file.display()))?;
        place(&file, &content.join("tools").join(name))?;
    }
    let file = fs::File::create(path).doing(format_args!("creating {}", path.display()))?;
    file.set_len(WORK_SIZE).doing("sizing a disk image")?;
    let mut command = Command::new(process::need("mkfs.ext4", "e2fsprogs")?);
    command.args(["-q", "-F", "-b", "4096", "-J", "size=4", "-E", "root_owner=0:0", "-d"]);
    process::output(command.arg(&content).arg(path))?;
    fs::remove_dir_all(content).doing("removing a folder")
}

/// Makes a disk image with an ext4 file system that holds what is in `content`.
pub(crate) fn file_system(content: &Path, path: &Path, bytes: u64, label: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).doing("making a folder")?;
    }
    let _ = fs::remove_file(path);
    let file = fs::File::create(path).doing(format_args!("creating {}", path.display()))?;
    file.set_len(bytes).doing("sizing a disk image")?;
    let mut command = Command::new(process::need("mkfs.ext4", "e2fsprogs")?);
    command.args(["-q", "-F", "-m", "0", "-O", "^has_journal", "-E", "root_owner=0:0", "-L", label, "-d"]);
    process::output(command.arg(content).arg(path)).map(drop)
}

fn write(path: &Path, data: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).doing("making a folder")?;
    }
    fs::write(path, data).doing(format_args!("writing {}", path.display()))
}
