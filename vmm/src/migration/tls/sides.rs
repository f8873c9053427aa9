//! The two sides, until each knows who the other one is.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, DistinguishedName, Error,
    ServerConfig, ServerConnection, SignatureScheme,
};

use super::{TlsError, TlsStream};

/// How long the other side has to hear that it was not accepted.
const FAREWELL: Duration = Duration::from_secs(1);

/// The side that calls.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    peer: ServerName<'static>,
}

impl Client {
    pub(super) fn new(config: Arc<ClientConfig>, peer: ServerName<'static>) -> Self {
        Self { config, peer }
    }

    /// Both sides show who they are, until then at most.
    ///
    /// # Errors
    /// There is somebody else, or it takes too long.
    pub fn greet(&self, socket: TcpStream, until: Instant) -> Result<TlsStream, TlsError> {
        let session = ClientConnection::new(Arc::clone(&self.config), self.peer.clone())?;
        shake(session.into(), socket, until)
    }
}

/// The side that is called.
#[derive(Clone, Debug)]
pub struct Server(Arc<ServerConfig>);

impl Server {
    pub(super) fn new(config: Arc<ServerConfig>) -> Self {
        Self(config)
    }

    /// Both sides show who they are, until then at most.
    ///
    /// # Errors
    /// There is somebody else, or it takes too long.
    pub fn greet(&self, socket: TcpStream, until: Instant) -> Result<TlsStream, TlsError> {
        let session = ServerConnection::new(Arc::clone(&self.0))?;
        shake(session.into(), socket, until)
    }
}

fn shake(mut session: Connection, socket: TcpStream, until: Instant) -> Result<TlsStream, TlsError> {
    match talk(&mut session, &socket, until) {
        Ok(()) => Ok(TlsStream::new(session, socket)),
        Err(error) => {
            dismiss(&mut session, &socket);
            Err(error)
        }
    }
}

fn talk(session: &mut Connection, mut socket: &TcpStream, until: Instant) -> Result<(), TlsError> {
    let left = || match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(TlsError::Slow),
        left => Ok(Some(left)),
    };
    loop {
        while session.wants_write() {
            socket.set_write_timeout(left()?)?;
            going_on(session.write_tls(&mut socket))?;
        }
        if !session.is_handshaking() {
            return Ok(());
        }
        socket.set_read_timeout(left()?)?;
        match going_on(session.read_tls(&mut socket))? {
            Some(0) => return Err(TlsError::Lost(io::ErrorKind::UnexpectedEof.into())),
            Some(_) => {
                session.process_new_packets()?;
            }
            None => {}
        }
    }
}

/// What a call has done; nothing if this process was stopped meanwhile and has gone on, which breaks off calls that wait for a limited
/// time.
fn going_on(done: io::Result<usize>) -> io::Result<Option<usize>> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        done => done.map(Some),
    }
}

/// Says why, and stays until it was heard: what is closed with bytes that nobody has read takes its last words along.
fn dismiss(session: &mut Connection, mut socket: &TcpStream) {
    let _ = socket.set_write_timeout(Some(FAREWELL));
    while session.wants_write() {
        if session.write_tls(&mut socket).is_err() {
            return;
        }
    }
    let until = Instant::now() + FAREWELL;
    if socket.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut unread = [0; 1024];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let heard = !left.is_zero() && socket.set_read_timeout(Some(left)).is_ok();
        if !heard || !matches!(io::Read::read(&mut socket, &mut unread), Ok(count) if count > 0) {
            return;
        }
    }
}

/// Callers whom a CA vouches for; with a name, only those of that name.
#[derive(Debug)]
pub(super) struct NamedClients {
    any: Arc<dyn ClientCertVerifier>,
    name: Option<ServerName<'static>>,
}

impl NamedClients {
    pub(super) fn new(any: Arc<dyn ClientCertVerifier>, name: Option<ServerName<'static>>) -> Self {
        Self { any, name }
    }
}

impl ClientCertVerifier for NamedClients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.any.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.any.verify_client_cert(certificate, intermediates, now)?;
        if let Some(name) = &self.name {
            rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.any.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.any.supported_verify_schemes()
    }
}
