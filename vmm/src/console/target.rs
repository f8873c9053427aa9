//! Where the serial console goes.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::str::FromStr;

use net::socket;

use crate::sys::terminal::{RawMode, restore_on_panic};

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

impl fmt::Display for ConsoleTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdio => f.write_str("stdio"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Off => f.write_str("off"),
        }
    }
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
        let listener = socket::listen_again(&path)?;
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
    let stdin = io::stdin();
    let raw = if stdin.is_terminal() {
        restore_on_panic(&stdin);
        Some(RawMode::enter(&stdin)?)
    } else {
        None
    };
    Ok(Console::Stream {
        input: Some(stdin.as_fd().try_clone_to_owned()?),
        output: own_output(io::stdout().as_fd())?,
        raw,
    })
}

/// Standard output for a thread that must not wait: terminals and pipes are opened anew without blocking, which leaves
/// the description that other processes share as it is.
fn own_output(stdout: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let shared = stdout.try_clone_to_owned()?;
    let kind = File::from(shared.try_clone()?).metadata()?.file_type();
    if !kind.is_char_device() && !kind.is_fifo() {
        return Ok(shared);
    }
    let again = OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", stdout.as_raw_fd()));
    Ok(again.map_or(shared, OwnedFd::from))
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

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

    #[test]
    fn a_console_takes_the_place_of_a_socket_that_was_left_and_of_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("n".repeat(200));
        fs::create_dir(&folder).unwrap();
        let (path, image) = (folder.join("console.sock"), folder.join("disk.img"));
        drop(socket::listen(&path).unwrap());
        // A program that another test starts listens there, too, until it runs.
        let begun = Instant::now();
        let console = loop {
            match Console::open(&ConsoleTarget::Unix(path.clone())) {
                Err(error) if begun.elapsed() > Duration::from_secs(60) => panic!("{error}"),
                Err(_) => thread::sleep(Duration::from_millis(5)),
                Ok(console) => break console,
            }
        };
        assert_eq!(
            Console::open(&ConsoleTarget::Unix(path.clone())).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        socket::connect(&path).unwrap();
        fs::write(&image, "data").unwrap();
        assert_eq!(
            Console::open(&ConsoleTarget::Unix(image.clone())).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(fs::read(&image).unwrap(), b"data");
        drop(console);
        assert!(!path.exists(), "its file goes with it");
    }
}
