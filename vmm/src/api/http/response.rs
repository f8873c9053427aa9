//! Responses as bytes.

use std::io::Write as _;

/// What leave to send a body looks like (RFC 9110 §15.2.1).
pub(in super::super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub code: u16,
    /// Type of the body.
    pub content_type: &'static str,
    /// Other fields of the head.
    pub fields: Vec<(&'static str, String)>,
    /// What there is to say.
    pub body: Vec<u8>,
}

/// How a reader finds the end of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Framing {
    /// By its length.
    Length,
    /// By its length, though the body is not sent: the request was for the head.
    HeadOnly,
    /// By its last chunk.
    Chunks,
    /// By the end of the connection.
    End,
    /// It has none: another protocol begins.
    Upgrade,
}

impl Response {
    /// A JSON text.
    pub fn json(code: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { code, content_type: "application/json", fields: Vec::new(), body: body.into() }
    }

    /// Plain text.
    pub fn text(body: impl Into<Vec<u8>>) -> Self {
        Self { code: 200, content_type: "text/plain; charset=utf-8", fields: Vec::new(), body: body.into() }
    }

    /// Nothing but the code.
    pub fn empty(code: u16) -> Self {
        Self { code, content_type: "", fields: Vec::new(), body: Vec::new() }
    }

    /// With one more field.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    /// Adds its bytes to `out`.
    pub(in super::super) fn write(&self, framing: Framing, keeps: bool, out: &mut Vec<u8>) {
        // Writing to memory does not fail.
        let _ = write!(out, "HTTP/1.1 {} {}\r\n", self.code, reason(self.code));
        for (name, value) in &self.fields {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        if !self.content_type.is_empty() {
            let _ = write!(out, "Content-Type: {}\r\n", self.content_type);
        }
        match framing {
            Framing::Length | Framing::HeadOnly => {
                let _ = write!(out, "Content-Length: {}\r\n", self.body.len());
            }
            Framing::Chunks => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Framing::End | Framing::Upgrade => {}
        }
        if framing != Framing::Upgrade && !keeps {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if framing == Framing::Length {
            out.extend_from_slice(&self.body);
        }
    }
}

/// Adds a chunk (RFC 9112 §7.1) to `out`; an empty one would be the last.
pub(in super::super) fn chunk(data: &[u8], out: &mut Vec<u8>) {
    if !data.is_empty() {
        let _ = write!(out, "{:x}\r\n", data.len());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
    }
}

/// Adds the last chunk to `out`.
pub(in super::super) fn last_chunk(out: &mut Vec<u8>) {
    out.extend_from_slice(b"0\r\n\r\n");
}

/// The code in words (RFC 9110 §15).
pub(in super::super) fn reason(code: u16) -> &'static str {
    match code {
        101 => "Switching Protocols",
        200 => "OK",
        202 => "Accepted",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Internal Server Error",
    }
}
