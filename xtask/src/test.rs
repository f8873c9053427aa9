//! `cargo xtask test`: three tiers, each run or reported as skipped by name.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ::tests::host::{Mode, argument};
use ::tests::verdict::{Line, Totals};

use crate::cargo::{self, Programs, Subject};
use crate::error::{Doing, Error, Result};
use crate::host::{Boot, Host, available_memory};
use crate::kvm::{self, Kvm};
use crate::store::{Store, empty_folder};

/// When a run of the test host is given up: cases have limits of their own.
const HOST_LIMIT: Duration = Duration::from_secs(25 * 60);
/// Memory in MiB that all cases can be run with; fewer are run with less.
const HOST_MEMORY: u64 = 10_000;

/// The kinds of tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Unit,
    Payload,
    Host,
}

/// What was asked for on the command line.
#[derive(Debug)]
pub(crate) struct Request {
    tiers: Vec<Tier>,
    filter: String,
    keep: bool,
    subject: Subject,
}

impl Request {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut request =
            Self { tiers: Vec::new(), filter: String::new(), keep: false, subject: Subject::Release };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "unit" => request.tiers.push(Tier::Unit),
                "payload" => request.tiers.push(Tier::Payload),
                "host" => request.tiers.push(Tier::Host),
                "--keep" => request.keep = true,
                "--dev" => request.subject = Subject::Dev,
                "--binary" => {
                    let path = words.next().ok_or("--binary wants the path of a kubevmm")?;
                    request.subject = Subject::Built(std::path::absolute(path).doing("finding the binary")?);
                }
                "--filter" => {
                    let text = words.next().filter(|text| !text.contains(char::is_whitespace));
                    request.filter = (*text.ok_or("--filter wants a part of a case's name")?).to_owned();
                }
                other => return Err(Error(format!("test knows no {other}: see cargo xtask --help"))),
            }
        }
        if request.tiers.is_empty() {
            request.tiers = vec![Tier::Unit, Tier::Payload, Tier::Host];
        }
        Ok(request)
    }
}

pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    let results = store.path("results");
    empty_folder(&results)?;
    let mut totals = Totals::default();
    for tier in &request.tiers {
        println!("--- {tier:?} tests");
        let outcome = match tier {
            Tier::Unit => unit(store, &request.filter),
            Tier::Payload => payload(store, request, &results),
            Tier::Host => host(store, request, &results),
        };
        totals.add(outcome.unwrap_or_else(|Error(why)| {
            println!("{tier:?} tests FAILED: {why}");
            Totals { failed: 1, ..Totals::default() }
        }));
    }
    if totals.failed > 0 {
        println!("logs of failed cases are in {}", results.display());
    }
    println!("{totals}");
    Ok(if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo test` of the workspace, with its counts added up.
fn unit(store: &Store, filter: &str) -> Result<Totals> {
    let mut command = cargo::program();
    command.current_dir(&store.root).args(["test", "--workspace", "--no-fail-fast"]);
    if !filter.is_empty() {
        command.arg(filter);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().doing("starting cargo test")?;
    let output = child.stdout.take().ok_or("no pipe from cargo test")?;
    let mut totals = Totals::default();
    for line in BufReader::new(output).lines() {
        let line = line.doing("reading from cargo test")?;
        match counts(&line) {
            Some(part) => totals.add(part),
            None if is_noise(&line) => {}
            None => println!("{line}"),
        }
    }
    let status = child.wait().doing("waiting for cargo test")?;
    if !status.success() && totals.failed == 0 {
        return Err(Error(format!("cargo test ended with {status}")));
    }
    println!("unit tests: {totals}");
    Ok(totals)
}

/// The numbers of a line such as `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
fn counts(line: &str) -> Option<Totals> {
    let rest = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let number = |word: &str| {
        let part = rest.split(';').find(|part| part.trim().ends_with(word))?;
        part.trim().split(' ').next()?.parse().ok()
    };
    Some(Totals { passed: number("passed")?, failed: number("failed")?, skipped: number("ignored")? })
}

/// Lines of a test binary in which nothing went wrong.
fn is_noise(line: &str) -> bool {
    line.is_empty() || line.starts_with("running ") || (line.starts_with("test ") && line.ends_with("... ok"))
}

/// The cases for any KVM, on the local one.
fn payload(store: &Store, request: &Request, results: &Path) -> Result<Totals> {
    if let Kvm::Absent(why) = kvm::look() {
        return Ok(skipped(Tier::Payload, &why));
    }
    let programs = Programs::build(store, &request.subject)?;
    let scratch = store.path("scratch");
    let mut child = Command::new(programs.runner)
        .arg("payload")
        .args([&programs.kubevmm, results, &scratch])
        .arg(&request.filter)
        .stdout(Stdio::piped())
        .spawn()
        .doing("starting the runner")?;
    let output = child.stdout.take().ok_or("no pipe from the runner")?;
    let mut totals = Totals::default();
    let mut complete = false;
    for line in BufReader::new(output).lines() {
        let line =
            serde_json::from_str(&line.doing("reading from the runner")?).doing("reading from the runner")?;
        complete |= line == Line::End;
        show(&line, &mut totals);
    }
    child.wait().doing("waiting for the runner")?;
    let _ = fs::remove_dir_all(scratch);
    if complete { Ok(totals) } else { Err("the runner was cut short".into()) }
}

/// All cases, in the test host.
fn host(store: &Store, request: &Request, results: &Path) -> Result<Totals> {
    let programs = Programs::build(store, &request.subject)?;
    let host = match Host::prepare(store, &programs) {
        Ok(host) => host,
        // On a machine that is there to run the tests, not to run them is a failure.
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => return Err(error),
        Err(Error(why)) => return Ok(skipped(Tier::Host, &why)),
    };
    let mut arguments = vec![format!("{}=2", argument::JOBS)];
    if !request.filter.is_empty() {
        arguments.push(format!("{}={}", argument::FILTER, request.filter));
    }
    if request.keep {
        arguments.push(argument::KEEP.to_owned());
    }
    let boot = Boot {
        mode: Mode::Test,
        arguments,
        terminal: false,
        counting: false,
        memory: HOST_MEMORY.min(available_memory().saturating_mul(3) / 4),
        limit: HOST_LIMIT,
    };
    let mut totals = Totals::default();
    let ended = host.run(&boot, |line| show(&line, &mut totals))?;
    host.take_results(results)?;
    if !ended.complete || usize::try_from(ended.status).is_ok_and(|failed| failed != totals.failed.min(100)) {
        let log = host.file("console.log");
        return Err(Error(format!("the test host was cut short; its console is in {}", log.display())));
    }
    Ok(totals)
}

fn show(line: &Line, totals: &mut Totals) {
    match line {
        Line::Up { seconds } => println!("the test host is up after {seconds:.1} s"),
        Line::Case(verdict) => {
            totals.count(verdict.result);
            println!("{verdict}");
        }
        Line::Note { text } => println!("{text}"),
        Line::Figure { .. } | Line::End => {}
    }
}

fn skipped(tier: Tier, why: &str) -> Totals {
    println!("SKIPPED: {tier:?} tests: {why}");
    Totals { skipped: 1, ..Totals::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo_test_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s";
        assert_eq!(counts(line), Some(Totals { passed: 12, failed: 3, skipped: 1 }));
        assert_eq!(counts("test a::b ... ok"), None);
    }

    #[test]
    fn all_tiers_are_run_unless_one_is_named() {
        assert_eq!(Request::parse(&[]).unwrap().tiers.len(), 3);
        let request = Request::parse(&["host", "--filter", "boot", "--keep"]).unwrap();
        assert_eq!((request.tiers, request.filter.as_str(), request.keep), (vec![Tier::Host], "boot", true));
        assert!(Request::parse(&["--filter"]).is_err());
        assert!(Request::parse(&["bench"]).is_err());
    }
}
