//! Connections besides the first one, which carry nothing but pages.

use std::io;
use std::time::Duration;

use devices::chain;

use super::super::copy::Lane;
use super::super::transport::Stream;
use super::super::wire::{Message, Reader, Welcome, Writer};
use super::{Cancel, PATIENCE};

/// How long the other side is waited for to say why it went.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Makes all further connections that the destination has agreed to.
pub(super) fn join(
    dial: &dyn Fn() -> io::Result<Stream>,
    welcome: &Welcome,
    cancel: &Cancel,
) -> Result<Vec<Lane<Stream>>, String> {
    (2..=welcome.connections)
        .map(|number| {
            let failed = |why: String| format!("connection {number} could not be made: {why}");
            let stream = dial().map_err(|error| failed(error.to_string()))?;
            lane(stream, welcome, cancel).map_err(failed)
        })
        .collect()
}

fn lane(stream: Stream, welcome: &Welcome, cancel: &Cancel) -> Result<Lane<Stream>, String> {
    let clone = || stream.try_clone().map_err(|error| error.to_string());
    stream.set_patience(PATIENCE).map_err(|error| error.to_string())?;
    cancel.watch(clone()?);
    let (patience, mut reader) = (clone()?, Reader::new(clone()?));
    let mut writer = Writer::new(stream);
    writer.write(&Message::Join(welcome.key.clone())).map_err(|error| chain(&error))?;
    match reader.read().map_err(|error| chain(&error))? {
        Message::Joined => {}
        _ => return Err("the destination answers what makes no sense".into()),
    }
    Ok(Lane::new(writer, move || last_words(&patience, &mut reader)))
}

/// Why the other side has given up, if it has said so on this connection before it went.
pub(super) fn last_words(stream: &Stream, reader: &mut Reader<Stream>) -> Option<String> {
    stream.set_patience(LAST_WORDS).ok()?;
    match reader.read() {
        Ok(Message::Failed(why)) => Some(why),
        _ => None,
    }
}
