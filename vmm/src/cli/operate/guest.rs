//! Commands that the guest's agent answers.

use std::io::Read as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::duration;
use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::{Format, print, yaml_document};

use super::names;
use super::table::table;

/// Most bytes of a program's input: the API takes no larger requests.
const MOST_INPUT: u64 = 180 << 10;
/// What an answer may take beside the time that is asked for.
const MORE: Duration = Duration::from_secs(60);

/// Runs the command if it is one of these.
pub(super) fn main(name: &str, args: &Args) -> Option<Result<u8, Failure>> {
    Some(match name {
        "guestosinfo" => show(args, "guestosinfo", facts),
        "userlist" => show(args, "userlist", users),
        "fslist" => show(args, "filesystemlist", file_systems),
        "freeze" => freeze(args),
        "unfreeze" => unfreeze(args),
        "exec" => exec(args),
        _ => return None,
    })
}

/// Shows what the agent says.
fn show(args: &Args, subresource: &str, text: fn(&Value) -> String) -> Result<u8, Failure> {
    let format = Format::of(args)?;
    let machine = names::machine(args)?;
    let said = machine.ask("GET", &machine.subresource(subresource), "")?.json()?;
    let said = match format {
        Format::Text => text(&said),
        Format::Json => format!("{said:#}\n"),
        Format::Yaml => yaml_document(&said),
    };
    print(&said).map(|()| 0)
}

fn text_at<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn items<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn facts(info: &Value) -> String {
    let names = |list: &[Value], key: &str| {
        let names: Vec<_> = list.iter().map(|item| text_at(item, key)).collect();
        names.join(", ")
    };
    let rows = [
        ("Agent", text_at(info, "/guestAgentVersion").to_owned()),
        ("Host name", text_at(info, "/hostname").to_owned()),
        ("System", text_at(info, "/os/prettyName").to_owned()),
        ("Kernel", text_at(info, "/os/kernelRelease").to_owned()),
        ("Machine", text_at(info, "/os/machine").to_owned()),
        ("Time zone", text_at(info, "/timezone").to_owned()),
        ("File systems", text_at(info, "/fsFreezeStatus").to_owned()),
        ("Mounted", names(items(info, "/fsInfo/disks"), "/mountPoint")),
        ("Logged in", names(items(info, "/userList"), "/userName")),
    ];
    let lines = rows.iter().filter(|(_, value)| !value.is_empty());
    lines.map(|(name, value)| format!("{:<14}{value}\n", format!("{name}:"))).collect()
}

fn users(list: &Value) -> String {
    let rows: Vec<Vec<String>> = items(list, "/items")
        .iter()
        .map(|user| {
            let since = user["loginTime"].as_f64().unwrap_or_default();
            vec![text_at(user, "/userName").into(), text_at(user, "/domain").into(), format!("{since:.0}")]
        })
        .collect();
    table(&["USER", "DOMAIN", "LOGIN"], &rows)
}

fn file_systems(list: &Value) -> String {
    let rows: Vec<Vec<String>> = items(list, "/items")
        .iter()
        .map(|system| {
            let bytes = |key: &str| system[key].as_u64().unwrap_or_default().to_string();
            vec![
                text_at(system, "/mountPoint").into(),
                text_at(system, "/fileSystemType").into(),
                text_at(system, "/diskName").into(),
                bytes("usedBytes"),
                bytes("totalBytes"),
            ]
        })
        .collect();
    table(&["MOUNTED", "TYPE", "DISK", "USED", "SIZE"], &rows)
}

fn freeze(args: &Args) -> Result<u8, Failure> {
    let machine = names::machine(args)?;
    let body = match args.text("unfreeze-timeout")? {
        Some(time) => json!({ "unfreezeTimeout": time }).to_string(),
        None => String::new(),
    };
    machine.ask_within("PUT", &machine.subresource("freeze"), &body, MORE * 2)?;
    print(&format!("the file systems of {machine} are frozen\n")).map(|()| 0)
}

fn unfreeze(args: &Args) -> Result<u8, Failure> {
    let machine = names::machine(args)?;
    machine.ask_within("PUT", &machine.subresource("unfreeze"), "", MORE * 2)?;
    print(&format!("the file systems of {machine} are unfrozen\n")).map(|()| 0)
}

/// Runs a program in the guest; its output and exit code are this command's.
fn exec(args: &Args) -> Result<u8, Failure> {
    let words = args.words()?;
    let usage =
        || Failure::Usage("give a machine and a program: kubevmm exec NAME -- PROGRAM ARGUMENT…".into());
    let Some((name, command)) = words.split_first().filter(|(_, command)| !command.is_empty()) else {
        return Err(usage());
    };
    let machine = names::find(args, name)?;
    let time = args.text("timeout")?.unwrap_or_else(|| "1m0s".into());
    let patience = duration::parse(&time).ok_or_else(|| {
        Failure::Usage(format!("--timeout {time:?} is no length of time such as 30s or 5m0s"))
    })?;
    let input = if args.has("stdin") { input()? } else { Vec::new() };
    let body = json!({ "command": command, "stdin": spec::base64::encode(&input), "timeout": time });
    let path = machine.subresource("exec");
    let outcome =
        machine.ask_within("PUT", &path, &body.to_string(), patience.saturating_add(MORE))?.json()?;
    write(std::io::stdout(), &outcome["stdout"])?;
    write(std::io::stderr(), &outcome["stderr"])?;
    if outcome["truncated"] == true {
        eprint_line("kubevmm: the program wrote more than the guest agent keeps; the rest is lost");
    }
    Ok(exit_code(&outcome))
}

fn eprint_line(text: &str) {
    crate::cli::output::say(&format!("{text}\n"));
}

/// The program's exit code, as shells have it.
fn exit_code(outcome: &Value) -> u8 {
    let byte = |number: i64| u8::try_from(number & 0xff).unwrap_or(u8::MAX);
    match (outcome["exitCode"].as_i64(), outcome["signal"].as_i64()) {
        (Some(code), _) => byte(code),
        (None, Some(signal)) => byte(128 + signal),
        (None, None) => u8::MAX,
    }
}

fn input() -> Result<Vec<u8>, Failure> {
    let mut input = Vec::new();
    let read = std::io::stdin().take(MOST_INPUT + 1).read_to_end(&mut input);
    read.map_err(|source| Failure::Host { what: "standard input cannot be read", source })?;
    if input.len() as u64 > MOST_INPUT {
        let kib = MOST_INPUT >> 10;
        return Err(Failure::Usage(format!(
            "standard input has more than {kib} KiB, which is all that a program can be given"
        )));
    }
    Ok(input)
}

fn write(mut to: impl std::io::Write, text: &Value) -> Result<(), Failure> {
    let bytes = spec::base64::decode(text.as_str().unwrap_or_default()).unwrap_or_default();
    match to.write_all(&bytes).and_then(|()| to.flush()) {
        Err(source) if source.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Host { what: "the program's output cannot be written", source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_shells() {
        for (outcome, code) in [
            (json!({ "exitCode": 0 }), 0),
            (json!({ "exitCode": 7, "signal": null }), 7),
            (json!({ "exitCode": null, "signal": 9 }), 137),
            (json!({ "exitCode": 256 + 3 }), 3),
            (json!({}), 255),
        ] {
            assert_eq!(exit_code(&outcome), code, "{outcome}");
        }
    }

    #[test]
    fn what_agents_say_is_shown() {
        let info = json!({
            "guestAgentVersion": "7.2", "os": { "prettyName": "Debian" },
            "fsInfo": { "disks": [{ "mountPoint": "/" }, { "mountPoint": "/mnt" }] },
        });
        assert_eq!(facts(&info), "Agent:        7.2\nSystem:       Debian\nMounted:      /, /mnt\n");
        let list = json!({ "items": [{ "mountPoint": "/", "fileSystemType": "ext4", "diskName": "vda", "usedBytes": 1, "totalBytes": 2 }] });
        assert_eq!(
            file_systems(&list),
            "MOUNTED   TYPE   DISK   USED   SIZE\n/         ext4   vda    1      2\n"
        );
        let list = json!({ "items": [{ "userName": "root", "loginTime": 12.5 }] });
        assert_eq!(users(&list), "USER   DOMAIN   LOGIN\nroot            12\n");
    }
}
