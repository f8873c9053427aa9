//! The disk with other VMMs that benchmarks in the test host start beside kubevmm.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::debian::{self, With};
use crate::error::{Doing, Error, Result};
use crate::guest_image::file_system;
use crate::process;
use crate::store::{Fingerprint, Store, empty_folder, place};

/// What QEMU reads besides itself to boot a kernel on a q35 machine.
const FIRMWARE: [&str; 4] = ["bios-256k.bin", "kvmvapic.bin", "linuxboot_dma.bin", "pvh.bin"];

/// The disk with the other VMMs.
pub(crate) fn disk(store: &Store, cloud_hypervisor: Option<&Path>) -> Result<PathBuf> {
    let tree = debian::unpack(store, "qemu-system-x86", With::Dependencies)?.root;
    let qemu = tree.join("usr/bin/qemu-system-x86_64");
    let mut inputs = Fingerprint::new("peers 2").file(&qemu).text(&FIRMWARE.join(" "));
    if let Some(path) = cloud_hypervisor {
        inputs = inputs.file(path);
    }
    let folder = store.folder("peers", &inputs, |folder| {
        let content = store.path("peers-content");
        empty_folder(&content)?;
        place_qemu(&tree, &qemu, &content.join("qemu"))?;
        if let Some(path) = cloud_hypervisor {
            place(path, &content.join("cloud-hypervisor"))?;
        }
        file_system(&content, &folder.join("peers.raw"), 256 << 20, "peers")?;
        fs::remove_dir_all(content).doing("removing a folder")
    })?;
    Ok(folder.join("peers.raw"))
}

/// QEMU, the libraries that it needs, and its firmware.
fn place_qemu(tree: &Path, qemu: &Path, into: &Path) -> Result<()> {
    place(qemu, &into.join("qemu-system-x86_64"))?;
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| tree.join(folder));
    let path = std::env::join_paths(&folders).map_err(|error| error.to_string())?;
    let text = process::output(Command::new("ldd").env("LD_LIBRARY_PATH", path).arg(qemu))?;
    for library in libraries(&text) {
        let name = library.file_name().ok_or("a library has no name")?.to_owned();
        // Links are followed: what they lead to may not be where they say on the disk.
        let library = fs::canonicalize(&library).doing("looking at a library")?;
        place(&library, &into.join("lib").join(name))?;
    }
    for name in FIRMWARE {
        let found = ["usr/share/qemu", "usr/share/seabios"].map(|folder| tree.join(folder).join(name));
        let found = found.iter().find(|path| path.is_file());
        place(found.ok_or_else(|| Error(format!("QEMU has no {name}")))?, &into.join("share").join(name))?;
    }
    Ok(())
}

/// The files that `ldd` names.
fn libraries(text: &str) -> Vec<PathBuf> {
    let path = |line: &str| {
        let line = line.rsplit("=>").next()?.trim();
        let path = line.split(" (").next()?;
        path.starts_with('/').then(|| PathBuf::from(path))
    };
    text.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_in_what_ldd_says() {
        let text = "\tlinux-vdso.so.1 (0x1)\n\tliba.so => /x/liba.so (0x2)\n\t/lib64/ld-linux.so.2 (0x3)\n";
        assert_eq!(libraries(text), [Path::new("/x/liba.so"), Path::new("/lib64/ld-linux.so.2")]);
    }
}
