//! `cargo xtask fuzz TARGET`: runs a target of `fuzz/` with a limit on its memory.
//!
//! cargo-fuzz would do the same, but it insists on a nightly compiler, for the sake of AddressSanitizer. The targets are
//! safe Rust, where panics, time and memory are what can go wrong; the coverage that libFuzzer steers by is had from a
//! stable compiler, with the flags below.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::cargo;
use crate::error::{Doing, Error, Result};
use crate::process;
use crate::store::Store;

/// Named so that build scripts and procedural macros are built without what follows.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Makes the compiler count the edges taken and report comparisons.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
/// How long a run is where nothing else is asked for.
const SECONDS: u64 = 60;
/// An input that takes longer than this many seconds is a finding.
const SLOWEST: u64 = 5;

/// What is to be run, and for how long.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    target: String,
    seconds: u64,
}

impl Request {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut request = Self { target: String::new(), seconds: SECONDS };
        let mut rest = words.iter();
        while let Some(word) = rest.next() {
            match *word {
                "--seconds" => {
                    let value = rest.next().and_then(|text| text.parse().ok());
                    request.seconds = value.ok_or("--seconds needs a number")?;
                }
                name if !name.starts_with('-') && request.target.is_empty() => {
                    request.target = name.to_owned()
                }
                other => return Err(Error(format!("fuzz does not understand {other:?}"))),
            }
        }
        Ok(request)
    }

    /// The most memory that the target may take, in MiB.
    fn memory(&self) -> u64 {
        if self.target == "check" { 256 } else { 512 }
    }
}

/// The folders of a target.
struct Folders {
    /// Seeds that are part of the repository.
    seeds: PathBuf,
    /// Inputs that once failed, part of the repository too.
    findings: PathBuf,
    /// What this machine has found out.
    corpus: PathBuf,
    /// Where an input that fails is written to.
    artifacts: PathBuf,
}

impl Folders {
    fn of(store: &Store, target: &str) -> Result<Self> {
        let fuzz = store.root.join("fuzz");
        let folders = Self {
            seeds: fuzz.join("corpus").join(target),
            findings: fuzz.join("findings").join(target),
            corpus: store.path(&format!("fuzz/{target}/corpus")),
            artifacts: fuzz.join("artifacts").join(target),
        };
        for folder in [&folders.corpus, &folders.artifacts] {
            fs::create_dir_all(folder).doing(format_args!("making {}", folder.display()))?;
        }
        Ok(folders)
    }
}

/// Builds the target and runs it; fails when an input does harm.
pub(crate) fn run(store: &Store, request: &Request) -> Result<ExitCode> {
    let known = targets(&store.root)?;
    if !known.contains(&request.target) {
        return Err(Error(format!("name a target of fuzz/: {}", known.join(", "))));
    }
    let program = build(store, &request.target)?;
    let folders = Folders::of(store, &request.target)?;
    let mut command = Command::new(&program);
    command.arg(format!("-max_total_time={}", request.seconds));
    command.arg(format!("-rss_limit_mb={}", request.memory()));
    command.arg(format!("-timeout={SLOWEST}"));
    command.arg(format!("-artifact_prefix={}/", folders.artifacts.display()));
    command.args(["-print_final_stats=1", "-verbosity=0", "-use_value_profile=1"]).arg(&folders.corpus);
    command.args([&folders.seeds, &folders.findings].into_iter().filter(|folder| folder.is_dir()));
    let status = command.status().doing(format_args!("starting {}", program.display()))?;
    if status.success() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "the input that did harm is in {}: once it is harmless, keep it in {}",
        folders.artifacts.display(),
        folders.findings.display()
    );
    Ok(ExitCode::FAILURE)
}

/// The names of the targets: those of the files in `fuzz/fuzz_targets`.
fn targets(root: &Path) -> Result<Vec<String>> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).doing(format_args!("reading {}", folder.display()))?;
    let name = |path: PathBuf| Some(path.file_name()?.to_str()?.strip_suffix(".rs")?.to_owned());
    let mut names: Vec<_> = entries.filter_map(|entry| name(entry.ok()?.path())).collect();
    names.sort();
    Ok(names)
}

fn build(store: &Store, target: &str) -> Result<PathBuf> {
    let folder = store.path("fuzz/build");
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    let mut command = cargo::program();
    command.current_dir(store.root.join("fuzz")).env("RUSTFLAGS", format!("{flags} {COVERAGE}"));
    command.args(["build", "--quiet", "--release", "--target", TARGET, "--bin", target, "--target-dir"]);
    process::run(command.arg(&folder))?;
    Ok(folder.join(TARGET).join("release").join(target))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_a_target_and_a_time() {
        let request = Request::parse(&["check", "--seconds", "5"]).unwrap();
        assert_eq!((request.target.as_str(), request.seconds, request.memory()), ("check", 5, 256));
        for bad in [&["check", "--seconds"][..], &["check", "--seconds", "x"], &["a", "b"], &["--fast"]] {
            assert!(Request::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_target_has_a_file_a_binary_and_seeds() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let manifest = fs::read_to_string(root.join("fuzz/Cargo.toml")).unwrap();
        let names = targets(root).unwrap();
        assert!(names.contains(&"check".to_owned()));
        for name in names {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
            assert!(root.join("fuzz/corpus").join(&name).is_dir(), "{name} has no seeds");
        }
    }

    #[test]
    fn plain_cargo_compiles_for_targets_what_is_compiled_for_them_only() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let config = fs::read_to_string(root.join("fuzz/.cargo/config.toml")).unwrap();
        assert!(COVERAGE.contains("--cfg fuzzing"));
        assert!(config.contains(r#"rustflags = ["--cfg", "fuzzing"]"#), "{config}");
    }
}
