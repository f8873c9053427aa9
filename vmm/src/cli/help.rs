//! Help texts.

use std::fmt::Write as _;

use super::Failure;
use super::commands::{Command, Opt, WORDS, all, find};

/// What the program is and which commands it has.
pub(super) fn overview() -> String {
    let mut text = String::from(
        "kubevmm runs one KubeVirt virtual machine in one process, from the manifest that kubectl takes.\n\n\
         Usage: kubevmm COMMAND [OPTION]… FILE…\n\nCommands:\n",
    );
    let words = WORDS.iter().copied();
    for (name, about) in all().map(|command| (command.name, command.about)).chain(words) {
        let _ = writeln!(text, "  {name:<12} {about}");
    }
    text.push('\n');
    text.push_str("FILE holds YAML or JSON documents; - is standard input.\n");
    text
}

/// The text of `kubevmm help [COMMAND]`.
pub(super) fn about(name: Option<&str>) -> Result<String, Failure> {
    match name {
        None => Ok(overview()),
        Some(name) => {
            find(name).map(command).ok_or_else(|| Failure::Usage(format!("there is no command {name:?}")))
        }
    }
}

/// A command's own help.
pub(super) fn command(command: &Command) -> String {
    let mut text = format!("Usage: kubevmm {}\n\n", form(command));
    let _ = writeln!(text, "{}.\n{}\n\nOptions:", capital(command.about), command.details);
    for option in command.all_options() {
        let _ = writeln!(text, "  {:<25} {}", names(option), option.about);
    }
    text
}

/// How the command is written.
pub(super) fn form(command: &Command) -> String {
    let text = format!("{} [OPTION]… {}", command.name, command.operands);
    text.trim_end().to_owned()
}

/// How an option is written.
pub(super) fn names(option: &Opt) -> String {
    let short = option.short.map(|short| format!("-{short}, ")).unwrap_or_default();
    let value = option.value.map(|value| format!(" {value}")).unwrap_or_default();
    format!("{short}--{}{value}", option.name)
}

/// The text with a capital at its head.
pub(super) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_option_is_explained() {
        let overview = overview();
        for one in all() {
            assert!(overview.contains(one.name) && !one.about.is_empty());
            let text = command(one);
            for option in one.all_options() {
                assert!(
                    text.contains(&format!("--{}", option.name)) && !option.about.is_empty(),
                    "{}",
                    option.name
                );
            }
        }
        assert!(about(Some("nope")).is_err());
    }
}
