//! `cargo xtask soak migrate` and `soak snapshot-faults`: migrations and snapshots in which something goes wrong, in hundreds, on this
//! machine's KVM.

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use crate::cargo::{Programs, Subject};
use crate::error::{Doing, Error, Result};
use crate::kvm::{self, Kvm};
use crate::store::{Store, empty_folder};

/// Runs where the command line does not say: each fault of each way at each of its moments once or so.
const RUNS: u64 = 700;
/// Most of them are spent waiting.
const JOBS: u64 = 4;

/// What something goes wrong with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Migrations,
    Snapshots,
}

impl What {
    /// As the runner knows it.
    fn word(self) -> &'static str {
        match self {
            Self::Migrations => "migrate",
            Self::Snapshots => "snapshots",
        }
    }
}

/// How many, which, and of what.
#[derive(Debug)]
pub(crate) struct Request {
    what: What,
    runs: u64,
    seed: u64,
    jobs: u64,
    first: u64,
    parts: Vec<String>,
    subject: Subject,
}

impl Request {
    pub(crate) fn parse(what: What, words: &[&str]) -> Result<Self> {
        let subject = Subject::Release;
        let mut request =
            Self { what, runs: RUNS, seed: 1, jobs: JOBS, first: 0, parts: Vec::new(), subject };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || {
                let text = words.next().and_then(|text| text.parse().ok());
                text.ok_or_else(|| Error(format!("{word} wants a number")))
            };
            match *word {
                "--runs" => request.runs = number()?,
                "--seed" => request.seed = number()?,
                "--jobs" => request.jobs = number()?,
                "--first" => request.first = number()?,
                "--filter" => {
                    let parts =
                        words.next().ok_or("--filter wants parts of names, with commas between them")?;
                    request.parts = parts.split(',').map(str::to_owned).collect();
                }
                "--dev" => request.subject = Subject::Dev,
                "--binary" => {
                    let path = words.next().ok_or("--binary wants the path of a kubevmm")?;
                    request.subject = Subject::Built(absolute(path)?);
                }
                other => return Err(Error(format!("this soak knows no {other}: see cargo xtask --help"))),
            }
        }
        Ok(request)
    }
}

fn absolute(path: &str) -> Result<PathBuf> {
    std::path::absolute(path).doing("finding the binary")
}

pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    if let Kvm::Absent(why) = kvm::look() {
        return Err(Error(why));
    }
    let programs = Programs::build(store, &request.subject)?;
    let scratch = store.path(&format!("soak-{}-faults", request.what.word()));
    empty_folder(&scratch)?;
    let mut command = Command::new(programs.runner);
    command.arg("faults").arg(programs.kubevmm).arg(&scratch).arg(request.what.word());
    command.args([request.runs, request.seed, request.jobs, request.first].map(|number| number.to_string()));
    command.args(&request.parts);
    let status = command.status().doing("starting the runner")?;
    if status.success() {
        let _ = std::fs::remove_dir_all(scratch);
        return Ok(ExitCode::SUCCESS);
    }
    println!("what failed runs left is in {}", scratch.display());
    Ok(ExitCode::FAILURE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_numbers() {
        let parse = |words: &[&str]| Request::parse(What::Migrations, words);
        let request = parse(&["--runs", "7", "--seed", "9", "--dev"]).unwrap();
        assert_eq!((request.runs, request.seed, request.jobs), (7, 9, JOBS));
        let request = parse(&["--filter", "tls: ,at Go", "--first", "3"]).unwrap();
        assert_eq!((request.parts, request.first), (vec!["tls: ".into(), "at Go".into()], 3));
        for bad in [&["--runs"][..], &["--filter"], &["--seed", "x"], &["7"]] {
            assert!(parse(bad).is_err());
        }
    }
}
