//! Where a destination lets its source in.

use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixListener;
use std::time::Instant;

use net::socket;

use super::super::tls;
use super::{Address, Protection, Stream, Unprotected};

/// An address, and what is asked of those who call there.
#[derive(Clone, Debug)]
pub struct Gate {
    address: Address,
    tls: Option<tls::Server>,
}

impl Gate {
    /// The gate at an address.
    ///
    /// # Errors
    /// That address is not to be used with this protection, or certificates cannot be used.
    pub fn new(address: Address, protection: &Protection) -> Result<Self, Unprotected> {
        let tls = match protection.credentials(&address)? {
            Some(credentials) => Some(credentials.server(protection.peer.as_deref())?),
            None => None,
        };
        Ok(Self { address, tls })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Listens there.
    ///
    /// # Errors
    /// Somebody does so already, or it is not possible.
    pub fn listen(&self) -> io::Result<Listener> {
        let socket = match &self.address {
            Address::Unix(path) => socket::listen_privately(path).map(Socket::Unix),
            Address::Tcp { host, port } => TcpListener::bind((host.as_str(), *port)).map(Socket::Tcp),
        }?;
        Ok(Listener { socket, tls: self.tls.clone() })
    }
}

/// Waits for connections.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    tls: Option<tls::Server>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixListener),
    Tcp(TcpListener),
}

impl Listener {
    /// The next connection.
    ///
    /// # Errors
    /// As accept(2).
    pub fn accept(&self) -> io::Result<Caller> {
        let stream = match &self.socket {
            Socket::Unix(listener) => Stream::Unix(listener.accept()?.0),
            Socket::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        Ok(Caller { stream, tls: self.tls.clone() })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Socket::Unix(listener) => listener.as_fd(),
            Socket::Tcp(listener) => listener.as_fd(),
        }
    }
}

/// Somebody has called, and not shown yet who it is.
#[derive(Debug)]
pub struct Caller {
    stream: Stream,
    tls: Option<tls::Server>,
}

impl Caller {
    /// Its connection once more, to end it from another thread.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn stream(&self) -> io::Result<Stream> {
        self.stream.try_clone()
    }

    /// Has the caller show who it is, until then at most.
    ///
    /// # Errors
    /// It is somebody else, or takes too long.
    pub fn greet(self, until: Instant) -> io::Result<Stream> {
        match (self.stream, self.tls) {
            (Stream::Tcp(stream), Some(tls)) => {
                tls.greet(stream, until).map(Stream::Tls).map_err(io::Error::other)
            }
            (stream, _) => Ok(stream),
        }
    }
}
