//! `kubevmm man`: the manual page, made from the table of commands.

use std::fmt::Write as _;

use super::Failure;
use super::args::Args;
use super::commands::{Command, all};
use super::output::print;
use super::{help, image};

/// What stands under the exit codes, one a line.
const EXITS: [(&str, &str); 6] = [
    ("0", "the guest powered off; all manifests are allowed"),
    ("1", "a manifest is rejected; a machine refuses; what was waited for did not come"),
    ("2", "the command line makes no sense"),
    ("3", "the host cannot: no /dev/kvm, a missing file, a busy tap; there is no such machine"),
    ("4", "the guest crashed: a panic, or a triple fault"),
    ("5", "the machine was stopped by force"),
];

/// Prints the manual page.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    if let Some(word) = args.words()?.first() {
        return Err(Failure::Usage(format!("man takes no {word:?}: there is one page for all commands")));
    }
    print(&page()).map(|()| 0)
}

fn page() -> String {
    let mut text = format!(
        ".TH KUBEVMM 1 \"\" \"kubevmm {}\" \"User Commands\"\n.SH NAME\n{}\n.SH SYNOPSIS\n.B kubevmm\n{}\n",
        env!("CARGO_PKG_VERSION"),
        roff("kubevmm - runs one KubeVirt virtual machine in one process"),
        roff("COMMAND [OPTION]… FILE…")
    );
    text.push_str(".SH DESCRIPTION\n");
    let _ = writeln!(
        text,
        "{}",
        roff(
            "It takes the manifest that kubectl takes. FILE holds YAML or JSON documents; - is standard input. Options may stand anywhere, --name value or --name=value; -- ends them."
        )
    );
    text.push_str(".SH COMMANDS\n");
    for command in all().chain(image::COMMANDS) {
        describe(command, &mut text);
    }
    text.push_str(".SH EXIT STATUS\n");
    for (code, meaning) in EXITS {
        let _ = writeln!(text, ".TP\n.B {code}\n{}", roff(meaning));
    }
    text.push_str(".SH SEE ALSO\n");
    let _ =
        writeln!(text, "{}", roff("The folder docs of kubevmm, and the user guide at https://kubevirt.io"));
    text
}

fn describe(command: &Command, text: &mut String) {
    let _ = writeln!(text, ".SS {}", roff(&format!("kubevmm {}", help::form(command))));
    let _ = writeln!(text, "{}.\n{}", roff(&help::capital(command.about)), roff(command.details));
    for option in command.all_options() {
        let _ = writeln!(text, ".TP\n.B {}\n{}", roff(&help::names(option)), roff(option.about));
    }
}

/// Text as roff wants it: ASCII, with dashes and backslashes escaped, and no line that begins like a request.
fn roff(text: &str) -> String {
    let escape = |letter: char| match letter {
        '\\' => "\\e".to_owned(),
        '-' => "\\-".to_owned(),
        _ if letter.is_ascii() => letter.to_string(),
        _ => format!("\\[u{:04X}]", u32::from(letter)),
    };
    let escaped: String = text.chars().map(escape).collect();
    let safe = |line: &str| {
        if line.starts_with(['.', '\'']) { format!("\\&{line}") } else { line.to_owned() }
    };
    escaped.lines().map(safe).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_command_and_option() {
        let page = page();
        for command in all().chain(image::COMMANDS) {
            assert!(page.contains(&format!(".SS kubevmm {}", roff(command.name))), "{}", command.name);
            for option in command.all_options() {
                assert!(page.contains(&roff(&help::names(option))), "{}", option.name);
            }
        }
        let requests = [".TH", ".SH", ".SS", ".TP", ".B"];
        for line in page.lines().filter(|line| line.starts_with(['.', '\''])) {
            assert!(requests.iter().any(|request| line.starts_with(request)), "{line}");
        }
    }

    #[test]
    fn text_cannot_become_a_request() {
        assert_eq!(roff("a\n.b\n'c"), "a\n\\&.b\n\\&'c");
        assert_eq!(roff("a-b\\c…"), "a\\-b\\ec\\[u2026]");
    }
}
