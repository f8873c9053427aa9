//! The way in for the fuzz target `http`: a client that sends whatever it likes.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::answer::{Answer, Progress, Stream};
use super::connection::{Connection, Fate, Service};
use super::http::{Method, Request, Response};
use super::websocket::{self, Masking, Read};

/// Bytes of one way through the program that are more than anything here says to such clients.
const MOST: usize = 4 << 20;

/// Serves a client that sends `bytes`, so many at a time, and hears out what it is told, which it gives back.
pub fn serve(bytes: &[u8], at_a_time: usize) -> Vec<u8> {
    let Ok((ours, mut theirs)) = UnixStream::pair() else { return Vec::new() };
    if ours.set_nonblocking(true).is_err() || theirs.set_nonblocking(true).is_err() {
        return Vec::new();
    }
    let mut connection = Connection::new(ours, 1);
    let mut heard = Vec::new();
    for piece in bytes.chunks(at_a_time.max(1)) {
        if theirs.write_all(piece).is_err() || connection.proceed(&Echo, Instant::now()) == Fate::Goes {
            break;
        }
        let _ = theirs.read_to_end(&mut heard);
        assert!(heard.len() < MOST, "a client is told {} bytes for its {}", heard.len(), bytes.len());
    }
    connection.take_leave();
    connection.proceed(&Echo, Instant::now());
    drop(connection);
    let _ = theirs.read_to_end(&mut heard);
    heard
}

/// Answers as the API does, in all the ways there are.
struct Echo;

impl Service for Echo {
    fn answer(&self, request: &Request, _: u64) -> Answer {
        match request.method {
            Method::Get if request.path.ends_with("/console") => match websocket::accept(request) {
                Ok(head) => Answer::Upgrade(head, Box::new(Frames::default())),
                Err(refusal) => Answer::Now(refusal),
            },
            Method::Get if request.query.contains("watch") => {
                Answer::Stream(Response::json(200, ""), Box::new(Frames::default()))
            }
            Method::Put => Answer::Now(Response::json(200, request.body.clone())),
            _ => Answer::Now(Response::text(request.path.clone())),
        }
    }
}

/// Says back what frames hold.
#[derive(Default)]
struct Frames {
    waiting: Vec<u8>,
    is_over: bool,
}

impl Stream for Frames {
    fn take(&mut self, input: &mut Vec<u8>) {
        while !self.is_over {
            match websocket::read(input, Masking::Masked) {
                Ok(Read::Frame(frame, used)) => {
                    assert!(used <= input.len() && frame.payload.len() <= used);
                    websocket::write(frame.opcode, &frame.payload, None, &mut self.waiting);
                    input.drain(..used);
                }
                Ok(Read::More) => return,
                Err(_) => self.is_over = true,
            }
        }
        input.clear();
    }

    fn advance(&mut self, out: &mut Vec<u8>) -> Progress {
        out.append(&mut self.waiting);
        if self.is_over { Progress::Ends } else { Progress::Goes }
    }
}
