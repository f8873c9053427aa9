//! Where the serial console goes.

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::str::FromStr;

use crate::sys::terminal::RawMode;

/// What the command line says about the console.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ConsoleTarget {
    /// Standard input and output.
    #[default]
    Stdio,
    /// Output to a file; no input.
    File(PathBuf),
    /// A unix socket that one client at a time connects to.
    Unix(PathBuf),
    /// Nowhere.
    Off,
}

/// The text names no target.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no console: use stdio, file:PATH, unix:PATH or off")]
pub struct BadConsoleTarget(String);

impl FromStr for ConsoleTarget {
    type Err = BadConsoleTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "stdio" => Ok(Self::Stdio),
            None if text == "off" => Ok(Self::Off),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            _ => Err(BadConsoleTarget(text.to_owned())),
        }
    }
}

/// An open console.
#[derive(Debug)]
pub enum Console {
    /// Two descriptors; the terminal is in raw mode if it is one.
    Stream {
        /// Where keys come from, if from anywhere.
        input: Option<OwnedFd>,
        /// Where output goes.
        output: OwnedFd,
        /// Keeps the terminal in raw mode, and says that the escape key has a meaning.
        raw: Option<RawMode>,
    },
    /// A socket to listen at; its file goes with it.
    Socket(SocketFile),
    /// Nowhere.
    Off,
}

/// A listening unix socket whose file is removed with it.
#[derive(Debug)]
pub struct SocketFile {
    listener: UnixListener,
    path: PathBuf,
}

impl SocketFile {
    fn bind(path: PathBuf) -> io::Result<Self> {
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// The socket.
    pub fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Somebody else may have removed it before.
        let _ = fs::remove_file(&self.path);
    }
}

impl Console {
    /// Opens a console.
    pub fn open(target: &ConsoleTarget) -> io::Result<Self> {
        match target {
            ConsoleTarget::Stdio => stdio(),
            ConsoleTarget::File(path) => {
                Ok(Self::Stream { input: None, output: File::create(path)?.into(), raw: None })
            }
            ConsoleTarget::Unix(path) => Ok(Self::Socket(SocketFile::bind(path.clone())?)),
            ConsoleTarget::Off => Ok(Self::Off),
        }
    }
}

fn stdio() -> io::Result<Console> {
    let duplicate = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
    let stdin = io::stdin();
    let raw = if stdin.is_terminal() { Some(RawMode::enter(&stdin)?) } else { None };
    Ok(Console::Stream {
        input: Some(duplicate(stdin.as_fd())?),
        output: duplicate(io::stdout().as_fd())?,
        raw,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_from_the_command_line() {
        assert_eq!("stdio".parse::<ConsoleTarget>().unwrap(), ConsoleTarget::Stdio);
        assert_eq!("off".parse::<ConsoleTarget>().unwrap(), ConsoleTarget::Off);
        assert_eq!("unix:/x/y".parse::<ConsoleTarget>().unwrap(), ConsoleTarget::Unix("/x/y".into()));
        assert_eq!("file:a:b".parse::<ConsoleTarget>().unwrap(), ConsoleTarget::File("a:b".into()));
        for bad in ["", "unix:", "tcp:1", "stdout"] {
            assert!(bad.parse::<ConsoleTarget>().is_err(), "{bad}");
        }
    }
}
