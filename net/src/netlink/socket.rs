//! Requests to the kernel and its answers, for all families.

use std::io;
use std::os::fd::OwnedFd;

use super::NetlinkError;
use super::message::{Attributes, HEADER, Message, Messages, Received};
use super::sys;

/// Room for what the kernel sends together; it makes use of at most 32 KiB.
const RECEIVE: usize = 64 << 10;
/// How often a listing is begun again because something changed meanwhile.
const ATTEMPTS: usize = 8;

/// `NLMSG_ERROR` and `NLMSG_DONE`.
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_*` of requests and answers, linux/netlink.h.
const REQUEST: u16 = 0x01;
const ACK: u16 = 0x04;
const DUMP_INTERRUPTED: u16 = 0x10;
const DUMP: u16 = 0x300;
/// An error's message does not hold the request: `NLM_F_CAPPED`.
const CAPPED: u16 = 0x100;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;

/// What a request is to do if the thing exists or does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Change what exists.
    Change,
    /// Make what does not exist.
    Create,
    /// Make it, or change what exists.
    Replace,
}

impl Mode {
    /// As `NLM_F_*`.
    fn flags(self) -> u16 {
        const REPLACE: u16 = 0x100;
        const EXCLUSIVE: u16 = 0x200;
        const CREATE: u16 = 0x400;
        REQUEST
            | ACK
            | match self {
                Self::Change => 0,
                Self::Create => CREATE | EXCLUSIVE,
                Self::Replace => CREATE | REPLACE,
            }
    }

    /// A message that is answered when it is done.
    pub(crate) fn message(self, kind: u16, family_header: &[u8]) -> Message {
        Message::new(kind, self.flags(), family_header)
    }
}

/// A connection to one family of the kernel.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
}

impl Socket {
    /// Connects, in the calling thread's network namespace.
    pub(crate) fn open(protocol: libc::c_int) -> Result<Self, NetlinkError> {
        let fd = sys::open(protocol)
            .map_err(|source| NetlinkError::Socket { doing: "opening a netlink socket".into(), source })?;
        Ok(Self { fd, sequence: 0 })
    }

    /// Makes room for long messages.
    pub(crate) fn set_buffers(&self, bytes: i32) {
        sys::set_buffers(&self.fd, bytes);
    }

    /// The next request's number.
    pub(crate) fn number(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    /// Sends messages that are finished.
    pub(crate) fn send(&self, bytes: &[u8], doing: &str) -> Result<(), NetlinkError> {
        sys::send(&self.fd, bytes).map_err(|source| NetlinkError::Socket { doing: doing.to_owned(), source })
    }

    /// Sends a request and waits until it is done. `doing` says what, as in "deleting interface x".
    pub(crate) fn ask(&mut self, message: Message, doing: &str) -> Result<(), NetlinkError> {
        let sequence = self.number();
        self.send(&message.finish(sequence), doing)?;
        self.answers(sequence, doing, &mut |_| ()).map(drop)
    }

    /// Lists all that a request of type `kind` with this family header brings.
    pub(crate) fn dump<T>(
        &mut self,
        kind: u16,
        family_header: &[u8],
        doing: &str,
        mut read: impl FnMut(&Received<'_>) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..ATTEMPTS {
            let sequence = self.number();
            let message = Message::new(kind, REQUEST | DUMP, family_header);
            self.send(&message.finish(sequence), doing)?;
            let mut found = Vec::new();
            if self.answers(sequence, doing, &mut |received| found.extend(read(received)))? {
                return Ok(found);
            }
        }
        let source = io::Error::from_raw_os_error(libc::EINTR);
        Err(NetlinkError::Socket { doing: doing.to_owned(), source })
    }

    /// Reads answers up to the last; whether nothing changed while they were given.
    fn answers(
        &mut self,
        sequence: u32,
        doing: &str,
        each: &mut dyn FnMut(&Received<'_>),
    ) -> Result<bool, NetlinkError> {
        let mut buffer = vec![0; RECEIVE];
        let mut whole = true;
        loop {
            let bytes = sys::receive(&self.fd, &mut buffer)
                .map_err(|source| NetlinkError::Socket { doing: doing.to_owned(), source })?;
            for received in Messages(bytes).filter(|received| received.sequence == sequence) {
                whole &= received.flags & DUMP_INTERRUPTED == 0;
                match received.kind {
                    ERROR | DONE => return outcome(&received, doing).map(|()| whole),
                    _ => each(&received),
                }
            }
        }
    }

    /// Reads answers to a batch: its beginning was number `first`, its last message number `last`.
    pub(crate) fn answers_to_batch(&self, first: u32, last: u32, doing: &str) -> Result<(), NetlinkError> {
        let mut buffer = vec![0; RECEIVE];
        let mut refused = Ok(());
        loop {
            let bytes = sys::receive(&self.fd, &mut buffer)
                .map_err(|source| NetlinkError::Socket { doing: doing.to_owned(), source })?;
            for received in Messages(bytes).filter(|received| received.kind == ERROR) {
                if received.sequence == first {
                    // The batch as a whole was not wanted.
                    return outcome(&received, doing);
                }
                if refused.is_ok() && (first..=last).contains(&received.sequence) {
                    refused = outcome(&received, doing);
                }
                if received.sequence == last {
                    return refused;
                }
            }
        }
    }
}

/// What the last message of an answer says.
fn outcome(received: &Received<'_>, doing: &str) -> Result<(), NetlinkError> {
    let code = super::message::u32_at(received.body, 0).map(u32::cast_signed);
    match code {
        Some(0) => Ok(()),
        Some(code) if code < 0 => Err(NetlinkError::Refused {
            doing: doing.to_owned(),
            said: text(received),
            source: io::Error::from_raw_os_error(code.saturating_neg()),
        }),
        // The end of a listing may come without a code.
        None if received.kind == DONE => Ok(()),
        _ => Err(NetlinkError::Nonsense { doing: doing.to_owned() }),
    }
}

/// The reason in words, behind the code and (a part of) the request.
fn text(received: &Received<'_>) -> Option<String> {
    if received.kind == DONE {
        return Attributes(received.body.get(4..)?).text(ERROR_TEXT);
    }
    let request = received.body.get(4..)?;
    let len = match received.flags & CAPPED {
        0 => usize::try_from(super::message::u32_at(request, 0)?).ok()?,
        _ => HEADER,
    };
    Attributes(request.get(len.checked_next_multiple_of(4)?..)?).text(ERROR_TEXT)
}
