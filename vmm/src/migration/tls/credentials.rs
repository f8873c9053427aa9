//! Certificates and the key of this side, as files.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, version};

use super::provider::provider;
use super::sides::{Client, NamedClients, Server};

/// Names of a Kubernetes secret of type `kubernetes.io/tls`, with the CA beside it as cert-manager puts it there.
const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Certificates or the key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file has something else in it.
    #[error("{} has no {what} in PEM: {source}", path.display())]
    Senseless {
        /// Which.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// What is wrong.
        source: rustls::pki_types::pem::Error,
    },
    /// They do not do for TLS.
    #[error("the certificates in {} cannot be used: {why}", folder.display())]
    Unfit {
        /// Where they are.
        folder: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A certificate cannot have such a name.
    #[error("{0:?} is no name that a certificate could have: use a host's name or address")]
    Name(String),
}

/// Who this side is, and whom it trusts.
#[derive(Debug)]
pub struct Credentials {
    folder: PathBuf,
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Credentials {
    /// Reads `ca.crt`, `tls.crt` and `tls.key` of a folder.
    ///
    /// # Errors
    /// One is not there, or is something else.
    pub fn read(folder: &Path) -> Result<Self, CredentialsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(&folder.join(CA))? {
            roots.add(root).map_err(|error| unfit(folder, format!("{CA}: {error}")))?;
        }
        let chain = certificates(&folder.join(CERTIFICATE))?;
        let path = folder.join(KEY);
        let key = PrivateKeyDer::from_pem_slice(&read(&path)?);
        let key = key.map_err(|source| CredentialsError::Senseless { path, what: "private key", source })?;
        Ok(Self { folder: folder.to_owned(), roots: Arc::new(roots), chain, key })
    }

    /// The side that calls, and wants the other one to be `peer`.
    ///
    /// # Errors
    /// They do not do for that.
    pub fn client(self, peer: &str) -> Result<Client, CredentialsError> {
        let Self { folder, roots, chain, key } = self;
        let peer = name(peer)?;
        let provider = provider();
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| unfit(&folder, error.to_string()))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .and_then(|builder| builder.with_webpki_verifier(verifier).with_client_auth_cert(chain, key));
        let mut config = config.map_err(|error| unfit(&folder, error.to_string()))?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Client::new(Arc::new(config), peer))
    }

    /// The side that is called: by anybody whom the CA vouches for, or only by `peer`.
    ///
    /// # Errors
    /// They do not do for that.
    pub fn server(self, peer: Option<&str>) -> Result<Server, CredentialsError> {
        let Self { folder, roots, chain, key } = self;
        let peer = peer.map(name).transpose()?;
        let provider = provider();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
        let verifier = verifier.map_err(|error| unfit(&folder, error.to_string()))?;
        let verifier = Arc::new(NamedClients::new(verifier, peer));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&version::TLS13])
            .and_then(|builder| builder.with_client_cert_verifier(verifier).with_single_cert(chain, key));
        let mut config = config.map_err(|error| unfit(&folder, error.to_string()))?;
        // Nobody comes back to a session.
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Server::new(Arc::new(config)))
    }
}

fn name(text: &str) -> Result<ServerName<'static>, CredentialsError> {
    ServerName::try_from(text.to_owned())
        .map_err(|_| CredentialsError::Name(text.chars().take(200).collect()))
}

fn unfit(folder: &Path, why: String) -> CredentialsError {
    CredentialsError::Unfit { folder: folder.to_owned(), why }
}

fn read(path: &Path) -> Result<Vec<u8>, CredentialsError> {
    std::fs::read(path).map_err(|source| CredentialsError::Unreadable { path: path.to_owned(), source })
}

/// All certificates of a file, one at least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let senseless =
        |source| CredentialsError::Senseless { path: path.to_owned(), what: "certificate", source };
    let bytes = read(path)?;
    let all = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>().map_err(senseless)?;
    if all.is_empty() { Err(senseless(rustls::pki_types::pem::Error::NoItemsFound)) } else { Ok(all) }
}
