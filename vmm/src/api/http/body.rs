//! What comes with a request: nothing, so many bytes, or chunks.

use super::super::limits;
use super::request::{Fault, Request};

/// What is there of a body.
pub(super) enum Body {
    /// Not all.
    More,
    /// All, out of so many bytes.
    Whole(Vec<u8>, usize),
}

/// How long it is said to be.
enum Length {
    Bytes(usize),
    Chunks,
}

/// Takes the body of `request` out of what came behind its head.
pub(super) fn take(request: &Request, rest: &[u8]) -> Result<Body, Fault> {
    match length(request)? {
        Length::Bytes(length) if length > limits::BODY => Err(TOO_LARGE),
        Length::Bytes(length) => {
            Ok(rest.get(..length).map_or(Body::More, |body| Body::Whole(body.to_vec(), length)))
        }
        Length::Chunks => chunks(rest),
    }
}

const TOO_LARGE: Fault = Fault::new(413, "the body of the request is too large");
const BAD_LENGTH: Fault = Fault::new(400, "the length of the request's body makes no sense");
const BAD_CHUNKS: Fault = Fault::new(400, "the chunks of the request's body make no sense");

/// The length by RFC 9112 §6.3. What two readers could read in two ways is refused.
fn length(request: &Request) -> Result<Length, Fault> {
    let mut lengths = request.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = lengths.next();
    let mut codings =
        request.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
    let coding = codings.next();
    if lengths.next().is_some() || codings.next().is_some() || (length.is_some() && coding.is_some()) {
        return Err(BAD_LENGTH);
    }
    match (length, coding) {
        (_, Some((_, coding))) if coding.eq_ignore_ascii_case("chunked") && request.knows_chunks => {
            Ok(Length::Chunks)
        }
        (_, Some(_)) => Err(Fault::new(501, "the request's body has a coding that is not known")),
        (Some((_, digits)), None)
            if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            Ok(Length::Bytes(digits.parse().map_err(|_| TOO_LARGE)?))
        }
        (Some(_), None) => Err(BAD_LENGTH),
        (None, None) => Ok(Length::Bytes(0)),
    }
}

fn chunks(rest: &[u8]) -> Result<Body, Fault> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        if at > limits::BODY + limits::CHUNKS {
            return Err(TOO_LARGE);
        }
        let left = rest.get(at..).unwrap_or_default();
        let (line, size) = match httparse::parse_chunk_size(left) {
            Ok(httparse::Status::Complete(found)) => found,
            Ok(httparse::Status::Partial) => return more(rest),
            Err(_) => return Err(BAD_CHUNKS),
        };
        at += line;
        if size == 0 {
            break;
        }
        let size = usize::try_from(size).map_err(|_| TOO_LARGE)?;
        if size > limits::BODY || body.len() + size > limits::BODY {
            return Err(TOO_LARGE);
        }
        let Some(chunk) = rest.get(at..at + size) else { return more(rest) };
        body.extend_from_slice(chunk);
        at += size;
        match rest.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Err(BAD_CHUNKS),
            None => return more(rest),
        }
    }
    // Fields behind the last chunk are not looked at.
    loop {
        let left = rest.get(at..).unwrap_or_default();
        let Some(line) = left.windows(2).position(|pair| pair == b"\r\n") else { return more(rest) };
        at += line + 2;
        if line == 0 {
            return Ok(Body::Whole(body, at));
        }
    }
}

fn more(rest: &[u8]) -> Result<Body, Fault> {
    if rest.len() > limits::BODY + limits::CHUNKS { Err(TOO_LARGE) } else { Ok(Body::More) }
}
