//! Somebody between source and destination who breaks the connection at the moment when the machine changes hands.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use guest::sys;

use crate::failure::{Doing, Outcome};

/// Bytes of a frame's header, where its kind and its length are, and the kind of `Go` (docs/migration.md).
const HEADER: usize = 24;
const GO: u16 = 9;
/// By so much, connections after the first are late.
const LATER: Duration = Duration::from_millis(500);

/// When the first connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// `Go` does not arrive.
    BeforeGo,
    /// It does, and no answer comes back.
    AfterGo,
    /// It does not, and the destination, which is this process, is killed.
    Kill(u32),
}

/// Listens at `near` for a source, and passes on what it says to `far`. Connections after the first are whole.
pub(super) fn listen(near: PathBuf, far: PathBuf, cut: Cut) -> Outcome {
    let listener = UnixListener::bind(near).doing("listening as a proxy")?;
    thread::spawn(move || {
        let mut cut = Some(cut);
        for stream in listener.incoming() {
            if cut.is_none() {
                // A question that overtakes `Go` is answered as if that had not come, and then it is of no effect.
                thread::sleep(LATER);
            }
            let (Ok(source), Ok(destination)) = (stream, UnixStream::connect(&far)) else { continue };
            let pair = (source.try_clone(), destination.try_clone());
            let (Ok(back), Ok(forth)) = pair else { continue };
            match cut.take() {
                // Nothing comes back of what is said after `Go`: both directions end there.
                Some(cut) => drop(thread::spawn(move || until_go(source, forth, cut))),
                None => drop(thread::spawn(move || pass(source, forth))),
            }
            thread::spawn(move || pass(destination, back));
        }
    });
    Ok(())
}

fn pass(mut from: UnixStream, mut to: UnixStream) {
    let _ = std::io::copy(&mut from, &mut to);
    end(&from, &to);
}

fn end(one: &UnixStream, other: &UnixStream) {
    let _ = one.shutdown(Shutdown::Both);
    let _ = other.shutdown(Shutdown::Both);
}

/// Passes frames on until `Go` comes.
fn until_go(mut from: UnixStream, mut to: UnixStream, cut: Cut) {
    loop {
        let mut header = [0; HEADER];
        if from.read_exact(&mut header).is_err() {
            break;
        }
        let kind = u16::from_le_bytes([header[4], header[5]]);
        let length = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
        if kind == GO {
            // The source's side first, so that no answer reaches it.
            let _ = from.shutdown(Shutdown::Both);
            if cut == Cut::AfterGo {
                let _ = to.write_all(&header);
                // What was written is read before the end is seen.
                let _ = to.shutdown(Shutdown::Write);
            }
            if let Cut::Kill(process) = cut {
                // One that is gone already is what was wanted.
                let _ = i32::try_from(process).map(|process| sys::kill(process, libc::SIGKILL));
            }
            break;
        }
        let head = to.write_all(&header);
        let rest = head.and_then(|()| std::io::copy(&mut (&mut from).take(length.into()), &mut to));
        if rest.is_err() {
            break;
        }
    }
    if cut != Cut::AfterGo {
        end(&from, &to);
    }
}
