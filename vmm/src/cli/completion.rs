//! `kubevmm completion SHELL`: scripts by which shells complete a command line, made from the table of commands.

use std::fmt::Write as _;

use super::Failure;
use super::args::Args;
use super::commands::{Command, Opt, WORDS, all};
use super::image;
use super::output::print;

/// Makes a script.
type Script = fn() -> String;

/// The shells that scripts are made for.
const SHELLS: [(&str, Script); 3] = [("bash", bash), ("zsh", zsh), ("fish", fish)];

/// Prints the script of a shell.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let words = args.words()?;
    let known = || SHELLS.map(|(name, _)| name).join(", ");
    let [shell] = words.as_slice() else {
        return Err(Failure::Usage(format!("name one shell: {}", known())));
    };
    let (_, script) = SHELLS.iter().find(|(name, _)| name == shell).ok_or_else(|| {
        Failure::Usage(format!("there is no completion for {shell:?}, but for {}", known()))
    })?;
    print(&script()).map(|()| 0)
}

/// Prints the names of machines, for a shell to choose from.
const MACHINES: &str = "kubevmm ps -o name 2>/dev/null";

/// What the value of an option, or an operand, is.
enum Values<'a> {
    Files,
    Folders,
    OneOf(&'static [&'static str]),
    /// Machines of this host.
    Machines,
    /// One of these words, then machines.
    WordThenMachines(Vec<&'a str>),
    /// Something that cannot be listed.
    Free,
}

impl<'a> Values<'a> {
    /// By the word that stands for it in the help: `FILE`, `DIR`, …
    fn of(word: &'a str) -> Self {
        if let Some((first, rest)) = word.split_once(' ') {
            let names_machine = |text: &str| text.starts_with("[NAMESPACE/]NAME");
            return match first.split('|').collect::<Vec<_>>() {
                words if words.len() > 1 && names_machine(rest) => Self::WordThenMachines(words),
                _ if names_machine(first) && !rest.contains("--") => Self::Machines,
                _ => Self::Free,
            };
        }
        match word.trim_end_matches('…') {
            "FILE" => Self::Files,
            "DIR" => Self::Folders,
            "[NAMESPACE/]NAME" => Self::Machines,
            "VIEW" => Self::OneOf(&["text", "wide", "name", "json", "yaml"]),
            "WHAT" => Self::OneOf(&[
                "condition=Ready",
                "condition=Paused",
                "phase=Running",
                "phase=Succeeded",
                "delete",
            ]),
            "FORMAT" => Self::OneOf(&["text", "json", "yaml"]),
            "HOW" => Self::OneOf(&["mapped", "eager", "demand"]),
            "SHELL" => Self::OneOf(&["bash", "zsh", "fish"]),
            _ => Self::Free,
        }
    }
}

/// The names under which an option is given.
fn spellings(option: &Opt) -> Vec<String> {
    let short = option.short.map(|short| format!("-{short}"));
    short.into_iter().chain([format!("--{}", option.name)]).collect()
}

/// All that can stand for a command.
fn verbs() -> impl Iterator<Item = (&'static str, &'static str)> {
    all().map(|command| (command.name, command.about)).chain(WORDS.iter().copied())
}

/// The commands of `kubevmm image`, without that name.
fn image_verbs() -> impl Iterator<Item = (&'static str, &'static Command)> {
    image::COMMANDS.iter().map(|command| (command.name.trim_start_matches("image "), command))
}

fn image_names() -> String {
    image_verbs().map(|(name, _)| name).collect::<Vec<_>>().join(" ")
}

fn bash() -> String {
    let names: Vec<_> = verbs().map(|(name, _)| name).collect();
    let mut text = format!(
        "# Completion for bash: source <(kubevmm completion bash)\n\
         _kubevmm() {{\n\
         \x20   local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} options= operands=\n\
         \x20   COMPREPLY=()\n\
         \x20   if ((COMP_CWORD == 1)); then\n\
         \x20       mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$word\")\n\
         \x20       return\n\
         \x20   fi\n",
        names.join(" ")
    );
    text.push_str(&bash_image());
    text.push_str("    case ${COMP_WORDS[1]}:$before in\n");
    for command in all() {
        for option in command.all_options() {
            let Some(value) = option.value else { continue };
            let patterns: Vec<_> =
                spellings(option).iter().map(|name| format!("{}:{name}", command.name)).collect();
            let _ = writeln!(text, "    {}) {}; return ;;", patterns.join("|"), bash_values(value));
        }
    }
    text.push_str("    esac\n    case ${COMP_WORDS[1]} in\n");
    for command in all() {
        let options: Vec<_> = command.all_options().flat_map(spellings).collect();
        let operands = bash_values(command.operands);
        let _ = writeln!(
            text,
            "    {}) options='{}'; [[ $word == -* ]] || {{ {operands}; return; }} ;;",
            command.name,
            options.join(" ")
        );
    }
    text.push_str(
        "    esac\n    mapfile -t COMPREPLY < <(compgen -W \"$options\" -- \"$word\")\n}\n\
         complete -F _kubevmm kubevmm\n",
    );
    text
}

/// A command of `kubevmm image`, its options, and files.
fn bash_image() -> String {
    let list = |what: &str| format!("mapfile -t COMPREPLY < <(compgen {what} -- \"$word\")");
    let mut text = format!(
        "    if [[ ${{COMP_WORDS[1]}} == image ]]; then\n\
         \x20       if ((COMP_CWORD == 2)); then {}; return; fi\n\
         \x20       case ${{COMP_WORDS[2]}} in\n",
        list(&format!("-W '{}'", image_names()))
    );
    for (name, command) in image_verbs() {
        let options: Vec<_> = command.all_options().flat_map(spellings).collect();
        let _ = writeln!(text, "        {name}) options='{}' ;;", options.join(" "));
    }
    let _ = write!(
        text,
        "        esac\n        if [[ $word == -* ]]; then {}; else compopt -o filenames; {}; fi\n        return\n    fi\n",
        list("-W \"$options\""),
        list("-f")
    );
    text
}

fn bash_values(word: &str) -> String {
    let list = |what: &str| format!("mapfile -t COMPREPLY < <(compgen {what} -- \"$word\")");
    match Values::of(word) {
        Values::Files => format!("compopt -o filenames; {}", list("-f")),
        Values::Folders => format!("compopt -o filenames; {}", list("-d")),
        Values::OneOf(words) => list(&format!("-W '{}'", words.join(" "))),
        Values::Machines => list(&format!("-W \"$({MACHINES})\"")),
        Values::WordThenMachines(words) => {
            let (words, machines) = (format!("-W '{}'", words.join(" ")), format!("-W \"$({MACHINES})\""));
            format!("if ((COMP_CWORD == 2)); then {}; else {}; fi", list(&words), list(&machines))
        }
        Values::Free => ":".into(),
    }
}

/// Text within single quotes, for zsh and fish.
fn quoted(text: &str, special: &[char]) -> String {
    let mut quoted = String::from("'");
    for letter in text.chars() {
        if special.contains(&letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted.push('\'');
    quoted
}

fn zsh() -> String {
    let mut text = String::from(
        "#compdef kubevmm\n\
         # Completion for zsh: save it as _kubevmm in a folder of $fpath\n\
         _kubevmm() {\n\
         \x20   if ((CURRENT == 2)); then\n\
         \x20       local -a verbs=(\n",
    );
    let plain = |text: &str| text.replace('\'', "’");
    for (name, about) in verbs() {
        let _ = writeln!(text, "            {}", quoted(&format!("{name}:{}", plain(about)), &[]));
    }
    text.push_str(
        "        )\n        _describe command verbs\n        return\n    fi\n    local verb=$words[2]\n    shift words\n    \
         ((CURRENT--))\n    case $verb in\n",
    );
    let _ = writeln!(
        text,
        "    image) if ((CURRENT == 2)); then _values command {}; else _files; fi ;;",
        image_names()
    );
    for command in all().filter(|command| command.name != "image") {
        let mut arguments = Vec::new();
        for option in command.all_options() {
            for name in spellings(option) {
                let value = option.value.map(zsh_values).unwrap_or_default();
                let about = plain(option.about).replace('[', "(").replace(']', ")").replace(':', "\\:");
                arguments.push(quoted(&format!("*{name}[{about}]{value}"), &[]));
            }
        }
        if let Values::WordThenMachines(words) = Values::of(command.operands) {
            arguments.push(quoted(&format!("1:word:({})", words.join(" ")), &[]));
            arguments.push(quoted(&format!("*:machine:($({MACHINES}))"), &[]));
        } else if !command.operands.is_empty() {
            arguments.push(quoted(&format!("*{}", zsh_values(command.operands)), &[]));
        }
        let _ = writeln!(text, "    {}) _arguments {} ;;", command.name, arguments.join(" "));
    }
    text.push_str("    esac\n}\n_kubevmm \"$@\"\n");
    text
}

fn zsh_values(word: &str) -> String {
    match Values::of(word) {
        Values::Files => ":file:_files".into(),
        Values::Folders => ":folder:_files -/".into(),
        Values::OneOf(words) => format!(":word:({})", words.join(" ")),
        Values::Machines | Values::WordThenMachines(_) => format!(":machine:($({MACHINES}))"),
        Values::Free => format!(":{}:", word.trim_matches(['[', ']', '…'])),
    }
}

fn fish() -> String {
    let quoted = |text: &str| quoted(text, &['\\', '\'']);
    let mut text = String::from(
        "# Completion for fish: kubevmm completion fish > ~/.config/fish/completions/kubevmm.fish\n\
         complete -c kubevmm -f\n",
    );
    for (name, about) in verbs() {
        let _ = writeln!(
            text,
            "complete -c kubevmm -n __fish_use_subcommand -a {} -d {}",
            quoted(name),
            quoted(about)
        );
    }
    let _ = writeln!(
        text,
        "complete -c kubevmm -n '__fish_seen_subcommand_from image' -F -a '{}'",
        image_names()
    );
    for command in all() {
        let when = quoted(&format!("__fish_seen_subcommand_from {}", command.name));
        for option in command.all_options() {
            let short = option.short.map(|short| format!(" -s {short}")).unwrap_or_default();
            let value = option.value.map(fish_values).unwrap_or_default();
            let _ = writeln!(
                text,
                "complete -c kubevmm -n {when}{short} -l {}{value} -d {}",
                option.name,
                quoted(option.about)
            );
        }
        match Values::of(command.operands) {
            Values::Files => {
                let _ = writeln!(text, "complete -c kubevmm -n {when} -F");
            }
            Values::OneOf(words) => {
                let _ = writeln!(text, "complete -c kubevmm -n {when} -a '{}'", words.join(" "));
            }
            Values::Machines => {
                let _ = writeln!(text, "complete -c kubevmm -n {when} -a '({MACHINES})'");
            }
            Values::WordThenMachines(words) => {
                let _ = writeln!(text, "complete -c kubevmm -n {when} -a '{} ({MACHINES})'", words.join(" "));
            }
            Values::Folders | Values::Free => {}
        }
    }
    text
}

fn fish_values(word: &str) -> String {
    match Values::of(word) {
        Values::Files => " -r -F".into(),
        Values::Folders => " -x -a '(__fish_complete_directories)'".into(),
        Values::OneOf(words) => format!(" -x -a '{}'", words.join(" ")),
        Values::Machines | Values::WordThenMachines(_) => format!(" -x -a '({MACHINES})'"),
        Values::Free => " -x".into(),
    }
}

#[cfg(test)]
#[path = "completion_tests.rs"]
mod tests;
