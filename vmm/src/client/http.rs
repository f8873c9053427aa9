//! Requests and their answers, as a client that waits for them has them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use super::ClientError;

/// Bytes of an answer's head, at most.
const HEAD: u64 = 16 << 10;
/// Bytes of an answer that is read as a whole, at most.
const WHOLE: u64 = 64 << 20;
/// Bytes of a line of an answer that is read line by line, at most.
const LINE: u64 = 16 << 20;

/// A connection to a machine.
pub(super) struct Connection {
    stream: BufReader<UnixStream>,
    name: String,
}

/// An answer whose head was read.
pub(super) struct Head {
    connection: Connection,
    /// Status code.
    pub(super) code: u16,
    fields: Vec<(String, String)>,
}

/// An answer that was read as a whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code, of a success.
    pub code: u16,
    /// What it says.
    pub body: Vec<u8>,
    name: String,
}

impl Answer {
    /// What it says, as JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn json(&self) -> Result<Value, ClientError> {
        serde_json::from_slice(&self.body).map_err(|_| ClientError::Nonsense(self.name.clone()))
    }
}

impl Connection {
    /// A connection to the machine `name`; with a `patience` it is given up if nothing comes for so long.
    pub(super) fn new(
        stream: UnixStream,
        name: String,
        patience: Option<Duration>,
    ) -> Result<Self, ClientError> {
        match stream.set_read_timeout(patience).and_then(|()| stream.set_write_timeout(patience)) {
            Ok(()) => Ok(Self { stream: BufReader::new(stream), name }),
            Err(source) => Err(ClientError::Broken { name, source }),
        }
    }

    /// Sends a request, and reads the head of the answer.
    pub(super) fn request(self, method: &str, path: &str, body: &str) -> Result<Head, ClientError> {
        self.request_with(method, path, &[], body)
    }

    /// The same with more fields.
    pub(super) fn request_with(
        mut self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> Result<Head, ClientError> {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: kubevmm\r\n");
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_type = fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !body.is_empty() && !has_type {
            text.push_str("Content-Type: application/json\r\n");
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let sent = self.stream.get_mut().write_all(text.as_bytes());
        // One that was turned away may have closed its side before all was sent; what it said is there to be read.
        if let Err(source) = sent
            && source.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(self.broken(source));
        }
        self.head()
    }

    fn head(mut self) -> Result<Head, ClientError> {
        let mut text = Vec::new();
        while !text.ends_with(b"\r\n\r\n") {
            let read = (&mut self.stream).take(HEAD).read_until(b'\n', &mut text);
            let ends = read.map_err(|source| self.broken(source))? == 0;
            if ends || text.len() as u64 > HEAD {
                return Err(self.broken(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut fields);
        let parsed = response.parse(&text);
        let (Ok(httparse::Status::Complete(_)), Some(code)) = (parsed, response.code) else {
            return Err(ClientError::Nonsense(self.name));
        };
        let text = |field: &httparse::Header<'_>| {
            (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())
        };
        let fields = response.headers.iter().map(text).collect();
        Ok(Head { connection: self, code, fields })
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { name: self.name.clone(), source }
    }
}

impl Head {
    /// The field's value.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The connection, which another protocol goes on with, and the machine's name.
    pub(super) fn into_stream(self) -> (BufReader<UnixStream>, String) {
        (self.connection.stream, self.connection.name)
    }

    /// Reads the rest of the answer.
    pub(super) fn read(self) -> Result<Answer, ClientError> {
        let (code, name) = (self.code, self.connection.name.clone());
        let mut body = Vec::new();
        let read = self.body().take(WHOLE).read_to_end(&mut body);
        read.map_err(|source| ClientError::Broken { name: name.clone(), source })?;
        if (200..300).contains(&code) { Ok(Answer { code, body, name }) } else { Err(refused(code, &body)) }
    }

    /// The rest of the answer, line by line.
    pub(super) fn lines(self) -> Result<Lines, ClientError> {
        if self.code != 200 {
            return Err(self.read().err().unwrap_or(ClientError::Nonsense(String::new())));
        }
        let name = self.connection.name.clone();
        Ok(Lines { body: BufReader::new(self.body()), name, is_over: false })
    }

    fn body(self) -> Body {
        let chunked =
            self.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
        let length = self.field("content-length").and_then(|length| length.parse().ok());
        let end = match (chunked, length) {
            (true, _) => End::Chunks { left: 0, is_last: false },
            (false, Some(length)) => End::After(length),
            (false, None) => End::Connection,
        };
        Body { stream: self.connection.stream, end }
    }
}

/// What a machine says when it refuses.
fn refused(code: u16, body: &[u8]) -> ClientError {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| status.get(key).and_then(Value::as_str).map(str::to_owned);
    ClientError::Refused {
        code,
        reason: text("reason").unwrap_or_default(),
        message: text("message").unwrap_or_else(|| format!("it answered with the status code {code}")),
    }
}

/// How the end of a body is found.
enum End {
    /// It has so many bytes more.
    After(u64),
    /// Its chunk has so many bytes more.
    Chunks { left: u64, is_last: bool },
    /// With the connection.
    Connection,
}

struct Body {
    stream: BufReader<UnixStream>,
    end: End,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match &mut self.end {
            End::Connection => return self.stream.read(buffer),
            End::Chunks { is_last: true, .. } => return Ok(0),
            End::Chunks { left, is_last } => {
                if *left == 0 {
                    *left = next_chunk(&mut self.stream)?;
                    *is_last = *left == 0;
                }
                left
            }
            End::After(left) => left,
        };
        let count = (&mut self.stream).take(*left).read(buffer)?;
        if count == 0 && *left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= count as u64;
        if let End::Chunks { left: 0, is_last: false } = self.end {
            line(&mut self.stream)?;
        }
        Ok(count)
    }
}

fn next_chunk(stream: &mut impl BufRead) -> io::Result<u64> {
    let text = line(stream)?;
    match httparse::parse_chunk_size(&text) {
        Ok(httparse::Status::Complete((_, 0))) => line(stream).map(|_| 0),
        Ok(httparse::Status::Complete((_, size))) => Ok(size),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn line(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    stream.take(HEAD).read_until(b'\n', &mut text)?;
    if text.ends_with(b"\r\n") { Ok(text) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// An answer that comes line by line.
pub struct Lines {
    body: BufReader<Body>,
    name: String,
    /// Nothing more comes.
    is_over: bool,
}

impl Lines {
    /// Gives up waiting for a line after so long; `None` never does.
    ///
    /// # Errors
    /// The host does not take the time.
    pub fn wait_at_most(&self, patience: Option<Duration>) -> Result<(), ClientError> {
        let stream = self.body.get_ref().stream.get_ref();
        stream.set_read_timeout(patience).map_err(|source| self.broken(source))
    }

    /// Whether a failure is that nothing came in time.
    pub fn is_timeout(error: &ClientError) -> bool {
        matches!(error, ClientError::Broken { source, .. }
            if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }

    /// Copies what comes to `out` as it comes, until it ends.
    ///
    /// # Errors
    /// The connection broke.
    pub fn copy(&mut self, out: &mut impl Write) -> Result<(), ClientError> {
        let mut piece = [0; 8192];
        loop {
            let count = self.body.read(&mut piece).map_err(|source| self.broken(source))?;
            let written = out.write_all(piece.get(..count).unwrap_or_default()).and_then(|()| out.flush());
            // A reader that has seen enough, such as `head`, is no fault.
            if count == 0 || written.is_err() {
                return Ok(());
            }
        }
    }

    fn broken(&self, source: io::Error) -> ClientError {
        ClientError::Broken { name: self.name.clone(), source }
    }
}

impl Iterator for Lines {
    type Item = Result<String, ClientError>;

    /// The next line. After a failure there is none, unless it was that nothing came in time.
    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let mut text = Vec::new();
        let line = match (&mut self.body).take(LINE).read_until(b'\n', &mut text) {
            Ok(0) => None,
            Ok(_) => Some(String::from_utf8(text).map_err(|_| ClientError::Nonsense(self.name.clone()))),
            Err(source) => Some(Err(self.broken(source))),
        };
        self.is_over = match &line {
            Some(Ok(_)) => false,
            Some(Err(error)) => !Self::is_timeout(error),
            None => true,
        };
        line
    }
}
