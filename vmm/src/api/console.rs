//! Clients of the serial console.

use super::answer::{Progress, Stream};
use super::websocket::{self, Masking, Opcode, Read, close_code};
use crate::console::{Listener, Typed};

/// Output that is passed on at once, in bytes.
const PIECE: usize = 32 << 10;
/// What somebody reads whose keyboard somebody else took.
const TAKEN: &[u8] = b"\r\nkubevmm: somebody else took the keyboard; you may go on reading\r\n";

/// A WebSocket whose messages are the console's bytes, whatever their kind.
#[derive(Debug)]
pub(super) struct Session {
    listener: Listener,
    /// Its keys reached the guest when that was last looked at.
    is_typist: bool,
    /// Frames that are to be sent before all else: answers to pings, and the end.
    control: Vec<u8>,
    is_over: bool,
    /// Keys that there was no room for.
    held_back: Vec<u8>,
}

impl Session {
    /// A session of somebody who listens, and types if its keyboard is the one.
    pub(super) fn new(listener: Listener) -> Self {
        let is_typist = listener.is_typist();
        Self { listener, is_typist, control: Vec::new(), is_over: false, held_back: Vec::new() }
    }

    fn end(&mut self, code: u16) {
        websocket::write(Opcode::Close, &code.to_be_bytes(), None, &mut self.control);
        self.is_over = true;
    }

    /// Types what there is room for; whether that is all.
    fn type_held_back(&mut self) -> bool {
        match self.listener.type_keys(&self.held_back) {
            Typed::Taken(count) => drop(self.held_back.drain(..count)),
            Typed::NotTheTypist => self.held_back.clear(),
        }
        self.held_back.is_empty()
    }

    fn react(&mut self, frame: websocket::Frame) {
        match frame.opcode {
            Opcode::Binary | Opcode::Text | Opcode::Continuation => self.held_back = frame.payload,
            Opcode::Ping => websocket::write(Opcode::Pong, &frame.payload, None, &mut self.control),
            Opcode::Pong => {}
            // The client's code is given back to it, if it has one (RFC 6455 §5.5.1).
            Opcode::Close => self.end(
                frame.payload.first_chunk().map_or(close_code::NORMAL, |code| u16::from_be_bytes(*code)),
            ),
        }
    }

    fn show(&mut self, out: &mut Vec<u8>) {
        let mut said = Vec::new();
        let heard = self.listener.read(PIECE, &mut said);
        if heard.missed > 0 {
            let note = format!("\r\nkubevmm: {} bytes were missed\r\n", heard.missed);
            websocket::write(Opcode::Binary, note.as_bytes(), None, out);
        }
        if !said.is_empty() {
            websocket::write(Opcode::Binary, &said, None, out);
        }
    }
}

impl Stream for Session {
    fn take(&mut self, input: &mut Vec<u8>) {
        while !self.is_over && self.type_held_back() {
            match websocket::read(input, Masking::Masked) {
                Ok(Read::More) => break,
                Ok(Read::Frame(frame, used)) => {
                    input.drain(..used);
                    self.react(frame);
                    // Answers that nobody reads are not piled up.
                    if self.control.len() > PIECE {
                        break;
                    }
                }
                Err(error) => self.end(error.code),
            }
        }
    }

    fn advance(&mut self, out: &mut Vec<u8>) -> Progress {
        out.append(&mut self.control);
        if self.is_over {
            return Progress::Ends;
        }
        let is_typist = self.listener.is_typist();
        if std::mem::replace(&mut self.is_typist, is_typist) && !is_typist {
            websocket::write(Opcode::Binary, TAKEN, None, out);
        }
        self.show(out);
        Progress::Goes
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        if self.advance(out) == Progress::Goes {
            self.show(out);
            self.end(close_code::NORMAL);
            out.append(&mut self.control);
        }
    }

    fn waits_for_reader(&self) -> bool {
        true
    }
}

/// The console as text.
#[derive(Debug)]
pub(super) struct ConsoleText {
    listener: Listener,
    follows: bool,
}

impl ConsoleText {
    /// What `listener` hears: all that was said, and with `follows` all that is going to be.
    pub(super) fn new(listener: Listener, follows: bool) -> Self {
        Self { listener, follows }
    }
}

impl Stream for ConsoleText {
    fn advance(&mut self, out: &mut Vec<u8>) -> Progress {
        let heard = self.listener.read(PIECE, out);
        if heard.bytes < PIECE && !self.follows { Progress::Ends } else { Progress::Goes }
    }

    fn farewell(&mut self, out: &mut Vec<u8>) {
        self.listener.read(usize::MAX, out);
    }

    fn waits_for_reader(&self) -> bool {
        self.follows
    }
}
