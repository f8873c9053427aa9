//! `kubevmm logs`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::cli::Failure;
use crate::cli::args::Args;
use crate::client::{ClientError, Machine};
use crate::console::{LOG_FILE, OLD_LOG_FILE};

use super::names;

/// Prints what the guest said.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let machine = names::machine(args)?;
    let history: Option<u64> = args.parsed("history")?;
    let has_file = machine.directory.join(LOG_FILE).exists();
    if has_file && !args.has("follow") {
        return print_files(&machine, history).map(|()| 0);
    }
    let history = history.map(|bytes| format!("&history={bytes}")).unwrap_or_default();
    let path = format!("{}?follow={}{history}", machine.subresource("consolelog"), args.has("follow"));
    match machine.stream(&path) {
        Ok(mut lines) => lines.copy(&mut io::stdout().lock())?,
        Err(ClientError::Ended(_)) if has_file => print_files(&machine, None)?,
        Err(ClientError::Ended(name)) => {
            return Err(ClientError::Ended(format!(
                "{name}, whose console was not kept (logSerialConsole: true in its manifest keeps it),"
            ))
            .into());
        }
        Err(error) => return Err(error.into()),
    }
    Ok(0)
}

/// Prints the files, or their last bytes.
fn print_files(machine: &Machine, history: Option<u64>) -> Result<(), Failure> {
    let fault = |source| Failure::Host { what: "the console's log cannot be read", source };
    let paths = [OLD_LOG_FILE, LOG_FILE].map(|name| machine.directory.join(name));
    let lengths = paths.each_ref().map(|path| path.metadata().map_or(0, |data| data.len()));
    let mut skip = lengths.iter().sum::<u64>().saturating_sub(history.unwrap_or(u64::MAX));
    for (path, length) in paths.iter().zip(lengths) {
        if length > skip {
            print_from(path, skip).map_err(fault)?;
        }
        skip = skip.saturating_sub(length);
    }
    Ok(())
}

fn print_from(path: &Path, start: u64) -> io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    match io::copy(&mut file.take(u64::MAX), &mut io::stdout().lock()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map(drop),
    }
}
