//! The side of the console that `--console` names, as the console's thread has it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};

use super::Console;

/// Standard input and output, a file, or a socket's client.
pub(super) enum Side {
    Stream { input: Option<File>, output: File, escape: bool },
    Socket { listener: UnixListener, client: Option<UnixStream> },
    Off,
}

impl Side {
    pub(super) fn of(console: &Console) -> io::Result<Self> {
        Ok(match console {
            Console::Stream { input, output, raw } => Self::Stream {
                input: input.as_ref().map(|fd| fd.try_clone().map(File::from)).transpose()?,
                output: output.try_clone()?.into(),
                escape: raw.is_some(),
            },
            Console::Socket(socket) => {
                Self::Socket { listener: socket.listener().try_clone()?, client: None }
            }
            Console::Off => Self::Off,
        })
    }

    /// Whether a key of it is no key of the guest's.
    pub(super) fn has_escape(&self) -> bool {
        matches!(self, Self::Stream { escape: true, .. })
    }

    /// Where somebody may connect.
    pub(super) fn listener(&self) -> Option<RawFd> {
        match self {
            Self::Socket { listener, .. } => Some(listener.as_raw_fd()),
            Self::Stream { .. } | Self::Off => None,
        }
    }

    /// Where keys come from.
    pub(super) fn input(&self) -> Option<RawFd> {
        match self {
            Self::Stream { input, .. } => input.as_ref().map(AsRawFd::as_raw_fd),
            Self::Socket { client, .. } => client.as_ref().map(AsRawFd::as_raw_fd),
            Self::Off => None,
        }
    }

    /// Lets somebody in. One client at a time: others are turned away by closing their connection.
    pub(super) fn accept(&mut self) -> bool {
        let Self::Socket { listener, client } = self else { return false };
        let Ok((stream, _)) = listener.accept() else { return false };
        if client.is_some() || stream.set_nonblocking(true).is_err() {
            return false;
        }
        *client = Some(stream);
        true
    }

    /// Reads keys; the end of them if there is nowhere to read from.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream { input: Some(input), .. } => input.read(buffer),
            Self::Socket { client: Some(client), .. } => client.read(buffer),
            _ => Ok(0),
        }
    }

    /// Nothing more is read.
    pub(super) fn close_input(&mut self) {
        match self {
            Self::Stream { input, .. } => *input = None,
            Self::Socket { client, .. } => *client = None,
            Self::Off => {}
        }
    }

    /// Writes what the other side takes without blocking; `None` if nobody is there to take anything.
    pub(super) fn write(&mut self, data: &[u8]) -> Option<io::Result<usize>> {
        match self {
            // A pipe or terminal whose reader sleeps would block this thread.
            Self::Stream { output, .. } if !crate::sys::poll::is_writable(&output.as_fd()) => {
                Some(Err(io::ErrorKind::WouldBlock.into()))
            }
            Self::Stream { output, .. } => Some(output.write(data)),
            Self::Socket { client: Some(client), .. } => Some(client.write(data)),
            _ => None,
        }
    }
}
