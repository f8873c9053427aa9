//! Where a destination listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a destination listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A unix socket of this host.
    Unix(PathBuf),
    /// A port of some host, which may be an IPv6 address in brackets.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
}

/// The text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address: use unix:PATH or tcp://HOST:PORT")]
pub struct BadAddress(String);

impl FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let bad = || BadAddress(text.chars().take(200).collect());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() { Err(bad()) } else { Ok(Self::Unix(path.into())) };
        }
        let rest = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("tcp:")).ok_or_else(bad)?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = inner.unwrap_or(host);
        let is_bare_v6 = inner.is_none() && host.contains(':');
        match port.parse() {
            Ok(port) if !host.is_empty() && !is_bare_v6 => Ok(Self::Tcp { host: host.to_owned(), port }),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp://{host}:{port}"),
        }
    }
}

impl Address {
    /// Whether what goes there leaves this host, or may.
    pub fn is_network(&self) -> bool {
        matches!(self, Self::Tcp { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_paths_or_ports() {
        for (text, shown) in [
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("unix:///run/x.sock", "unix:/run/x.sock"),
            ("unix:x", "unix:x"),
            ("tcp://node2:49152", "tcp://node2:49152"),
            ("tcp:10.0.0.2:1", "tcp://10.0.0.2:1"),
            ("tcp://[fd00::2]:49152", "tcp://[fd00::2]:49152"),
        ] {
            assert_eq!(text.parse::<Address>().map(|address| address.to_string()).as_deref(), Ok(shown));
        }
        for bad in [
            "",
            "unix:",
            "node2:1",
            "tcp://node2",
            "tcp://:1",
            "tcp://x:70000",
            "tcp://fd00::2:1",
            "http://x:1",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }
}
