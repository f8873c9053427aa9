//! Programs of Debian that cases use as peers and judges, with the libraries they need.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cpio::Archive;
use crate::debian::{self, With};
use crate::error::{Error, Result};
use crate::process;
use crate::store::{Fingerprint, Store, place};

/// Packages, and which programs of theirs are taken.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("nftables", &["usr/sbin/nft"]),
    ("iproute2", &["bin/ip", "sbin/bridge", "bin/ss"]),
    ("passt", &["usr/bin/passt"]),
    ("dnsmasq-base", &["usr/sbin/dnsmasq"]),
    ("iperf3", &["usr/bin/iperf3"]),
    ("tcpdump", &["usr/bin/tcpdump"]),
    ("e2fsprogs", &["sbin/e2fsck"]),
];

/// Where they are on the disk with the payload, and libraries beside them.
const PROGRAMS_FOLDER: &str = "tools/bin";
const LIBRARIES_FOLDER: &str = "tools/lib";
/// What the programs ask the kernel to be started by.
const LOADER: &str = "ld-linux-x86-64.so.2";

/// Those who run as somebody else look the name up.
const USERS: &str = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUPS: &str = "root:x:0:\nnobody:x:65534:\nnogroup:x:65534:\n";

/// Files of programs and of libraries.
#[derive(Debug)]
pub(super) struct Tools {
    programs: Vec<PathBuf>,
    libraries: BTreeSet<PathBuf>,
}

impl Tools {
    /// Fetches what is not there yet.
    pub(super) fn gather(store: &Store) -> Result<Self> {
        let mut tools = Self { programs: Vec::new(), libraries: BTreeSet::new() };
        for (package, programs) in PROGRAMS {
            let root = debian::unpack(store, package, With::Dependencies)?.root;
            for program in *programs {
                let program = root.join(program);
                tools.libraries.extend(libraries(&root, &program)?);
                tools.programs.push(program);
            }
        }
        Ok(tools)
    }

    /// Adds to `inputs` what the tools depend on.
    pub(super) fn fingerprint(&self, inputs: Fingerprint) -> Fingerprint {
        self.programs.iter().chain(&self.libraries).fold(inputs, |inputs, file| inputs.file(file))
    }

    /// Puts them into the folder that becomes the disk with the payload.
    pub(super) fn place(&self, content: &Path) -> Result<()> {
        for (files, folder) in [
            (self.programs.iter().collect::<Vec<_>>(), PROGRAMS_FOLDER),
            (self.libraries.iter().collect(), LIBRARIES_FOLDER),
        ] {
            for file in files {
                let name = file.file_name().ok_or("a tool without a name")?;
                place(
                    &file.canonicalize().map_err(|error| Error(error.to_string()))?,
                    &content.join(folder).join(name),
                )?;
            }
        }
        Ok(())
    }
}

/// Makes them found where they look for each other, though they are on a disk that is mounted later.
pub(super) fn add_links(archive: &mut Archive) {
    archive.link("usr/bin", &format!("/payload/{PROGRAMS_FOLDER}"));
    archive.link("lib/x86_64-linux-gnu", &format!("/payload/{LIBRARIES_FOLDER}"));
    archive.link(&format!("lib64/{LOADER}"), &format!("/payload/{LIBRARIES_FOLDER}/{LOADER}"));
    archive.file("etc/passwd", USERS.as_bytes());
    archive.file("etc/group", GROUPS.as_bytes());
}

/// The libraries of a program, from its own tree or from this host.
pub(crate) fn libraries(root: &Path, program: &Path) -> Result<Vec<PathBuf>> {
    let folders = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| root.join(folder));
    let folders = folders.map(|folder| folder.to_string_lossy().into_owned()).join(":");
    let text = process::output(Command::new("ldd").env("LD_LIBRARY_PATH", folders).arg(program))?;
    parse(&text).ok_or_else(|| Error(format!("{} lacks a library: {text}", program.display())))
}

/// The paths that `ldd` names; none if it misses one.
fn parse(text: &str) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let path = line.split_once("=>").map_or(line, |(_, path)| path).trim();
        match path.split(' ').next() {
            Some("not") => return None,
            Some(path) if path.starts_with('/') => found.push(PathBuf::from(path)),
            _ => {}
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_prints_is_understood() {
        let text = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(parse(text).unwrap(), expected);
        assert_eq!(parse("\tlibx.so.1 => not found\n"), None);
    }
}
