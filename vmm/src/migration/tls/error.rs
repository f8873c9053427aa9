//! Why two sides do not come together.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// Two sides have not come together.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The connection is gone.
    #[error("the connection was lost while both sides showed who they are: {0}")]
    Lost(#[source] io::Error),
    /// It took too long.
    #[error("the other side did not show in time who it is")]
    Slow,
    /// It speaks something else.
    #[error("the other side does not speak TLS 1.3 (is it to be used with --insecure?): {0}")]
    Foreign(#[source] Error),
    /// It has shown no certificate.
    #[error("the other side shows no certificate")]
    NoCertificate,
    /// The time of its certificate is over.
    #[error("the certificate of the other side has expired, or this host's clock is wrong")]
    Expired,
    /// The time of its certificate has not come.
    #[error("the certificate of the other side is not valid yet, or this host's clock is wrong")]
    NotYet,
    /// Another CA.
    #[error("no CA of this side's ca.crt vouches for the certificate of the other side")]
    UnknownIssuer,
    /// Somebody else.
    #[error(
        "the certificate of the other side is for somebody else: {0} (--tls-peer NAME takes another name)"
    )]
    Name(#[source] Error),
    /// It is not meant for this.
    #[error(
        "the certificate of the other side may not be used for this: a destination has to have serverAuth, a source clientAuth: {0}"
    )]
    Purpose(#[source] Error),
    /// It does not take this side's certificate.
    #[error("the other side does not accept this side's certificate ({0:?}); it says there why")]
    NotAccepted(AlertDescription),
    /// Something else.
    #[error("{0}")]
    Other(#[source] Error),
}

impl From<Error> for TlsError {
    fn from(error: Error) -> Self {
        use {AlertDescription as A, CertificateError as C};
        match &error {
            Error::InvalidCertificate(certificate) => match certificate {
                C::Expired | C::ExpiredContext { .. } => Self::Expired,
                C::NotValidYet | C::NotValidYetContext { .. } => Self::NotYet,
                C::UnknownIssuer | C::BadSignature => Self::UnknownIssuer,
                C::NotValidForName | C::NotValidForNameContext { .. } => Self::Name(error),
                C::InvalidPurpose | C::InvalidPurposeContext { .. } => Self::Purpose(error),
                _ => Self::Other(error),
            },
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidMessage(_) | Error::PeerIncompatible(_) => Self::Foreign(error),
            Error::AlertReceived(
                alert @ (A::BadCertificate
                | A::UnsupportedCertificate
                | A::CertificateRevoked
                | A::CertificateExpired
                | A::CertificateUnknown
                | A::CertificateRequired
                | A::UnknownCA
                | A::AccessDenied
                | A::DecryptError),
            ) => Self::NotAccepted(*alert),
            Error::AlertReceived(A::ProtocolVersion | A::HandshakeFailure) => Self::Foreign(error),
            _ => Self::Other(error),
        }
    }
}

impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Slow,
            _ => Self::Lost(error),
        }
    }
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        match error {
            TlsError::Lost(error) => error,
            error => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}
