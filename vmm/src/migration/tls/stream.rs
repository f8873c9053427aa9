//! An encrypted connection that one thread reads while another one writes.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::Connection;

use super::TlsError;

/// Bytes that are taken off the socket at once, and most that are put onto it: some records of TLS.
const PIECE: usize = 128 << 10;

/// An encrypted connection. Clones are the same one.
///
/// What the socket is waited for is outside of the lock on the session, so that neither direction waits for the other.
#[derive(Clone, Debug)]
pub struct TlsStream(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: TcpStream,
    session: Mutex<Connection>,
    /// What came and was not decrypted yet; held by whoever reads.
    incoming: Mutex<Incoming>,
    /// What was encrypted and has not gone; held by whoever writes.
    outgoing: Mutex<Vec<u8>>,
}

impl TlsStream {
    pub(super) fn new(mut session: Connection, socket: TcpStream) -> Self {
        session.set_buffer_limit(Some(PIECE));
        let incoming = Mutex::new(Incoming { bytes: vec![0; PIECE], from: 0, to: 0 });
        Self(Arc::new(Shared { socket, session: Mutex::new(session), incoming, outgoing: Mutex::default() }))
    }

    /// What it goes by.
    pub fn socket(&self) -> &TcpStream {
        &self.0.socket
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes `from..to` were read off the socket, and are to be decrypted.
#[derive(Debug)]
struct Incoming {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Incoming {
    /// Waits for more. With none left, what follows is the connection's end.
    fn fill(&mut self, mut socket: &TcpStream) -> io::Result<()> {
        loop {
            match socket.read(&mut self.bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    (self.from, self.to) = (0, count);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Gives some of them to the session; whether there were any.
    fn feed(&mut self, session: &mut Connection) -> io::Result<bool> {
        let mut bytes = self.bytes.get(self.from..self.to).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(false);
        }
        self.from += session.read_tls(&mut bytes)?;
        session.process_new_packets().map_err(TlsError::from)?;
        Ok(true)
    }
}

impl Read for TlsStream {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let mut incoming = lock(&self.0.incoming);
        loop {
            let mut session = lock(&self.0.session);
            loop {
                match session.reader().read(to) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    done => return done,
                }
                if !incoming.feed(&mut session)? {
                    break;
                }
            }
            drop(session);
            incoming.fill(&self.0.socket)?;
        }
    }
}

impl Write for TlsStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut outgoing = lock(&self.0.outgoing);
        outgoing.clear();
        let mut session = lock(&self.0.session);
        let count = session.writer().write_vectored(slices)?;
        while session.wants_write() {
            session.write_tls(&mut *outgoing)?;
        }
        drop(session);
        (&self.0.socket).write_all(&outgoing)?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
