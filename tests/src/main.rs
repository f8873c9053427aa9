//! The runner: as init of the test host it does what it is ordered to;
//! elsewhere `case` runs one case, `payload` the cases for any KVM, `bench-snapshot` and `bench-migrate` measure there, `faults` has
//! migrations and snapshots go wrong, `demo` boots the example.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tests::case::{Ctx, Tier};
use tests::failure::Failure;
use tests::payload::snapshot_bench::Figure;
use tests::payload::{migrate_bench, snapshot_bench};
use tests::supervisor::{self, Places};
use tests::verdict::Line;
use tests::{cases, host};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("case") => code(supervisor::case_main(arguments.get(1..).unwrap_or_default())),
        Some("payload") => payload(arguments.get(1..).unwrap_or_default()),
        Some("bench-snapshot") => {
            bench(arguments.get(1..).unwrap_or_default(), |ctx| Ok(lines(snapshot_bench::figures(ctx)?)))
        }
        Some("bench-migrate") => bench(arguments.get(1..).unwrap_or_default(), migrate_bench::table),
        Some("faults") => faults(arguments.get(1..).unwrap_or_default()),
        Some("demo") => demo(arguments.get(1..).unwrap_or_default()),
        _ if std::process::id() == 1 => host::init::main(),
        _ => {
            eprintln!(
                "usage: kubevmm-runner case … | payload KUBEVMM RESULTS SCRATCH [FILTER] | bench-snapshot|bench-migrate KUBEVMM SCRATCH \
                 | faults KUBEVMM SCRATCH WHAT RUNS SEED JOBS FIRST PART… | demo KUBEVMM"
            );
            ExitCode::from(2)
        }
    }
}

fn code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Runs the cases for any KVM; lines of results go to standard output.
fn payload(arguments: &[String]) -> ExitCode {
    let (kubevmm, results, scratch, filter) = match arguments {
        [kubevmm, results, scratch] => (kubevmm, results, scratch, ""),
        [kubevmm, results, scratch, filter] => (kubevmm, results, scratch, filter.as_str()),
        _ => return ExitCode::from(2),
    };
    let places = Places {
        kubevmm: kubevmm.into(),
        payload: PathBuf::new(),
        results: results.into(),
        scratch: Path::new(scratch).into(),
    };
    let selected: Vec<_> =
        cases::all().into_iter().filter(|case| case.tier == Tier::Payload && case.matches(filter)).collect();
    let sink = |line: &Line| {
        if let Ok(text) = serde_json::to_string(line) {
            println!("{text}");
        }
    };
    let totals = supervisor::run_all(&selected, &places, 2, &sink);
    sink(&Line::End);
    code(i32::from(totals.failed > 0))
}

/// Measures something on the KVM of this machine.
fn bench(arguments: &[String], measure: fn(&Ctx) -> Result<Vec<String>, Failure>) -> ExitCode {
    let [kubevmm, scratch] = arguments else { return ExitCode::from(2) };
    let scratch = Path::new(scratch);
    let ctx = Ctx {
        kubevmm: kubevmm.into(),
        payload: PathBuf::new(),
        results: scratch.to_owned(),
        scratch: scratch.to_owned(),
    };
    match measure(&ctx) {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(Failure(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// Has migrations or snapshots go wrong on the KVM of this machine.
fn faults(arguments: &[String]) -> ExitCode {
    let [kubevmm, scratch, rest @ ..] = arguments else { return ExitCode::from(2) };
    match tests::faults::main(Path::new(kubevmm), Path::new(scratch), rest) {
        Ok(sound) => code(i32::from(!sound)),
        Err(Failure(why)) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// A line for each figure.
fn lines(figures: Vec<Figure>) -> Vec<String> {
    let line = |(what, value, unit): Figure| format!("{what:<70} {value:>10.2} {unit}");
    figures.into_iter().map(line).collect()
}

/// Boots the example with the given program, in the current folder.
fn demo(kubevmm: &[String]) -> ExitCode {
    let [kubevmm] = kubevmm else { return ExitCode::from(2) };
    match host::demo::batch(&host::demo::hello(Path::new(kubevmm)), Path::new(".")) {
        Ok(status) => ExitCode::from(status),
        Err(Failure(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
