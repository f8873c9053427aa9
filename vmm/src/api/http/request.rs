//! Requests, out of bytes that may not all be there yet.

use super::super::limits;
use super::body::{self, Body};

/// What a client wants to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// To see something.
    Get,
    /// To see what it would be told of it, without the thing itself.
    Head,
    /// To have something done or replaced.
    Put,
    /// To have something made.
    Post,
    /// To have something changed in parts.
    Patch,
    /// To have something removed.
    Delete,
    /// To know what it may do.
    Options,
}

impl Method {
    fn of(word: &str) -> Option<Self> {
        Some(match word {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "PUT" => Self::Put,
            "POST" => Self::Post,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => return None,
        })
    }

    /// As it stands in a request.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}

/// A request that has arrived as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be done.
    pub method: Method,
    /// With what: the path, still encoded, without the query.
    pub path: String,
    /// What stands behind the question mark, still encoded.
    pub query: String,
    /// Fields of the head.
    pub fields: Vec<(String, String)>,
    /// What came with it.
    pub body: Vec<u8>,
    /// Whether the connection stays for more.
    pub keeps: bool,
    /// Whether the client knows chunks: it speaks HTTP/1.1.
    pub knows_chunks: bool,
}

impl Request {
    /// The field's first value.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields
            .iter()
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// Whether `word` is one of those that the field lists.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        self.fields
            .iter()
            .filter(|(field, _)| field.eq_ignore_ascii_case(name))
            .flat_map(|(_, value)| value.split(','))
            .any(|value| value.trim().eq_ignore_ascii_case(word))
    }
}

/// What is to be made of the bytes that have arrived.
#[derive(Debug)]
pub(in super::super) enum Parsed {
    /// More have to come; the client may be waiting for leave to send the body.
    More {
        /// It is.
        asks_leave: bool,
    },
    /// A request, of so many bytes.
    Whole(Box<Request>, usize),
    /// No request, and nothing behind it can be trusted.
    Bad(Fault),
}

/// What is wrong with a request, so that it cannot be answered by what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Fault {
    /// Status code.
    pub(in super::super) code: u16,
    /// In words.
    pub(in super::super) message: &'static str,
}

impl Fault {
    pub(super) const fn new(code: u16, message: &'static str) -> Self {
        Self { code, message }
    }
}

/// Reads the first request of `input`.
pub(in super::super) fn parse(input: &[u8]) -> Parsed {
    match try_parse(input) {
        Ok(parsed) => parsed,
        Err(fault) => Parsed::Bad(fault),
    }
}

fn try_parse(input: &[u8]) -> Result<Parsed, Fault> {
    let mut fields = [httparse::EMPTY_HEADER; limits::FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    let length = match head.parse(input) {
        Ok(httparse::Status::Complete(length)) if length <= limits::HEAD => length,
        Ok(httparse::Status::Partial) if input.len() <= limits::HEAD => {
            return Ok(Parsed::More { asks_leave: false });
        }
        Ok(_) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Fault::new(431, "the head of the request is too large"));
        }
        Err(_) => return Err(Fault::new(400, "this is no HTTP/1.1 request")),
    };
    let mut request = of_head(&head)?;
    let rest = input.get(length..).unwrap_or_default();
    match body::take(&request, rest)? {
        Body::More => {
            let asks_leave = rest.is_empty() && request.lists("expect", "100-continue");
            Ok(Parsed::More { asks_leave })
        }
        Body::Whole(body, used) => {
            request.body = body;
            Ok(Parsed::Whole(Box::new(request), length + used))
        }
    }
}

fn of_head(head: &httparse::Request<'_, '_>) -> Result<Request, Fault> {
    let method = head.method.and_then(Method::of).ok_or(Fault::new(501, "there is no such method"))?;
    let is_newest = head.version == Some(1);
    let text = |value: &[u8]| {
        std::str::from_utf8(value).map(str::to_owned).map_err(|_| Fault::new(400, "a field is not UTF-8"))
    };
    let fields = head.headers.iter().map(|field| Ok((field.name.to_owned(), text(field.value)?)));
    let fields = fields.collect::<Result<Vec<_>, _>>()?;
    let (path, query) = target(head.path.unwrap_or_default())?;
    let mut request = Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        fields,
        body: Vec::new(),
        keeps: is_newest,
        knows_chunks: is_newest,
    };
    request.keeps &= !request.lists("connection", "close");
    if is_newest && request.field("host").is_none() {
        return Err(Fault::new(400, "the field Host is missing"));
    }
    Ok(request)
}

/// Path and query of a target, which has the server's name before them where it went through a proxy.
fn target(target: &str) -> Result<(&str, &str), Fault> {
    let local = match target.strip_prefix("http://") {
        Some(rest) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    if !local.starts_with('/') {
        return Err(Fault::new(400, "the target of the request is no path"));
    }
    Ok(local.split_once('?').unwrap_or((local, "")))
}
