//! A machine's serial console.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;

use super::http::Connection;
use super::{ClientError, Machine};
use crate::api::websocket::{self, Masking, Opcode};
use crate::api::{CONSOLE_ROLE, CONSOLE_TYPIST};

/// A WebSocket to a serial console.
pub struct Console {
    stream: UnixStream,
    name: String,
    /// What has arrived and was not read.
    input: Vec<u8>,
    is_typist: bool,
}

impl Console {
    /// Connects to the console of `machine`, with `query` as the API has it.
    ///
    /// # Errors
    /// It cannot be reached, or refuses.
    pub fn open(machine: &Machine, query: &str) -> Result<Self, ClientError> {
        let connection = Connection::new(machine.connect()?, machine.to_string(), None)?;
        let key = websocket::new_key();
        let fields = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Protocol", websocket::PLAIN),
            ("Sec-WebSocket-Key", key.as_str()),
        ];
        let path = format!("{}?{query}", machine.subresource("console"));
        let head = connection.request_with("GET", &path, &fields, "")?;
        if head.code != 101 {
            return Err(head.read().err().unwrap_or(ClientError::Nonsense(machine.to_string())));
        }
        if head.field("sec-websocket-accept") != Some(&websocket::accept_key(&key)) {
            return Err(ClientError::Nonsense(machine.to_string()));
        }
        let is_typist = head.field(CONSOLE_ROLE) == Some(CONSOLE_TYPIST);
        let (reader, name) = head.into_stream();
        let input = reader.buffer().to_vec();
        Ok(Self { stream: reader.into_inner(), name, input, is_typist })
    }

    /// Whether its keys reach the guest.
    pub fn is_typist(&self) -> bool {
        self.is_typist
    }

    /// The same console, to type on from another thread.
    ///
    /// # Errors
    /// The host has no descriptors left.
    pub fn keyboard(&self) -> Result<ConsoleKeyboard, ClientError> {
        let stream = self.stream.try_clone();
        stream.map(ConsoleKeyboard).map_err(|source| ClientError::Broken { name: self.name.clone(), source })
    }

    /// Waits for output and adds it to `out`; false if the console has ended.
    ///
    /// # Errors
    /// The connection broke.
    pub fn read(&mut self, out: &mut Vec<u8>) -> Result<bool, ClientError> {
        loop {
            let nonsense = |_| ClientError::Nonsense(self.name.clone());
            match websocket::read(&self.input, Masking::Plain).map_err(nonsense)? {
                websocket::Read::Frame(frame, used) => {
                    self.input.drain(..used);
                    match frame.opcode {
                        Opcode::Binary | Opcode::Text | Opcode::Continuation => {
                            out.extend_from_slice(&frame.payload);
                            return Ok(true);
                        }
                        Opcode::Close => return Ok(false),
                        Opcode::Ping | Opcode::Pong => {}
                    }
                }
                websocket::Read::More => {
                    let mut piece = [0; 8192];
                    let count = self.stream.read(&mut piece);
                    let count =
                        count.map_err(|source| ClientError::Broken { name: self.name.clone(), source })?;
                    if count == 0 {
                        return Ok(false);
                    }
                    self.input.extend(piece.iter().take(count));
                }
            }
        }
    }
}

/// The end of a console that keys go into.
pub struct ConsoleKeyboard(UnixStream);

impl ConsoleKeyboard {
    /// Types.
    ///
    /// # Errors
    /// The connection broke.
    pub fn type_keys(&mut self, keys: &[u8]) -> io::Result<()> {
        self.send(Opcode::Binary, keys)
    }

    /// Ends the console.
    ///
    /// # Errors
    /// The connection broke.
    pub fn end(&mut self) -> io::Result<()> {
        self.send(Opcode::Close, &websocket::close_code::NORMAL.to_be_bytes())
    }

    fn send(&mut self, opcode: Opcode, payload: &[u8]) -> io::Result<()> {
        let mut bytes = Vec::new();
        websocket::write(opcode, payload, Some(websocket::new_mask()), &mut bytes);
        self.0.write_all(&bytes)
    }
}
