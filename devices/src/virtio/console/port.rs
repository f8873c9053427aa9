//! Ports and who is on their host side.

use std::fmt;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

use super::sys;
use crate::lock;

/// What a port is.
#[derive(Debug)]
pub struct PortConfig {
    /// Name under which the guest finds it (`/dev/virtio-ports/NAME`).
    pub name: Option<String>,
    /// The guest may use it as a console (`/dev/hvcN`).
    pub console: bool,
    /// Its host side.
    pub backend: PortBackend,
    /// Who is told when the guest opens or closes it.
    pub watcher: Option<Arc<dyn PortWatcher>>,
}

/// Somebody on the host who wants to know whether a process in the guest has a port open.
pub trait PortWatcher: fmt::Debug + Send + Sync {
    /// A process in the guest has opened or closed the port, or the device was reset, which closes it. It is called by
    /// threads that have other work to do and must not wait, and it is called as often as the guest likes.
    fn guest_open(&self, open: bool);
}

/// The host side of a port.
#[derive(Debug)]
pub enum PortBackend {
    /// Nobody: there is never input, and output is discarded.
    None,
    /// Whoever connects, one client at a time; others wait. Output without a client is discarded, input waits until
    /// a process in the guest has opened the port. The listener is made non-blocking.
    Listener(UnixListener),
    /// Open files, which are made non-blocking: beware of terminals shared with other processes.
    Files {
        /// Where input comes from, if there is any.
        input: Option<OwnedFd>,
        /// Where output goes, if anybody wants it.
        output: Option<OwnedFd>,
    },
}

/// The host side of a port, ready for use.
#[derive(Debug)]
enum Host {
    None,
    Listener(UnixListener),
    Files { input: Option<File>, output: Option<File> },
}

/// A port, shared by its two queues and the control queues.
#[derive(Debug)]
pub(super) struct Port {
    host: Host,
    watcher: Option<Arc<dyn PortWatcher>>,
    /// Whoever is connected to the listener. Survives stopped queues and resets of the device.
    client: Mutex<Option<File>>,
    /// A process in the guest has the port open.
    guest_open: AtomicBool,
    /// Bytes of the oldest chain of the output queue that are already with the host, while that queue is stopped.
    pub(super) output_skip: AtomicU32,
    /// Wakes the input queue when the guest opens or closes the port.
    pub(super) input_wake: EventFd,
    /// Wakes the output queue when a client comes or goes.
    pub(super) output_wake: EventFd,
}

impl Port {
    pub(super) fn new(backend: PortBackend, watcher: Option<Arc<dyn PortWatcher>>) -> io::Result<Self> {
        let host = match backend {
            PortBackend::None => Host::None,
            PortBackend::Listener(listener) => {
                listener.set_nonblocking(true)?;
                Host::Listener(listener)
            }
            PortBackend::Files { input, output } => {
                let (input, output) = (input.map(File::from), output.map(File::from));
                for file in input.iter().chain(&output) {
                    sys::set_nonblocking(file)?;
                }
                Host::Files { input, output }
            }
        };
        Ok(Self {
            host,
            watcher,
            client: Mutex::new(None),
            guest_open: AtomicBool::new(false),
            output_skip: AtomicU32::new(0),
            input_wake: EventFd::new(EFD_NONBLOCK)?,
            output_wake: EventFd::new(EFD_NONBLOCK)?,
        })
    }

    /// Whether a process in the guest has the port open.
    pub(super) fn is_open_in_guest(&self) -> bool {
        self.guest_open.load(Ordering::Acquire)
    }

    /// A process in the guest has opened or closed the port.
    pub(super) fn set_open_in_guest(&self, open: bool) {
        self.guest_open.store(open, Ordering::Release);
        if let Some(watcher) = &self.watcher {
            watcher.guest_open(open);
        }
    }

    /// The descriptor on which clients arrive.
    pub(super) fn listener(&self) -> Option<RawFd> {
        match &self.host {
            Host::Listener(listener) => Some(listener.as_raw_fd()),
            _ => None,
        }
    }

    /// Whether the host's side is there from the start and stays.
    pub(super) fn is_always_open(&self) -> bool {
        matches!(self.host, Host::Files { .. })
    }

    /// A handle of its own on where input comes from.
    pub(super) fn source(&self) -> Option<File> {
        match &self.host {
            Host::None => None,
            Host::Listener(_) => lock(&self.client).as_ref()?.try_clone().ok(),
            Host::Files { input, .. } => input.as_ref()?.try_clone().ok(),
        }
    }

    /// A handle of its own on where output goes.
    pub(super) fn sink(&self) -> Option<File> {
        match &self.host {
            Host::None => None,
            Host::Listener(_) => lock(&self.client).as_ref()?.try_clone().ok(),
            Host::Files { output, .. } => output.as_ref()?.try_clone().ok(),
        }
    }

    /// Lets the next client in, if one waits.
    pub(super) fn accept(&self) -> Option<File> {
        let Host::Listener(listener) = &self.host else { return None };
        loop {
            match listener.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(true).ok()?;
                    let client = File::from(OwnedFd::from(stream));
                    let source = client.try_clone().ok()?;
                    *lock(&self.client) = Some(client);
                    return Some(source);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// The client is gone.
    pub(super) fn disconnect(&self) {
        *lock(&self.client) = None;
    }
}

/// Wakes a worker. It cannot fail in a way that matters: a full counter is a pending wake-up, too.
pub(super) fn wake(event: &EventFd) {
    let _ = event.write(1);
}
