//! Packages of the running Debian's archive, unpacked under `target/` without being installed.
//!
//! Neither root nor a change to the host is needed: `apt-get download` fetches, `dpkg -x` unpacks.
//! Libraries that are installed already are taken from the host.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Doing, Error, Result};
use crate::process;
use crate::store::{Store, empty_folder};

/// What a set of packages unpacks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum With {
    /// The package alone.
    Nothing,
    /// All that it needs and that is not installed.
    Dependencies,
}

/// An unpacked package.
#[derive(Debug, Clone)]
pub(crate) struct Tree {
    /// Where `/usr`, `/boot`, … of the package are.
    pub(crate) root: PathBuf,
    /// The package's version.
    pub(crate) version: String,
}

/// Unpacks a package, or returns what was unpacked before.
pub(crate) fn unpack(store: &Store, package: &str, with: With) -> Result<Tree> {
    let stamp = store.path(&format!("debian/{package}.version"));
    let root =
        |version: &str| store.path(&format!("debian/{package}_{}", version.replace([':', '/', '~'], "_")));
    if let Ok(version) = fs::read_to_string(&stamp)
        && root(&version).is_dir()
    {
        return Ok(Tree { root: root(&version), version });
    }
    let version = candidate(package)?;
    let root = root(&version);
    eprintln!("unpacking {package} {version} of this Debian's archive under target/");
    let packages = match with {
        With::Nothing => vec![package.to_owned()],
        With::Dependencies => closure(package)?,
    };
    let part = store.path(&format!("debian/{package}.part"));
    download(&packages, &part.join("debs"))?;
    extract(&part.join("debs"), &part.join("root"))?;
    let _ = fs::remove_dir_all(&root);
    fs::rename(part.join("root"), &root).doing(format_args!("moving {package} into place"))?;
    let _ = fs::remove_dir_all(&part);
    fs::write(&stamp, &version).doing("writing a version stamp")?;
    Ok(Tree { root, version })
}

/// The package that a meta package of the kernel stands for: `linux-image-6.1.0-9-cloud-amd64`.
pub(crate) fn newest_kernel(meta: &str) -> Result<String> {
    candidate(meta)?;
    let depends = process::output(Command::new("apt-cache").args(["depends", meta]))?;
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    name.map(|rest| format!("linux-image-{rest}"))
        .ok_or_else(|| Error(format!("{meta} depends on no kernel")))
}

/// The version that the archive offers; refreshes apt's lists if they are empty and that is allowed.
fn candidate(package: &str) -> Result<String> {
    for tool in ["apt-get", "apt-cache", "dpkg"] {
        if process::find(tool).is_none() {
            return Err(Error(format!(
                "{package} is taken out of Debian's archive, but this host has no {tool}: \
                 run this on Debian 12 or later, or in a Debian container"
            )));
        }
    }
    if let Some(version) = policy(package)? {
        return Ok(version);
    }
    refresh()?;
    policy(package)?.ok_or_else(|| Error(format!("this host's package archives have no {package}")))
}

fn policy(package: &str) -> Result<Option<String>> {
    let text = process::output(Command::new("apt-cache").env("LC_ALL", "C").args(["policy", package]))?;
    let line = text.lines().find_map(|line| line.trim().strip_prefix("Candidate: "));
    Ok(line.filter(|version| *version != "(none)").map(str::to_owned))
}

fn refresh() -> Result<()> {
    if !process::is_root() {
        return Err("apt's package lists are missing or old: run `apt-get update` as root".into());
    }
    eprintln!("refreshing apt's package lists");
    process::output(Command::new("apt-get").args(["-q", "update"])).map(drop)
}

/// The package and all that installing it would bring.
fn closure(package: &str) -> Result<Vec<String>> {
    let mut command = Command::new("apt-get");
    command.env("LC_ALL", "C").args(["install", "--simulate", "--no-install-recommends", package]);
    let text = process::output(&mut command)?;
    let mut packages: Vec<String> = installs(&text);
    if packages.is_empty() {
        packages.push(package.to_owned());
    }
    Ok(packages)
}

/// Names on the `Inst` lines of a simulation.
fn installs(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next()).map(str::to_owned).collect()
}

fn download(packages: &[String], into: &Path) -> Result<()> {
    empty_folder(into)?;
    let fetch =
        || process::output(Command::new("apt-get").current_dir(into).args(["-q", "download"]).args(packages));
    match fetch() {
        Ok(_) => Ok(()),
        // The lists may name versions that the archive has replaced since.
        Err(first) => {
            refresh().and_then(|()| fetch().map(drop)).map_err(|second| Error(format!("{first}\n{second}")))
        }
    }
}

fn extract(debs: &Path, root: &Path) -> Result<()> {
    empty_folder(root)?;
    for deb in fs::read_dir(debs).doing("listing packages")?.flatten() {
        process::output(Command::new("dpkg").arg("-x").arg(deb.path()).arg(root))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::installs;

    #[test]
    fn a_simulation_names_what_it_would_install() {
        let text = "Remv qemu-utils [1]\nInst libfdt1 (1.6 Debian:12 [amd64])\nConf libfdt1 (1.6)\nInst seabios (1)\n";
        assert_eq!(installs(text), ["libfdt1", "seabios"]);
    }
}
