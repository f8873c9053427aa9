//! `cargo xtask conformance`: how often kubevmm says what KubeVirt says.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use crate::cargo;
use crate::error::{Doing, Error, Result};
use crate::store::Store;

/// Names the folder of the data, which is no part of the repository.
const VARIABLE: &str = "KUBEVMM_CONFORMANCE";
/// Where the data is if nothing names a folder, beside the checkout.
const BESIDE: &str = "../shared/kubevirt";
/// How the lines of the score begin.
const SCORE: [&str; 3] = ["rejected cases:", "admitted cases:", "examples:"];

/// Shows each verdict that differs, then the score; fails when it is too low.
pub(crate) fn run(store: &Store) -> Result<ExitCode> {
    let data = data(&store.root)?;
    let mut command = cargo::program();
    command.current_dir(&store.root).env(VARIABLE, &data);
    command.args(["test", "--quiet", "--package", "spec", "--test", "conformance"]);
    command.args(["--", "--nocapture", "--test-threads=1"]);
    let output = command.stderr(Stdio::inherit()).output().doing("starting cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    println!("\nKubeVirt's verdicts of {}:", data.display());
    for line in score(&text) {
        println!("  {line}");
    }
    if output.status.success() { Ok(ExitCode::SUCCESS) } else { Ok(ExitCode::FAILURE) }
}

fn data(root: &Path) -> Result<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let folder = named.unwrap_or_else(|| root.join(BESIDE));
    folder.canonicalize().ok().filter(|folder| folder.join("verdicts.jsonl").is_file()).ok_or_else(|| {
        Error(format!(
            "there are no KubeVirt verdicts in {}: name a folder with verdicts.jsonl and cases/ in {VARIABLE}",
            folder.display()
        ))
    })
}

fn score(text: &str) -> impl Iterator<Item = &str> {
    // A test that passed before leaves its dot in front of the next one's first line.
    let lines = text.lines().map(|line| line.trim_start_matches('.'));
    lines.filter(|line| SCORE.iter().any(|start| line.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_score_is_found_among_other_lines() {
        let text =
            "running 4 tests\n.examples: 42 of 47 accepted\na.json: wanted []\n.\nrejected cases: 1 of 1\n";
        assert_eq!(
            score(text).collect::<Vec<_>>(),
            ["examples: 42 of 47 accepted", "rejected cases: 1 of 1"]
        );
    }

    #[test]
    fn a_folder_without_verdicts_is_said() {
        if std::env::var_os(VARIABLE).is_none() {
            let error = data(Path::new("/nonexistent/checkout")).unwrap_err();
            assert!(error.to_string().contains(VARIABLE), "{error}");
        }
    }
}
