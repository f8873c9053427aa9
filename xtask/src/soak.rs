//! `cargo xtask soak`: fio with verification in a guest for half an hour, then machines that are killed while they write, and one
//! that is saved and brought back fifty times.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use ::tests::long::{E2FSCK, FILES_DISK, FILES_IMAGE};

use crate::cargo::Subject;
use crate::cloud::{LongHost, work_disk};
use crate::debian::{self, With};
use crate::error::{Doing, Error, Result};
use crate::guest_image::file_system;
use crate::process;
use crate::store::{Fingerprint, Store, place};

/// Minutes of fio where the command line does not say.
const MINUTES: u64 = 30;
/// What the guest's start and end, and QEMU's breakdowns, may add.
const MORE: Duration = Duration::from_secs(60 * 60);
/// The case that saves a guest and brings it back.
const SNAPSHOTS: &str = "soak-snapshots";
/// The cases that kill.
const KILL: &str = "soak-kill";
/// The one of them that has a file system on its image.
const FILES: &str = "soak-kill-files";
/// Size of that image.
const FILES_SIZE: u64 = 192 << 20;
/// The image that fio has written to, on the disk for work.
const IMAGE: &str = "/soak/disk.qcow2";

/// How long, which of them, and how.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    minutes: u64,
    filter: String,
    /// The test host's clock counts instructions.
    counting: bool,
    subject: Subject,
}

impl Request {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let (filter, subject) = ("soak-".into(), Subject::Release);
        let mut request = Self { minutes: MINUTES, filter, counting: false, subject };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--minutes" => {
                    let number = words.next().and_then(|text| text.parse().ok());
                    let number = number.filter(|minutes| (1..=1200).contains(minutes));
                    request.minutes = number.ok_or("--minutes wants a number from 1 to 1200")?;
                }
                "--counting" => request.counting = true,
                "--dev" => request.subject = Subject::Dev,
                "fio" => request.filter = "soak-fio".into(),
                "snapshots" => request.filter = SNAPSHOTS.into(),
                "kill" => request.filter = KILL.into(),
                "kill-files" => request.filter = FILES.into(),
                other => return Err(Error(format!("soak knows no {other}: see cargo xtask --help"))),
            }
        }
        Ok(request)
    }
}

pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    let is_fio = !request.filter.starts_with(KILL) && request.filter != SNAPSHOTS;
    let subject = &request.subject;
    let host = if is_fio { LongHost::with_debian(store, subject)? } else { LongHost::plain(store, subject)? };
    let mut host = host.and_disk(&files_disk(store)?);
    if request.counting {
        host = host.counting();
    }
    let limit = Duration::from_secs(request.minutes * 60) + MORE;
    let totals = host.cases(store, &request.filter, request.minutes, limit)?;
    println!("{totals}");
    if totals.failed > 0 {
        return Ok(ExitCode::FAILURE);
    }
    if is_fio {
        second_opinion(store)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A disk with an empty file system that has a journal, and the program that checks it.
fn files_disk(store: &Store) -> Result<PathBuf> {
    let package = debian::unpack(store, "e2fsck-static", With::Nothing)?;
    let inputs = Fingerprint::new("files disk 1").text(&package.version);
    let folder = store.folder("files-disk", &inputs, |folder| {
        let content = folder.join("content");
        place(&package.root.join("sbin/e2fsck.static"), &content.join(E2FSCK))?;
        let image = content.join(FILES_IMAGE);
        let file = fs::File::create(&image).doing("creating an image")?;
        file.set_len(FILES_SIZE).doing("sizing an image")?;
        let mut format = Command::new(process::need("mkfs.ext4", "e2fsprogs")?);
        format.args(["-q", "-F", "-b", "4096", "-J", "size=8"]).arg(&image);
        process::output(&mut format)?;
        file_system(&content, &folder.join("disk.raw"), FILES_SIZE + (32 << 20), FILES_DISK)?;
        fs::remove_dir_all(content).doing("removing a folder")
    })?;
    Ok(folder.join("disk.raw"))
}

/// Has QEMU's own tool check the image.
fn second_opinion(store: &Store) -> Result<()> {
    let copy = store.path("soak.qcow2");
    let debugfs = process::need("debugfs", "e2fsprogs")?;
    let order = format!("dump {IMAGE} {}", copy.display());
    process::output(Command::new(debugfs).arg("-R").arg(order).arg(work_disk(store)))?;
    if fs::metadata(&copy).map_or(0, |meta| meta.len()) == 0 {
        return Err("the image could not be taken off the disk for work".into());
    }
    let Some(tool) = process::find("qemu-img") else {
        println!("SKIPPED: qemu-img is not installed and gives no second opinion of {}", copy.display());
        return Ok(());
    };
    let opinion = process::output(Command::new(tool).args(["check", "-f", "qcow2"]).arg(&copy))?;
    println!("qemu-img check: {}", opinion.trim());
    let _ = fs::remove_file(copy);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soak_is_half_an_hour_of_both_unless_told_otherwise() {
        let parse = |words: &[&str]| Request::parse(words);
        let request = |minutes, filter: &str| {
            let (filter, subject) = (filter.to_owned(), Subject::Release);
            Request { minutes, filter, counting: false, subject }
        };
        assert_eq!(parse(&[]).unwrap(), request(30, "soak-"));
        assert_eq!(parse(&["fio", "--minutes", "5"]).unwrap(), request(5, "soak-fio"));
        assert_eq!(
            parse(&["snapshots", "--counting", "--dev"]).unwrap(),
            Request { counting: true, subject: Subject::Dev, ..request(30, SNAPSHOTS) }
        );
        assert_eq!(parse(&["kill-files"]).unwrap().filter, "soak-kill-files");
        assert_eq!(parse(&["snapshots"]).unwrap().filter, "soak-snapshots");
        for bad in [&["--minutes"][..], &["--minutes", "0"], &["x"]] {
            assert!(parse(bad).is_err());
        }
    }
}
