//! Settings of the kernel under `/proc/sys/net`, of the calling thread's network namespace.

use std::fs;
use std::io;

use super::SetupError;

const FOLDER: &str = "/proc/sys/net";

/// A setting of one interface: `version` is `ipv4` or `ipv6`.
pub(super) fn of_interface(version: &str, interface: &str, key: &str) -> String {
    format!("{FOLDER}/{version}/conf/{interface}/{key}")
}

/// Whether packets that are not for this host are passed on.
pub(super) const FORWARD_V4: &str = "/proc/sys/net/ipv4/ip_forward";
/// The same for IPv6; interfaces alone are not enough there.
pub(super) const FORWARD_V6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// What a setting is; none where the kernel has no such setting.
pub(super) fn read(path: &str) -> Result<Option<String>, SetupError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SetupError::Setting { path: path.to_owned(), value: String::new(), source }),
    }
}

/// Changes a setting. One that has the value already is not written: in containers they often cannot be.
pub(super) fn write(path: &str, value: &str) -> Result<(), SetupError> {
    if read(path)?.as_deref() == Some(value) {
        return Ok(());
    }
    fs::write(path, value).map_err(|source| SetupError::Setting {
        path: path.to_owned(),
        value: value.to_owned(),
        source,
    })
}

/// Changes a setting if the kernel has it.
pub(super) fn write_if_there(path: &str, value: &str) -> Result<(), SetupError> {
    match read(path)? {
        Some(_) => write(path, value),
        None => Ok(()),
    }
}
