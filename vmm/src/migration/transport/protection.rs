//! What protects a connection: which address wants what.

use std::path::PathBuf;

use super::super::tls::{Credentials, CredentialsError};
use super::Address;

/// What was asked for to protect a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Protection {
    /// Folder of certificates and key, for TLS.
    pub folder: Option<PathBuf>,
    /// Name that the certificate of the other side has to have. A source wants the host's name of its address if there is none,
    /// a destination takes anybody whom the CA vouches for.
    pub peer: Option<String>,
    /// The stream may go over a network as it is.
    pub insecure: bool,
}

/// A connection that is not protected as it should be.
#[derive(Debug, thiserror::Error)]
pub enum Unprotected {
    /// Nothing was said.
    #[error(
        "what goes over a network is to be encrypted: give --tls a folder with ca.crt, tls.crt and tls.key, or say --insecure if \
         anybody may read it, alter it and send it"
    )]
    Open,
    /// Both were said.
    #[error("--tls and --insecure contradict each other")]
    Contradiction,
    /// A unix socket is not a network.
    #[error("a unix socket does not leave this host and is not encrypted: --tls is for tcp://")]
    NotNeeded,
    /// A name is of no use without certificates.
    #[error("--tls-peer names whose certificate is taken: it wants --tls")]
    NobodyAsked,
    /// Certificates cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

impl Protection {
    /// What TLS is to be spoken with at an address, if it is.
    pub(super) fn credentials(&self, address: &Address) -> Result<Option<Credentials>, Unprotected> {
        match &self.folder {
            None if self.peer.is_some() => Err(Unprotected::NobodyAsked),
            None if address.is_network() && !self.insecure => Err(Unprotected::Open),
            None => Ok(None),
            Some(_) if self.insecure => Err(Unprotected::Contradiction),
            Some(_) if !address.is_network() => Err(Unprotected::NotNeeded),
            Some(folder) => Ok(Some(Credentials::read(folder)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Gate, Route};
    use super::*;

    fn verdicts(address: &str, protection: &Protection) -> [Result<(), String>; 2] {
        let address: Address = address.parse().unwrap();
        let say = |error: Unprotected| error.to_string();
        [
            Route::new(address.clone(), protection).map(drop).map_err(say),
            Gate::new(address, protection).map(drop).map_err(say),
        ]
    }

    #[test]
    fn a_network_wants_certificates_or_a_word() {
        let folder = Some(PathBuf::from("/nowhere/at/all"));
        let plain = Protection::default();
        let insecure = Protection { insecure: true, ..plain.clone() };
        let tls = Protection { folder: folder.clone(), ..plain.clone() };
        let both = Protection { folder, insecure: true, ..plain.clone() };
        let nobody = Protection { peer: Some("x".into()), insecure: true, ..plain.clone() };
        for (address, protection, word) in [
            ("unix:/x", &plain, None),
            ("unix:/x", &insecure, None),
            ("unix:/x", &tls, Some("--tls is for tcp://")),
            ("tcp://x:1", &plain, Some("--insecure")),
            ("tcp://x:1", &insecure, None),
            ("tcp://x:1", &both, Some("contradict")),
            ("tcp://x:1", &tls, Some("/nowhere/at/all")),
            ("tcp://x:1", &nobody, Some("--tls-peer")),
        ] {
            for verdict in verdicts(address, protection) {
                match (&verdict, word) {
                    (Ok(()), None) => {}
                    (Err(why), Some(word)) => assert!(why.contains(word), "{address} {why}"),
                    _ => panic!("{address} {protection:?}: {verdict:?}"),
                }
            }
        }
    }
}
