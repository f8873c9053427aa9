//! Tests of the completion scripts.

use std::process::Command as Process;

use super::*;

/// What bash proposes for the last of these words; nothing where there is no bash.
fn proposals(words: &[&str]) -> Option<Vec<String>> {
    let list: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "{}\ncompopt() {{ :; }}\nCOMP_WORDS=({}); COMP_CWORD={}; _kubevmm; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        bash(),
        list.join(" "),
        words.len() - 1
    );
    let output = Process::new("bash").args(["--norc", "-c", &script]).output().ok()?;
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    Some(text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

#[test]
fn bash_proposes_commands_options_and_values() {
    let Some(commands) = proposals(&["kubevmm", ""]) else {
        return eprintln!("SKIPPED: there is no bash");
    };
    assert!(verbs().all(|(name, _)| commands.contains(&name.to_owned())), "{commands:?}");
    assert_eq!(proposals(&["kubevmm", "ch"]).unwrap(), ["check"]);
    assert_eq!(proposals(&["kubevmm", "check", "--show"]).unwrap(), ["--show-defaults"]);
    assert_eq!(proposals(&["kubevmm", "check", "-o", "j"]).unwrap(), ["json"]);
    assert_eq!(proposals(&["kubevmm", "image", "co"]).unwrap(), ["convert", "compare"]);
    assert_eq!(proposals(&["kubevmm", "image", "check", "--rep"]).unwrap(), ["--repair"]);
    assert_eq!(proposals(&["kubevmm", "image", "info", "/proc/versio"]).unwrap(), ["/proc/version"]);
    assert_eq!(proposals(&["kubevmm", "disk", "re"]).unwrap(), ["remove", "resize"]);
    assert_eq!(proposals(&["kubevmm", "nic", "add", "--bi"]).unwrap(), ["--binding"]);
    assert_eq!(proposals(&["kubevmm", "completion", "z"]).unwrap(), ["zsh"]);
    assert_eq!(proposals(&["kubevmm", "run", "--volumes", "/pro"]).unwrap(), ["/proc"]);
    assert_eq!(proposals(&["kubevmm", "check", "/proc/versio"]).unwrap(), ["/proc/version"]);
    assert_eq!(proposals(&["kubevmm", "run", "--append", "/proc/versio"]).unwrap(), [] as [&str; 0]);
}

#[test]
fn every_script_knows_every_option() {
    for (shell, script) in SHELLS {
        let text = script();
        for command in all() {
            assert!(text.contains(command.name), "{shell}: {}", command.name);
            assert!(text.contains(&image_names()), "{shell}: image");
            for option in command.all_options() {
                let dashes = if shell == "fish" { "-l " } else { "--" };
                assert!(text.contains(&format!("{dashes}{}", option.name)), "{shell}: {}", option.name);
            }
        }
    }
}

#[test]
fn quotes_do_not_end_early() {
    assert_eq!(quoted("it's", &['\\', '\'']), "'it\\'s'");
    let text = zsh();
    assert!(text.lines().all(|line| line.matches('\'').count() % 2 == 0), "{text}");
}
