//! `kubevmm console`.

use std::io::{self, IsTerminal, Read, Write};
use std::thread;

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::cli::output::say;
use crate::client::{Console, ConsoleKeyboard};
use crate::console::ESCAPE;
use crate::sys::terminal::{RawMode, restore_on_panic};

use super::names;

/// Connects the terminal to the console until either side ends it.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let machine = names::machine(args)?;
    let mut query = format!("force={}&readonly={}", args.has("force"), args.has("read-only"));
    if let Some(history) = args.parsed::<u64>("history")? {
        query.push_str(&format!("&history={history}"));
    }
    let mut console = Console::open(&machine, &query)?;
    let (stdin, host) = (io::stdin(), |what| move |source| Failure::Host { what, source });
    let is_terminal = stdin.is_terminal();
    if is_terminal {
        say(&format!("Connected to the console of {machine}. Ctrl-] ends this.\n"));
    }
    if !console.is_typist() && !args.has("read-only") {
        say("kubevmm: somebody else types; you only read. --force takes the keyboard.\n");
    }
    let raw = if is_terminal {
        restore_on_panic(&stdin);
        Some(RawMode::enter(&stdin).map_err(host("the terminal cannot be put into raw mode"))?)
    } else {
        None
    };
    let mut keyboard = console.keyboard()?;
    // It ends with the process: a thread that waits for a key cannot be told to stop.
    thread::spawn(move || type_all(&mut keyboard, is_terminal));
    let shown = show(&mut console);
    drop(raw);
    if is_terminal {
        say("\n");
    }
    shown.map(|()| 0)
}

fn show(console: &mut Console) -> Result<(), Failure> {
    let mut out = io::stdout();
    let mut said = Vec::new();
    while console.read(&mut said)? {
        // Nobody reads any more, and nobody types.
        if out.write_all(&said).and_then(|()| out.flush()).is_err() {
            break;
        }
        said.clear();
    }
    Ok(())
}

/// Passes on keys up to the escape key. Where they come from no terminal, they end with their source, and output goes on.
fn type_all(keyboard: &mut ConsoleKeyboard, has_escape: bool) {
    let mut keys = [0; 1024];
    while let Ok(count @ 1..) = io::stdin().lock().read(&mut keys) {
        let keys = keys.get(..count).unwrap_or_default();
        let end = keys.iter().position(|key| has_escape && *key == ESCAPE);
        let keys = keys.get(..end.unwrap_or(count)).unwrap_or_default();
        if (!keys.is_empty() && keyboard.type_keys(keys).is_err()) || end.is_some() {
            // A console that is gone already has ended, too.
            let _ = keyboard.end();
            return;
        }
    }
    if has_escape {
        let _ = keyboard.end();
    }
}
