//! How reads and writes of host files are carried out: io_uring where the host has it, plain
//! system calls in the caller's thread where not; or by threads, where somebody asks for them.

mod inline;
mod threads;
mod uring;

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::buf::Bufs;
use crate::disk::DiskError;
use crate::target::Target;

use inline::Inline;
use threads::Threads;
use uring::Uring;

/// Which engine to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineKind {
    /// io_uring where the host allows it, else system calls.
    #[default]
    Auto,
    /// io_uring, or an error where the host has none (KubeVirt's `io: native`).
    Native,
    /// System calls in threads of the queue's own (KubeVirt's `io: threads`).
    Threads,
    /// System calls in the submitting thread.
    Sync,
}

/// Which of an engine's files.
pub(crate) type FileIndex = usize;

/// One operation on a host file.
#[derive(Debug)]
pub(crate) struct Op {
    pub(crate) file: FileIndex,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Read {
        offset: u64,
        bufs: Bufs,
    },
    Write {
        offset: u64,
        bufs: Bufs,
    },
    Sync,
    Discard {
        offset: u64,
        len: u64,
    },
    Zero {
        offset: u64,
        len: u64,
        unmap: bool,
    },
    /// Completes at once, having done nothing.
    Nothing,
}

/// An operation's end. A read or write is never short.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) user: u64,
    pub(crate) result: io::Result<()>,
}

#[derive(Debug)]
pub(crate) enum Engine {
    Uring(Box<Uring>),
    Threads(Threads),
    Inline(Inline),
}

/// Set once io_uring has been found missing or forbidden, so that nobody asks again.
static NO_URING: AtomicBool = AtomicBool::new(false);

impl Engine {
    /// An engine for `files`, with room in its rings for about `depth` operations at a time (more
    /// may be in flight).
    pub(crate) fn open(kind: EngineKind, depth: u16, files: Vec<Arc<Target>>) -> Result<Engine, DiskError> {
        match kind {
            EngineKind::Auto if !NO_URING.load(Ordering::Relaxed) => {
                match Uring::open(depth, files.clone()) {
                    Ok(uring) => return Ok(Engine::Uring(Box::new(uring))),
                    Err(error) if uring::missing(&error) => NO_URING.store(true, Ordering::Relaxed),
                    Err(error) => return Err(DiskError::Queue(error)),
                }
            }
            EngineKind::Native => {
                return match Uring::open(depth, files) {
                    Ok(uring) => Ok(Engine::Uring(Box::new(uring))),
                    Err(error) if uring::missing(&error) => Err(DiskError::NoNative(error)),
                    Err(error) => Err(DiskError::Queue(error)),
                };
            }
            EngineKind::Threads => {
                return Threads::open(depth, files).map(Engine::Threads).map_err(DiskError::Queue);
            }
            EngineKind::Auto | EngineKind::Sync => {}
        }
        Inline::open(files).map(Engine::Inline).map_err(DiskError::Queue)
    }

    /// Starts an operation; `user` comes back with its end.
    pub(crate) fn push(&mut self, op: Op, user: u64) {
        match self {
            Engine::Uring(engine) => engine.push(op, user),
            Engine::Threads(engine) => engine.push(op, user),
            Engine::Inline(engine) => engine.push(&op, user),
        }
    }

    pub(crate) fn flush(&mut self) {
        match self {
            Engine::Uring(engine) => engine.flush(),
            Engine::Threads(engine) => engine.flush(),
            Engine::Inline(engine) => engine.flush(),
        }
    }

    pub(crate) fn next(&mut self) -> Option<Done> {
        match self {
            Engine::Uring(engine) => engine.next(),
            Engine::Threads(engine) => engine.next(),
            Engine::Inline(engine) => engine.next(),
        }
    }

    /// Blocks until [`Engine::next`] has something, or nothing is in flight.
    pub(crate) fn wait(&mut self) {
        match self {
            Engine::Uring(engine) => engine.wait(),
            Engine::Threads(engine) => engine.wait(),
            Engine::Inline(_) => {}
        }
    }

    pub(crate) fn completion_fd(&self) -> BorrowedFd<'_> {
        match self {
            Engine::Uring(engine) => engine.event.fd(),
            Engine::Threads(engine) => engine.event().fd(),
            Engine::Inline(engine) => engine.event.fd(),
        }
    }

    pub(crate) fn acknowledge(&mut self) {
        match self {
            Engine::Uring(engine) => engine.event.clear(),
            Engine::Threads(engine) => engine.event().clear(),
            Engine::Inline(engine) => engine.event.clear(),
        }
    }
}

/// Carries out an operation in this thread.
fn run(files: &[Arc<Target>], op: &Op) -> io::Result<()> {
    let Some(target) = files.get(op.file) else { return Err(io::ErrorKind::NotFound.into()) };
    match &op.what {
        What::Read { offset, bufs } => target.read(*offset, bufs),
        What::Write { offset, bufs } => target.write(*offset, bufs),
        What::Sync => target.sync(),
        What::Discard { offset, len } => target.discard(*offset, *len),
        What::Zero { offset, len, unmap } => target.write_zeroes(*offset, *len, *unmap),
        What::Nothing => Ok(()),
    }
}

/// The eventfd that tells of completions.
#[derive(Debug)]
struct Event(std::fs::File);

impl Event {
    fn new() -> io::Result<Event> {
        crate::sys::eventfd().map(Event)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.0)
    }

    // Neither can fail in a way that matters: a full counter is readable, an empty one is clear.
    fn signal(&self) {
        let _ = io::Write::write(&mut &self.0, &1u64.to_ne_bytes());
    }

    fn clear(&self) {
        let _ = io::Read::read(&mut &self.0, &mut [0; 8]);
    }
}
