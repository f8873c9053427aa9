//! Runs cases, each in a process group of its own, and says what came of them.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use guest::sys;

use crate::case::{Case, Ctx};
use crate::cases;
use crate::console::tail;
use crate::failure::{Doing, Failure};
use crate::verdict::{CaseResult, Line, Totals, Verdict};
use crate::vm::wait;

/// Exit code of a case that cannot be run here.
pub const SKIP: i32 = 77;
/// A failure that begins so is a skip.
pub const SKIP_WORD: &str = "SKIP: ";
/// File of a case's results that says why it failed.
const WHY: &str = "failure.txt";

/// Where a run finds and puts things.
#[derive(Debug, Clone)]
pub struct Places {
    /// The binary under test.
    pub kubevmm: PathBuf,
    /// The guest images' folder.
    pub payload: PathBuf,
    /// A folder for each case's logs.
    pub results: PathBuf,
    /// A folder for each case's other files.
    pub scratch: PathBuf,
}

/// Where lines of results go.
pub type Sink<'a> = dyn Fn(&Line) + Sync + 'a;

/// Runs `cases`, `jobs` at a time, and hands each verdict to `sink`.
pub fn run_all(cases: &[Case], places: &Places, jobs: usize, sink: &Sink<'_>) -> Totals {
    let (alone, beside): (Vec<Case>, Vec<Case>) = cases.iter().partition(|case| case.alone);
    let totals = Mutex::new(Totals::default());
    let work = |queue: &Mutex<VecDeque<Case>>| {
        while let Some(case) = take(queue) {
            sink(&Line::Begin { case: case.name.to_owned(), within: case.patience().as_secs() });
            let verdict = run_one(&case, places);
            totals.lock().unwrap_or_else(PoisonError::into_inner).count(verdict.result);
            sink(&Line::Case(verdict));
        }
    };
    let queue = Mutex::new(VecDeque::from(beside));
    for case in cases {
        let _ = fs::remove_dir_all(places.results.join(case.name));
    }
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| work(&queue));
        }
    });
    work(&Mutex::new(VecDeque::from(alone)));
    totals.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn take(queue: &Mutex<VecDeque<Case>>) -> Option<Case> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

fn run_one(case: &Case, places: &Places) -> Verdict {
    let started = Instant::now();
    let mut told = String::new();
    let mut attempt = 1;
    loop {
        let (result, message) = match in_process(case, places) {
            Ok(result) => result,
            Err(failure) => (CaseResult::Failed, failure.0),
        };
        told.push_str(&message);
        let again = result.has_failed() && attempt < case.attempts;
        if !again {
            let result =
                if result == CaseResult::Passed && attempt > 1 { CaseResult::PassedAgain } else { result };
            let seconds = started.elapsed().as_secs_f64();
            return Verdict { case: case.name.to_owned(), result, seconds, message: told };
        }
        told.push_str(&format!("\nattempt {attempt} failed as told above; trying again\n"));
        let kept = keep_logs(case, places, attempt);
        if let Err(error) = kept {
            told.push_str(&format!("its logs are lost: {error}\n"));
        }
        attempt += 1;
    }
}

/// Moves the logs of a failed attempt out of the next one's way, to where its own will be.
fn keep_logs(case: &Case, places: &Places, attempt: u32) -> std::io::Result<()> {
    let (results, aside) =
        (places.results.join(case.name), places.scratch.join(format!("{}.logs", case.name)));
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(&places.scratch)?;
    fs::rename(&results, &aside)?;
    fs::create_dir_all(&results)?;
    fs::rename(&aside, results.join(format!("attempt-{attempt}")))
}

/// Starts this program again for the one case, and ends whatever is left of it.
fn in_process(case: &Case, places: &Places) -> Result<(CaseResult, String), Failure> {
    let (results, scratch) = (places.results.join(case.name), places.scratch.join(case.name));
    let _ = fs::remove_dir_all(&scratch);
    for folder in [&results, &scratch] {
        fs::create_dir_all(folder).doing("making a case's folder")?;
    }
    let log = File::create(results.join("case.log"))?;
    let mut child = Command::new("/proc/self/exe")
        .args(["case", case.name])
        .args([&places.kubevmm, &places.payload, &results, &scratch])
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .doing("starting a case")?;
    let ended = wait(&mut child, case.limit)?;
    let left = end_group(&mut child);
    let _ = fs::remove_dir_all(&scratch);
    let why = fs::read_to_string(results.join(WHY)).unwrap_or_default();
    Ok(match ended.map(|status| status.code()) {
        None => (CaseResult::TimedOut, format!("no end within {:?}\n{}", case.limit, log_tail(&results))),
        Some(Some(0)) if left.is_empty() => (CaseResult::Passed, String::new()),
        Some(Some(0)) => (CaseResult::Failed, format!("left behind: {}", left.join(", "))),
        Some(Some(SKIP)) => (CaseResult::Skipped, why.trim_start_matches(SKIP_WORD).to_owned()),
        Some(Some(1)) => (CaseResult::Failed, format!("{why}\n{}", last_words(&results))),
        Some(code) => {
            (CaseResult::Failed, format!("the case itself ended with {code:?}\n{}", log_tail(&results)))
        }
    })
}

fn log_tail(results: &Path) -> String {
    tail(&fs::read_to_string(results.join("case.log")).unwrap_or_default(), 10)
}

/// How far its machines came: a line that broke, or a guest that fell silent, has its reason there more often than not.
fn last_words(results: &Path) -> String {
    let Ok(entries) = fs::read_dir(results) else { return String::new() };
    let mut logs: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    logs.sort();
    let ends = [("stderr.log", 6), ("console.log", 8)];
    let told = logs.iter().filter_map(|path| {
        let name = path.file_name()?.to_str()?;
        let (_, lines) = ends.iter().find(|(end, _)| name.ends_with(end))?;
        let text = fs::read(path).ok()?;
        Some(format!("{name} ends:\n{}\n", tail(&String::from_utf8_lossy(&text), *lines)))
    });
    told.collect()
}

/// Kills the child's process group; returns who was still in it.
fn end_group(child: &mut Child) -> Vec<String> {
    let Ok(group) = i32::try_from(child.id()) else { return Vec::new() };
    let left = members(group);
    // The group may be empty, which is as wanted.
    let _ = sys::kill(-group, libc::SIGKILL);
    let _ = child.wait();
    let deadline = Instant::now() + Duration::from_secs(5);
    while !members(group).is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    left
}

/// Names of the live processes of a group.
fn members(group: i32) -> Vec<String> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let stats = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path().join("stat")).ok());
    stats.filter_map(|stat| member(&stat, group)).collect()
}

/// The name in a line of `/proc/PID/stat` if the process lives and is of the group.
fn member(stat: &str, group: i32) -> Option<String> {
    let (head, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let alive = !matches!(fields.next()?, "Z" | "X");
    let its: i32 = fields.nth(1)?.parse().ok()?;
    (alive && its == group).then(|| head.split_once('(').map_or(head, |parts| parts.1).to_owned())
}

/// The process of one case: `case NAME KUBEVMM PAYLOAD RESULTS SCRATCH`. Returns its exit code.
#[must_use]
pub fn case_main(arguments: &[String]) -> i32 {
    let [name, kubevmm, payload, results, scratch] = arguments else {
        eprintln!("usage: case NAME KUBEVMM PAYLOAD RESULTS SCRATCH");
        return 2;
    };
    let Some(case) = cases::all().into_iter().find(|case| case.name == name) else {
        eprintln!("no case {name}");
        return 2;
    };
    let ctx = Ctx {
        kubevmm: kubevmm.into(),
        payload: payload.into(),
        results: results.into(),
        scratch: scratch.into(),
    };
    // Cases are the same for whoever runs them in the background or under nohup, which have signals ignored.
    for signal in [libc::SIGINT, libc::SIGHUP, libc::SIGTERM] {
        if let Err(error) = sys::heed(signal) {
            eprintln!("signal {signal} is as it was: {error}");
        }
    }
    match (case.run)(&ctx) {
        Ok(()) => 0,
        Err(Failure(why)) => {
            eprintln!("{why}");
            if let Err(error) = fs::write(ctx.results.join(WHY), &why) {
                eprintln!("cannot keep that: {error}");
            }
            if why.starts_with(SKIP_WORD) { SKIP } else { 1 }
        }
    }
}

/// A sink that writes JSON lines.
pub fn lines_to(output: File) -> impl Fn(&Line) + Sync {
    let output = Mutex::new(output);
    move |line| {
        let Ok(mut text) = serde_json::to_vec(line) else { return };
        text.push(b'\n');
        // Who reads the lines notices that the last one is missing.
        let _ = output.lock().unwrap_or_else(PoisonError::into_inner).write_all(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::{last_words, member};

    #[test]
    fn the_ends_of_machines_logs_are_told() {
        let folder = std::env::temp_dir().join(format!("kubevmm-last-words-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let console: String = (0..20).map(|line| format!("line {line}\n")).collect();
        std::fs::write(folder.join("vm.console.log"), console).unwrap();
        std::fs::write(folder.join("vm.stderr.log"), b"a triple fault \xff\n").unwrap();
        std::fs::write(folder.join("vm.json"), "no log").unwrap();
        let told = last_words(&folder);
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(told.starts_with("vm.console.log ends:\nline 12\n"), "{told}");
        assert!(told.contains("line 19\nvm.stderr.log ends:\na triple fault"), "{told}");
        assert!(!told.contains("no log"), "{told}");
    }

    #[test]
    fn members_are_the_living_of_the_group() {
        assert_eq!(member("12 (a) b) S 1 77 77 0", 77).as_deref(), Some("a) b"));
        assert_eq!(member("12 (a) Z 1 77 77 0", 77), None);
        assert_eq!(member("12 (a) R 1 78 77 0", 77), None);
        assert_eq!(member("junk", 77), None);
    }
}
