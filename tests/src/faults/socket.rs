//! Connections by unix sockets and by TCP, alike.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use net::socket;

/// Where somebody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A port of the loopback.
    Tcp(SocketAddr),
}

/// A connection.
#[derive(Debug)]
pub(super) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// Waits for connections.
#[derive(Debug)]
pub(super) enum Listener {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Place {
    /// As options of kubevmm have it.
    #[must_use]
    pub fn address(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix:{}", path.display()),
            Self::Tcp(address) => format!("tcp://{address}"),
        }
    }

    /// Any port of the loopback, for one who listens there himself.
    #[must_use]
    pub fn any_port() -> Self {
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// A port of the loopback where nobody listens.
    ///
    /// # Errors
    /// The kernel's.
    pub fn free_port() -> io::Result<Self> {
        TcpListener::bind("127.0.0.1:0")?.local_addr().map(Self::Tcp)
    }

    pub(super) fn connect(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(path) => socket::connect(path).map(Socket::Unix),
            Self::Tcp(address) => TcpStream::connect(address).map(Socket::Tcp),
        }
    }

    /// Listens there; where that is, if it was any port.
    pub(super) fn listen(&self) -> io::Result<(Listener, Self)> {
        match self {
            Self::Unix(path) => Ok((Listener::Unix(socket::listen(path)?), self.clone())),
            Self::Tcp(address) => {
                let listener = TcpListener::bind(address)?;
                let place = Self::Tcp(listener.local_addr()?);
                Ok((Listener::Tcp(listener), place))
            }
        }
    }
}

impl Listener {
    pub(super) fn accept(&self) -> io::Result<Socket> {
        match self {
            Self::Unix(listener) => listener.accept().map(|(stream, _)| Socket::Unix(stream)),
            Self::Tcp(listener) => listener.accept().map(|(stream, _)| Socket::Tcp(stream)),
        }
    }
}

impl Socket {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
        }
    }

    /// Ends it. One that is gone already is what was wanted.
    pub(super) fn shutdown(&self, how: Shutdown) {
        let _ = match self {
            Self::Unix(stream) => stream.shutdown(how),
            Self::Tcp(stream) => stream.shutdown(how),
        };
    }
}

impl Read for Socket {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(to),
            Self::Tcp(stream) => stream.read(to),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
