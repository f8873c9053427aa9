//! What source and destination say of a session on connections besides its own.

use std::io::{self, ErrorKind};
use std::thread;
use std::time::{Duration, Instant};

use super::super::transport::Stream;
use super::super::wire::{Fate, Message, Reader, Session, WireError, Writer};
use super::PATIENCE;
use crate::pauses::Pauses;

/// Asks the destination what became of the machine, and tells it that this is known.
pub(super) fn question(dial: &dyn Fn() -> io::Result<Stream>, session: &Session) -> Result<Fate, WireError> {
    let stream = dial().map_err(WireError::Lost)?;
    stream.set_patience(PATIENCE).map_err(WireError::Lost)?;
    let mut reader = Reader::new(stream.try_clone().map_err(WireError::Lost)?);
    let mut writer = Writer::new(stream);
    writer.write(&Message::Ask(session.clone()))?;
    match reader.read()? {
        Message::Fate(fate) => {
            if fate != Fate::Open {
                // It may forget the session. If it does not hear of it, it forgets it later.
                let _ = writer.write(&Message::Settled);
            }
            Ok(fate)
        }
        _ => Err(WireError::Unexpected("something else than an answer")),
    }
}

/// Tells a destination that the machine has stayed, and tries for so long: one that said it is ready stays until it knows, and the network
/// that the first connection was lost by may be back in a moment. What it says has become of the machine; `None` if it is not told, and
/// forgets the session later.
pub fn tell_stayed(
    dial: &dyn Fn() -> io::Result<Stream>,
    session: &Session,
    limit: Duration,
) -> Option<Fate> {
    let (mut pauses, began) = (Pauses::CALLS, Instant::now());
    loop {
        match question(dial, session) {
            // It finds out.
            Ok(Fate::Open) => {}
            Ok(fate) => return Some(fate),
            Err(error) if is_nobody_there(&error) => return None,
            Err(_) => {}
        }
        let pause = pauses.next();
        if began.elapsed().saturating_add(pause) >= limit {
            return None;
        }
        thread::sleep(pause);
    }
}

/// Whether the process that was to be told is gone, or another one is in its place.
fn is_nobody_there(error: &WireError) -> bool {
    match error {
        WireError::Lost(error) => matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound),
        WireError::Silent => false,
        _ => true,
    }
}
