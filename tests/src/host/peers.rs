//! Other VMMs that benchmarks start beside kubevmm, from a disk of their own.

use std::fs;
use std::process::Command;

use guest::sys;

use super::{PAYLOAD, WORK_DISK};
use crate::failure::{Doing, Failure};

/// Where the disk with them is mounted.
pub(super) const FOLDER: &str = "/peers";

/// Mounts the disk.
pub(super) fn mount() -> Result<(), Failure> {
    fs::create_dir_all(FOLDER)?;
    sys::mount(WORK_DISK, FOLDER, "ext4", true).doing("mounting the other VMMs")
}

/// A file of the guest.
pub(super) fn boot_file(name: &str) -> String {
    format!("{PAYLOAD}/guest/boot/{name}")
}

/// QEMU with its own libraries, and a guest of one processor and 256 MiB whose console is standard output.
pub(super) fn qemu(kernel_args: &str) -> Command {
    let (root, lib) = (format!("{FOLDER}/qemu"), format!("{FOLDER}/qemu/lib"));
    let mut command = Command::new(format!("{lib}/ld-linux-x86-64.so.2"));
    command.args([
        "--library-path",
        &lib,
        &format!("{root}/qemu-system-x86_64"),
        "-L",
        &format!("{root}/share"),
    ]);
    command.args(["-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256", "-smp", "1"]);
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio"]);
    command.args(["-kernel", &boot_file("vmlinuz"), "-initrd", &boot_file("initrd.img")]);
    command.args(["-append", kernel_args]);
    command
}
