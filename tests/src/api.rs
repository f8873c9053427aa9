//! A client of the socket on which a machine is operated, in a few lines.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Doing, Failure};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// HTTP's status.
    pub status: u16,
    /// The body, as text.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// If it is none.
    pub fn json(&self) -> Result<Value, Failure> {
        serde_json::from_str(&self.text).doing(&format!("reading {:?} as JSON", self.text))
    }
}

/// Sends one request and reads its answer to the end.
///
/// # Errors
/// If nobody answers like a server.
pub fn call(socket: &Path, method: &str, path: &str) -> Result<Answer, Failure> {
    call_with(socket, method, path, "")
}

/// The same with a body.
///
/// # Errors
/// As [`call`].
pub fn call_with(socket: &Path, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
    let mut stream = net::socket::connect(socket).doing("connecting to the API's socket")?;
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).doing("asking the API")?;
    let mut text = String::new();
    stream.read_to_string(&mut text).doing("reading the API's answer")?;
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or_else(|| Failure(format!("an odd answer: {text:?}")))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| Failure(format!("an odd answer: {head:?}")))?;
    Ok(Answer { status, text: body.to_owned() })
}
