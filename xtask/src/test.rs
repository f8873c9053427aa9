//! `cargo xtask test`: three tiers, each run or reported as skipped by name.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use ::tests::cases;
use ::tests::host::orders::{Orders, Selection};
use ::tests::verdict::{CaseResult, Line, Verdict};

use crate::cargo::{self, Programs, Subject};
use crate::error::{Doing, Error, Result};
use crate::host::{Boot, Ended, Host, Parts, available_memory};
use crate::kvm::{self, Kvm};
use crate::store::{Store, empty_folder};
use crate::tally::{CargoTest, Tally};

/// When a run of the test host is given up: cases have limits of their own. It takes a quarter of an hour where nothing else goes on, and
/// several times that on a slow machine that has others beside it.
const HOST_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);
/// The same where instructions are counted, on a machine that may be busy.
pub(crate) const COUNTING_LIMIT: Duration = Duration::from_secs(4 * 60 * 60);
/// How many cases are run at a time. QEMU's software CPU breaks down when two guests run at once
/// for long, and is not faster that way where both of this machine's processors are at work anyway.
const JOBS: usize = 1;
/// How often the test host is started again after QEMU's software CPU broke down.
const BREAKDOWNS: usize = 8;
/// How often that may happen during one case until it has failed: one that asks much of the emulator was there twice in a run, and passes
/// when it is run by itself as often as one likes.
const INTERRUPTIONS: usize = 3;
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
    /// The test host's clock counts instructions.
    counting: bool,
    subject: Subject,
}

impl Request {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut request = Self {
            tiers: Vec::new(),
            filter: String::new(),
            keep: false,
            counting: false,
            subject: Subject::Release,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "unit" => request.tiers.push(Tier::Unit),
                "payload" => request.tiers.push(Tier::Payload),
                "host" => request.tiers.push(Tier::Host),
                "--keep" => request.keep = true,
                "--counting" => request.counting = true,
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
    let mut tally = Tally::default();
    let mut passed = Vec::new();
    for tier in &request.tiers {
        println!("--- {tier:?} tests");
        let outcome = match tier {
            Tier::Unit => unit(store, &request.filter),
            Tier::Payload => payload(store, request, &results, &mut passed),
            Tier::Host => host(store, request, &results, &passed),
        };
        tally.add(outcome.unwrap_or_else(|Error(why)| {
            println!("{tier:?} tests FAILED: {why}");
            Tally::broken(format!("{tier:?} tests: {why}"))
        }));
    }
    tally.tell_failures();
    if tally.totals.failed > 0 {
        println!("logs of failed cases are in {}", results.display());
    }
    println!("{}", tally.totals);
    Ok(if tally.totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `cargo test` of the workspace, with its counts added up.
fn unit(store: &Store, filter: &str) -> Result<Tally> {
    let mut command = cargo::program();
    command.current_dir(&store.root).args(["test", "--workspace", "--no-fail-fast"]);
    if !filter.is_empty() {
        command.arg(filter);
    }
    let mut child = command.stdout(Stdio::piped()).spawn().doing("starting cargo test")?;
    let output = child.stdout.take().ok_or("no pipe from cargo test")?;
    let mut told = CargoTest::default();
    for line in BufReader::new(output).lines() {
        let line = line.doing("reading from cargo test")?;
        told.line(&line);
        if !is_noise(&line) {
            println!("{line}");
        }
    }
    let status = child.wait().doing("waiting for cargo test")?;
    if !status.success() && told.tally.totals.failed == 0 {
        return Err(Error(format!("cargo test ended with {status}")));
    }
    println!("unit tests: {}", told.tally.totals);
    Ok(told.tally)
}

/// Lines of a test binary in which nothing went wrong.
fn is_noise(line: &str) -> bool {
    line.is_empty()
        || line.starts_with("running ")
        || line.starts_with("test result: ")
        || (line.starts_with("test ") && line.ends_with("... ok"))
}

/// The cases for any KVM, on the local one; adds the names of those that pass to `passed`.
fn payload(store: &Store, request: &Request, results: &Path, passed: &mut Vec<String>) -> Result<Tally> {
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
    let mut tally = Tally::default();
    let mut complete = false;
    for line in BufReader::new(output).lines() {
        let line =
            serde_json::from_str(&line.doing("reading from the runner")?).doing("reading from the runner")?;
        complete |= line == Line::End;
        show(&line, &mut tally);
        if let Line::Case(Verdict { case, result: CaseResult::Passed, .. }) = line {
            passed.push(case);
        }
    }
    child.wait().doing("waiting for the runner")?;
    let _ = fs::remove_dir_all(scratch);
    if complete { Ok(tally) } else { Err("the runner was cut short".into()) }
}

/// All cases, in the test host, but those that need no second run and are among `passed`.
fn host(store: &Store, request: &Request, results: &Path, passed: &[String]) -> Result<Tally> {
    let programs = Programs::build(store, &request.subject)?;
    let parts = match Parts::gather(store) {
        Ok(parts) => parts,
        // On a machine that is there to run the tests, not to run them is a failure.
        Err(error) if std::env::var("CI").is_ok_and(|ci| ci == "true") => return Err(error),
        Err(Error(why)) => return Ok(skipped(Tier::Host, &why)),
    };
    let host = Host::assemble(store, parts, &programs)?;
    let done = not_again(passed);
    if !done.is_empty() {
        println!("not run again after the local KVM: {}", done.join(", "));
    }
    let selection = Selection {
        filter: request.filter.clone(),
        done,
        jobs: JOBS,
        keep: request.keep,
        ..Selection::default()
    };
    let boot = Boot {
        orders: Orders::Test(selection.clone()),
        terminal: false,
        counting: request.counting,
        memory: HOST_MEMORY.min(available_memory().saturating_mul(3) / 4),
        limit: if request.counting { COUNTING_LIMIT } else { HOST_LIMIT },
        silence: None,
        drives: Vec::new(),
    };
    in_host(&host, boot, selection, results)
}

/// Those of `passed` that say the same on every KVM.
fn not_again(passed: &[String]) -> Vec<String> {
    let once = cases::all().into_iter().filter(|case| case.once);
    once.filter(|case| passed.iter().any(|name| name == case.name)).map(|case| case.name.to_owned()).collect()
}

/// Runs the selected cases, and starts the test host again where it broke down.
pub(crate) fn in_host(host: &Host, mut boot: Boot, selection: Selection, results: &Path) -> Result<Tally> {
    let mut progress = Progress::default();
    for _ in 0..BREAKDOWNS {
        let ended = host.run(&boot, |line| progress.take(&line))?;
        host.take_results(results)?;
        if ended == Ended::Broken {
            println!(
                "the test host broke down; {}; starting it again for the cases that are left",
                host.where_console()
            );
            progress.give_up_repeaters();
        } else if progress.suspects.is_empty() || progress.is_last {
            return Ok(progress.tally);
        } else {
            println!("starting the test host again for what failed in it: {}", progress.suspects.join(", "));
            progress.is_last = true;
        }
        let done = [selection.done.as_slice(), &progress.done].concat();
        boot.orders = Orders::Test(Selection { done, ..selection.clone() });
    }
    Err("the test host breaks down again and again".into())
}

/// How far a run of the test host has come, over several starts of it if need be.
#[derive(Debug, Default)]
struct Progress {
    tally: Tally,
    done: Vec<String>,
    running: Vec<String>,
    interrupted: Vec<String>,
    /// What failed in a start of the test host, and is tried in another one: there are starts in which QEMU's software CPU slips at the same
    /// place each time.
    suspects: Vec<String>,
    /// Whether suspects that fail have failed.
    is_last: bool,
}

impl Progress {
    fn take(&mut self, line: &Line) {
        match line {
            Line::Begin { case, .. } => self.running.push(case.clone()),
            Line::Case(verdict) => return self.hear(verdict),
            _ => {}
        }
        show(line, &mut self.tally);
    }

    fn hear(&mut self, verdict: &Verdict) {
        self.running.retain(|case| *case != verdict.case);
        let is_suspect = self.suspects.contains(&verdict.case);
        if verdict.result.has_failed() && !self.is_last && !is_suspect && is_short(&verdict.case) {
            println!("{verdict}");
            return self.suspects.push(verdict.case.clone());
        }
        let mut verdict = verdict.clone();
        if is_suspect && verdict.result == CaseResult::Passed {
            verdict.result = CaseResult::PassedAgain;
            verdict.message.push_str("it failed in another start of the test host, as told above\n");
        }
        self.settle(verdict);
    }

    fn settle(&mut self, verdict: Verdict) {
        self.suspects.retain(|case| *case != verdict.case);
        self.done.push(verdict.case.clone());
        show(&Line::Case(verdict), &mut self.tally);
    }

    /// Notes the cases during which the host broke down. One that was there [`INTERRUPTIONS`] times has failed:
    /// then it may well be the cause.
    fn give_up_repeaters(&mut self) {
        for case in std::mem::take(&mut self.running) {
            if self.interrupted.iter().filter(|before| **before == case).count() + 1 == INTERRUPTIONS {
                let message = format!("the test host broke down {INTERRUPTIONS} times");
                let verdict =
                    Verdict { case: case.clone(), result: CaseResult::Failed, seconds: 0.0, message };
                self.settle(verdict);
            }
            self.interrupted.push(case);
        }
    }
}

/// Whether a case can be tried again: others take minutes or hours.
fn is_short(name: &str) -> bool {
    cases::all().iter().any(|case| case.name == name && case.tier != ::tests::case::Tier::Long)
}

fn show(line: &Line, tally: &mut Tally) {
    match line {
        Line::Up { seconds } => println!("the test host is up after {seconds:.1} s"),
        Line::Case(verdict) => {
            tally.count(verdict);
            println!("{verdict}");
        }
        Line::Note { text } => println!("{text}"),
        Line::Alive | Line::Begin { .. } | Line::Figure { .. } | Line::End => {}
    }
}

fn skipped(tier: Tier, why: &str) -> Tally {
    println!("SKIPPED: {tier:?} tests: {why}");
    Tally::skipped()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_that_breaks_the_host_again_and_again_has_failed() {
        let mut progress = Progress::default();
        for _ in 1..INTERRUPTIONS {
            progress.take(&Line::Begin { case: "a".into(), within: 90 });
            progress.give_up_repeaters();
            assert_eq!(progress.tally.totals.failed, 0);
        }
        progress.take(&Line::Begin { case: "a".into(), within: 90 });
        progress.give_up_repeaters();
        assert_eq!((progress.tally.totals.failed, progress.done), (1, vec!["a".to_owned()]));
    }

    #[test]
    fn a_case_has_failed_that_fails_in_two_starts_of_the_host() {
        let verdict = |case: &str, result| {
            Line::Case(Verdict { case: case.into(), result, seconds: 1.0, message: String::new() })
        };
        let (one, other) = ("boot-smbios", "boot-vmlinuz");
        let mut progress = Progress::default();
        for case in [one, other] {
            progress.take(&verdict(case, CaseResult::Failed));
        }
        assert_eq!((progress.tally.totals.failed, progress.done.len()), (0, 0));
        progress.is_last = true;
        progress.take(&verdict(one, CaseResult::Failed));
        progress.take(&verdict(other, CaseResult::Passed));
        assert_eq!((progress.tally.totals.failed, progress.tally.totals.passed), (1, 1));
        assert_eq!(progress.done, [one, other]);
    }

    #[test]
    fn only_what_says_the_same_everywhere_and_has_passed_is_left_out() {
        let passed = ["payload-migrate-faults", "payload-greets-and-powers-off"].map(str::to_owned);
        assert_eq!(not_again(&passed), ["payload-migrate-faults"]);
        assert!(not_again(&[]).is_empty());
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
