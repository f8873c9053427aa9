//! Connections by unix sockets and by TCP, alike.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

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

    /// A port of the loopback where nobody listens. Nobody gets it in the meantime: it is none of those that the kernel gives to who asks
    /// for any, and cases that run beside this one are other processes, which look elsewhere.
    ///
    /// # Errors
    /// None is free.
    pub fn free_port() -> io::Result<Self> {
        const FIRST: u32 = 16 << 10;
        const OF_EACH: u32 = 16;
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let begin = std::process::id().wrapping_mul(OF_EACH);
        let mut ports = (0..FIRST).map(|_| {
            let port = FIRST + begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % FIRST;
            SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).unwrap_or(u16::MAX)))
        });
        let free = ports.find(|address| TcpListener::bind(address).is_ok());
        free.map(Self::Tcp).ok_or_else(|| io::ErrorKind::AddrInUse.into())
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
