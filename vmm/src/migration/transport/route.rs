//! How a source gets to its destination.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use net::socket;

use super::super::tls;
use super::{Address, Protection, Stream, Unprotected};
use crate::sys::socket_buffer;

/// How long a host may take to answer a call, and then to show who it is.
const DIAL: Duration = Duration::from_secs(10);

/// Bytes on their way through a unix socket: some batches of pages. TCP sees to its buffers itself.
const ON_THE_WAY: i32 = 4 << 20;

/// An address, and what is asked of whoever is there.
#[derive(Clone, Debug)]
pub struct Route {
    address: Address,
    tls: Option<tls::Client>,
}

impl Route {
    /// The route to an address.
    ///
    /// # Errors
    /// That address is not to be used with this protection, or certificates cannot be used.
    pub fn new(address: Address, protection: &Protection) -> Result<Self, Unprotected> {
        let tls = match protection.credentials(&address)? {
            Some(credentials) => {
                let host = match &address {
                    Address::Tcp { host, .. } => host.as_str(),
                    Address::Unix(_) => "",
                };
                Some(credentials.client(protection.peer.as_deref().unwrap_or(host))?)
            }
            None => None,
        };
        Ok(Self { address, tls })
    }

    /// Where it goes.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody is there, or somebody else.
    pub fn dial(&self) -> io::Result<Stream> {
        match &self.address {
            Address::Unix(path) => {
                let stream = socket::connect(path)?;
                socket_buffer::widen(stream.as_fd(), ON_THE_WAY);
                Ok(Stream::Unix(stream))
            }
            Address::Tcp { host, port } => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, DIAL) {
                        Ok(stream) => return self.greet(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }

    fn greet(&self, stream: TcpStream) -> io::Result<Stream> {
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Stream::Tcp(stream)),
            Some(tls) => {
                let stream = tls.greet(stream, Instant::now() + DIAL).map_err(io::Error::other)?;
                Ok(Stream::Tls(stream))
            }
        }
    }
}
