//! A connection on which each side sends bytes that the other one knows beforehand.

use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pattern;

/// Seed of what goes to the host.
pub const TO_HOST: u64 = 0x0068_6f73_7400;
/// Seed of what goes to the guest.
pub const TO_GUEST: u64 = 0x0067_7565_7374;
/// What is sent at a time.
const PIECE: usize = 4096;

/// Sends piece after piece for as long as `goes_on` says so; counts them in bytes.
///
/// # Errors
/// The connection's.
pub fn send(
    mut stream: impl Write,
    seed: u64,
    sent: &AtomicU64,
    mut goes_on: impl FnMut() -> bool,
) -> io::Result<()> {
    let mut piece = [0; PIECE];
    while goes_on() {
        pattern::fill(&mut piece, sent.load(Ordering::SeqCst), seed);
        stream.write_all(&piece)?;
        sent.fetch_add(PIECE as u64, Ordering::SeqCst);
    }
    Ok(())
}

/// Takes what comes until the other side ends it, and compares it; `after` each piece something may be done.
///
/// # Errors
/// The connection's, and bytes that are not the right ones.
pub fn take(mut stream: impl Read, seed: u64, taken: &AtomicU64, mut after: impl FnMut()) -> io::Result<()> {
    let (mut piece, mut wanted) = ([0; PIECE], [0; PIECE]);
    let mut filled = 0;
    loop {
        let count = match stream.read(piece.get_mut(filled..).unwrap_or_default()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            count => count?,
        };
        if count == 0 {
            return if filled == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        filled += count;
        if filled == PIECE {
            let at = taken.load(Ordering::SeqCst);
            pattern::fill(&mut wanted, at, seed);
            if piece != wanted {
                return Err(io::Error::other(format!(
                    "the {PIECE} bytes from {at} on are others than were sent"
                )));
            }
            taken.fetch_add(PIECE as u64, Ordering::SeqCst);
            filled = 0;
            after();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(pieces: usize) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut left = pieces;
        send(&mut stream, TO_HOST, &AtomicU64::new(0), || {
            left.checked_sub(1).inspect(|less| left = *less).is_some()
        })
        .unwrap();
        stream
    }

    #[test]
    fn what_is_sent_is_taken_and_nothing_else_is() {
        let (stream, taken) = (sent(3), AtomicU64::new(0));
        take(stream.as_slice(), TO_HOST, &taken, || ()).unwrap();
        assert_eq!(taken.load(Ordering::SeqCst), 3 * PIECE as u64);
        let refused = |stream: &[u8]| take(stream, TO_HOST, &AtomicU64::new(0), || ()).is_err();
        assert!(refused(&stream[..PIECE + 1]), "a torn piece");
        assert!(refused(&stream[PIECE..]), "a lost piece");
        assert!(refused(&[&stream[..PIECE], &stream[..PIECE]].concat()), "a doubled piece");
        let mut altered = stream;
        altered[2 * PIECE] ^= 1;
        assert!(refused(&altered), "an altered piece");
    }
}
