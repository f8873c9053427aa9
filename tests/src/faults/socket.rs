//! Connections by unix sockets and by TCP, alike.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use net::socket;

/// Between which ports, these included, the kernel gives one to who asks for any.
const GIVEN: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// Ports below are for well-known services.
const FIRST: u16 = 16 << 10;

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
        const OF_EACH: usize = 16;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let ports = not_given(&fs::read_to_string(GIVEN)?).ok_or(io::ErrorKind::InvalidData)?;
        let begin = usize::try_from(std::process::id()).unwrap_or_default().wrapping_mul(OF_EACH);
        let next = || begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let mut tried = (0..ports.len())
            .filter_map(|_| ports.get(next() % ports.len()))
            .map(|port| SocketAddr::from(([127, 0, 0, 1], *port)));
        let free = tried.find(|address| TcpListener::bind(address).is_ok());
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

/// The ports that the kernel gives to nobody, where it gives those that `given` says.
fn not_given(given: &str) -> Option<Vec<u16>> {
    let mut ends = given.split_whitespace().map(|end| end.parse::<u16>().ok());
    let given = ends.next()??..=ends.next()??;
    Some((FIRST..=u16::MAX).filter(|port| !given.contains(port)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_the_kernel_gives_are_left_to_it() {
        let usual = not_given("32768\t60999\n").unwrap();
        assert_eq!(usual.len(), (32768 - 16384) + (65535 - 60999));
        assert!(usual.contains(&FIRST) && usual.contains(&61000));
        assert!(!usual.contains(&32768) && !usual.contains(&60999));
        let rest = not_given("1024 65000").unwrap();
        assert_eq!(rest, (65001..=65535).collect::<Vec<u16>>());
        assert_eq!(not_given("1024 65535"), Some(Vec::new()));
        assert_eq!((not_given(""), not_given("1024")), (None, None));
    }

    #[test]
    fn a_free_port_is_one_that_can_be_listened_at() {
        let (one, other) = (Place::free_port().unwrap(), Place::free_port().unwrap());
        assert_ne!(one, other);
        one.listen().unwrap();
    }
}
