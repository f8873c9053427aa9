//! The connection between who has pages and who needs them.

use std::io;

use devices::GuestRam;
use vm_memory::GuestAddress;

use super::PATIENCE;
use crate::dirty::PageSet;
use crate::migration::transport::Stream;
use crate::migration::wire::{Message, Piece, Reader, WireError, Writer};

/// A connection whose greeting is over.
#[derive(Debug)]
pub struct Connection {
    pub(super) reader: Reader<Stream>,
    pub(super) writer: Writer<Stream>,
    /// Ends it from another thread.
    pub(super) cut: Stream,
}

impl Connection {
    /// A connection on which nothing was said yet.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn new(stream: Stream) -> io::Result<Self> {
        let reader = Reader::new(stream.try_clone()?);
        Self::greeted(reader, Writer::new(stream.try_clone()?), stream)
    }

    /// One on which something was said; `stream` is the same connection.
    ///
    /// # Errors
    /// As setsockopt(2).
    pub fn greeted(reader: Reader<Stream>, writer: Writer<Stream>, stream: Stream) -> io::Result<Self> {
        stream.set_patience(PATIENCE)?;
        Ok(Self { reader, writer, cut: stream })
    }

    /// Something that ends it from another thread.
    ///
    /// # Errors
    /// The process has no descriptors left.
    pub fn stream(&self) -> io::Result<Stream> {
        self.cut.try_clone()
    }

    /// Says that no page is needed here, and waits until the other side knows.
    pub fn say_complete(mut self) {
        if self.writer.write(&Message::Complete).is_ok() {
            // What it has to say until then does not matter.
            while self.reader.read().is_ok() {}
        }
    }
}

/// The way to who has the pages.
pub trait Link: Send {
    /// Connects, for the first time or again.
    ///
    /// # Errors
    /// Why nobody is there, for people.
    fn connect(&mut self) -> Result<Connection, String>;
}

/// Sends a set of pages.
pub(super) fn send(
    writer: &mut Writer<Stream>,
    set: &PageSet,
    message: fn(Piece) -> Message,
) -> Result<(), WireError> {
    for (start, words) in set.pieces(Piece::MOST) {
        writer.write(&message(Piece { start: start.0, words: words.to_vec(), last: false }))?;
    }
    writer.write(&message(Piece { start: 0, words: Vec::new(), last: true }))
}

/// Takes in a set of pages of the memory that `set` is of; `None` if the other side says that it needs none.
fn receive(
    reader: &mut Reader<Stream>,
    mut set: PageSet,
    piece: fn(Message) -> Result<Piece, Message>,
) -> Result<Option<PageSet>, String> {
    let mut next = 0;
    loop {
        let message = reader.read().map_err(|error| devices::chain(&error))?;
        let piece = match piece(message) {
            Ok(piece) => piece,
            Err(Message::Failed(why) | Message::Refused(why)) => return Err(why),
            Err(Message::Complete) => return Ok(None),
            Err(_) => return Err("the other side says what makes no sense".into()),
        };
        if piece.last {
            return Ok(Some(set));
        }
        // In order, so that there is an end to them.
        if piece.start < next {
            return Err("the other side names pages twice".into());
        }
        next = piece.start.saturating_add(1);
        set.add_piece(GuestAddress(piece.start), &piece.words).map_err(|error| error.to_string())?;
    }
}

/// The pages that the other side has.
pub(super) fn receive_holds(reader: &mut Reader<Stream>, ram: &GuestRam) -> Result<PageSet, String> {
    let holds = receive(reader, PageSet::none(ram), |message| match message {
        Message::Holds(piece) => Ok(piece),
        other => Err(other),
    })?;
    holds.ok_or_else(|| "the other side has nothing".into())
}

/// Those of `holds` that the other side has not got; `None` if nobody there needs any.
pub(super) fn receive_lacks(reader: &mut Reader<Stream>, holds: &PageSet) -> Result<Option<PageSet>, String> {
    let lacks = receive(reader, holds.emptied(), |message| match message {
        Message::Lacks(piece) => Ok(piece),
        other => Err(other),
    })?;
    match &lacks {
        Some(some) if !holds.contains_all(some) => {
            Err("the other side asks for pages that are not here".into())
        }
        _ => Ok(lacks),
    }
}
