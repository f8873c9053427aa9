//! Other programs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::error::{Doing, Error, Result};

/// Runs a program to its end with its output shown; fails unless it succeeds.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().doing(format_args!("starting {}", name(command)))?;
    if status.success() { Ok(()) } else { Err(Error(format!("{} ended with {status}", name(command)))) }
}

/// Runs a program to its end and returns its standard output; its errors are part of the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().doing(format_args!("starting {}", name(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(Error(format!("{} ended with {}:\n{}", name(command), output.status, errors.trim_end())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The path of a program on `PATH`, or in the folders where root's programs are.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// The same for a program that must be there; `package` is where Debian has it.
pub(crate) fn need(program: &str, package: &str) -> Result<PathBuf> {
    find(program).ok_or_else(|| Error(format!("{program} is missing: install the package {package}")))
}

/// Whether this process may do what root may.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}
