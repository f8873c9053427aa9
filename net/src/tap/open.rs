//! Finding and opening the file behind an interface.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::TapError;
use super::device_file::{self, DeviceFile};
use super::sys::{self, EXCLUSIVE, MULTI_QUEUE, Name, TAP_FLAGS};

const TUN: &str = "/dev/net/tun";

/// One file per queue of the interface called `name`.
pub(super) fn by_name(name: &str, queues: u16) -> Result<Vec<File>, TapError> {
    if queues == 0 {
        return Err(TapError::NoQueues);
    }
    let missing = || TapError::NoSuchInterface { name: name.to_owned() };
    let index = sys::interface_index(name).ok_or_else(missing)?;
    let raw = Name::new(name).ok_or_else(missing)?;
    let driver = sys::driver(&raw).unwrap_or_default();
    match driver.as_str() {
        "tun" => {
            let files = tap(name, &raw, queues)?;
            // TUNSETIFF creates what does not exist, and the interface may have gone since it was looked up.
            if sys::interface_index(name) == Some(index) { Ok(files) } else { Err(missing()) }
        }
        "macvlan" => macvtap(name, &raw, index, queues),
        _ => Err(TapError::NotATap { name: name.to_owned(), driver }),
    }
}

fn open(name: &str, path: &Path) -> Result<File, TapError> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path);
    file.map_err(|source| device_error(name, path, source))
}

fn device_error(name: &str, path: &Path, source: io::Error) -> TapError {
    match source.raw_os_error() {
        Some(libc::EBUSY) => TapError::InUse { name: name.to_owned() },
        _ => TapError::Device { name: name.to_owned(), path: path.to_owned(), source },
    }
}

fn tap(name: &str, raw: &Name, queues: u16) -> Result<Vec<File>, TapError> {
    if queues == 1 {
        let file = open(name, TUN.as_ref())?;
        // A tap made for several queues does not take a file that does not say so.
        match sys::attach(&file, raw, TAP_FLAGS) {
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
            result => return result.map(|()| vec![file]).map_err(|error| refused(name, queues, error)),
        }
    }
    let attach = |_| {
        let file = open(name, TUN.as_ref())?;
        sys::attach(&file, raw, TAP_FLAGS | MULTI_QUEUE).map_err(|error| refused(name, queues, error))?;
        Ok(file)
    };
    (0..queues).map(attach).collect()
}

/// The files of a tap that is made by opening them.
pub(super) fn new(name: &str, queues: u16) -> Result<Vec<File>, TapError> {
    let raw = Name::new(name).ok_or_else(|| TapError::BadName { name: name.to_owned() })?;
    let several = match queues {
        0 => return Err(TapError::NoQueues),
        1 => TAP_FLAGS,
        _ => TAP_FLAGS | MULTI_QUEUE,
    };
    let attach = |queue| {
        let file = open(name, TUN.as_ref())?;
        // The first makes it, and nothing else; the others join it.
        let flags = if queue == 0 { several | EXCLUSIVE } else { several };
        sys::attach(&file, &raw, flags).map_err(|error| refused(name, queues, error))?;
        Ok(file)
    };
    (0..queues).map(attach).collect()
}

fn refused(name: &str, queues: u16, source: io::Error) -> TapError {
    let name = name.to_owned();
    match source.raw_os_error() {
        Some(libc::EBUSY) => TapError::InUse { name },
        Some(libc::EPERM) => TapError::Permission { name },
        Some(libc::EINVAL | libc::E2BIG) if queues > 1 => TapError::SingleQueue { name, queues },
        Some(libc::EINVAL) => TapError::NotATap { name, driver: "tun".to_owned() },
        _ => TapError::SetUp { name, doing: "attaching to it", source },
    }
}

fn macvtap(name: &str, raw: &Name, index: u32, queues: u16) -> Result<Vec<File>, TapError> {
    let usual = || PathBuf::from(format!("/dev/tap{index}"));
    let found = DeviceFile::of(name, index).map_err(|source| TapError::Device {
        name: name.to_owned(),
        path: usual(),
        source,
    })?;
    let failed = |source| device_error(name, found.node(), source);
    let flags = if queues > 1 { TAP_FLAGS | MULTI_QUEUE } else { TAP_FLAGS };
    let attach = |_| {
        let file = found.open().map_err(failed)?;
        if !device_file::belongs(&file, raw).map_err(failed)? {
            return Err(TapError::WrongDevice { name: name.to_owned(), path: found.node().to_owned() });
        }
        sys::attach(&file, raw, flags).map_err(|error| refused(name, queues, error))?;
        Ok(file)
    };
    (0..queues).map(attach).collect()
}

/// Name of the one interface that all files are attached to.
pub(super) fn check_files(files: &[File]) -> Result<String, TapError> {
    let mut found: Option<String> = None;
    for file in files {
        let (name, flags) = sys::attached(file).map_err(TapError::NotATapFd)?;
        if flags & libc::IFF_VNET_HDR == 0 {
            return Err(TapError::NoHeader { name });
        }
        match &found {
            Some(first) if *first != name => {
                return Err(TapError::DifferentTaps { first: first.clone(), other: name });
            }
            _ => found = Some(name),
        }
    }
    found.ok_or(TapError::NoQueues)
}
