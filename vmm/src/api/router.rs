//! From a request to the route that answers it.

use std::sync::Arc;

use vmm_sys_util::eventfd::EventFd;

use super::answer::{Answer, Completions, Responder};
use super::connection::Service;
use super::http::{self, Method, Query, Request, Response};
use super::{ApiContext, failure};

/// Tables of routes; the first that fits answers.
pub type Routes<C> = &'static [&'static [Route<C>]];

/// A path, a method, and who answers. `C` is what answers are made from: a machine, if nothing else is said.
#[derive(Debug)]
pub struct Route<C: 'static = ApiContext> {
    /// What is to be done.
    pub method: Method,
    /// With what: segments in braces stand for any one segment.
    pub path: &'static str,
    /// Name of the operation in the OpenAPI document.
    pub id: &'static str,
    /// One sentence, for the OpenAPI document.
    pub about: &'static str,
    /// Keys of the query that are looked at, with what they mean.
    pub query: &'static [(&'static str, &'static str)],
    /// The object that the body holds, if one is looked at: fields with what they mean.
    pub body: &'static [(&'static str, &'static str)],
    /// Schema of a successful answer.
    pub answer: Shape,
    /// Answers.
    pub handle: fn(&Call<'_, C>) -> Answer,
}

impl<C> Route<C> {
    /// A route that looks at neither query nor body.
    pub const fn new(
        method: Method,
        path: &'static str,
        id: &'static str,
        about: &'static str,
        answer: Shape,
        handle: fn(&Call<'_, C>) -> Answer,
    ) -> Self {
        Self { method, path, id, about, query: &[], body: &[], answer, handle }
    }

    /// The same that reads something.
    pub const fn get(
        path: &'static str,
        id: &'static str,
        about: &'static str,
        answer: Shape,
        handle: fn(&Call<'_, C>) -> Answer,
    ) -> Self {
        Self::new(Method::Get, path, id, about, answer, handle)
    }
}

/// What a successful answer looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing.
    Empty,
    /// Text.
    Text,
    /// A JSON object of this name in the OpenAPI document.
    Object(&'static str),
    /// A WebSocket.
    WebSocket,
}

/// A request on its way to being answered.
pub struct Call<'a, C = ApiContext> {
    /// The request.
    pub request: &'a Request,
    /// Its query.
    pub query: Query,
    /// What answers are made from.
    pub context: &'a C,
    parameters: Vec<(&'static str, String)>,
    connection: u64,
    completions: &'a Arc<Completions>,
    wake: &'a Arc<EventFd>,
}

impl<C> Call<'_, C> {
    /// What stands in the path for the segment `{name}`.
    pub fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }

    /// The way to answer later, from any thread, with [`Answer::Later`] for now.
    pub fn responder(&self) -> Responder {
        self.completions.responder(self.connection)
    }

    /// Written by whoever has news for a stream.
    pub fn wake(&self) -> Arc<EventFd> {
        Arc::clone(self.wake)
    }

    /// The body as a JSON object; an empty body is an empty object, as with Kubernetes.
    ///
    /// # Errors
    /// The response that says what is wrong with it.
    pub fn body<T: serde::de::DeserializeOwned + Default>(&self) -> Result<T, Response> {
        if self.request.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(T::default());
        }
        serde_json::from_slice(&self.request.body)
            .map_err(|error| failure::bad_request(&format!("the body cannot be read: {error}")))
    }
}

/// Answers requests by the table of routes.
pub(super) struct Router<C: 'static> {
    context: C,
    routes: Routes<C>,
    completions: Arc<Completions>,
    wake: Arc<EventFd>,
}

impl<C> Router<C> {
    pub(super) fn new(
        context: C,
        routes: Routes<C>,
        completions: Arc<Completions>,
        wake: Arc<EventFd>,
    ) -> Self {
        Self { context, routes, completions, wake }
    }

    fn call<'a>(
        &'a self,
        request: &'a Request,
        parameters: Vec<(&'static str, String)>,
        connection: u64,
    ) -> Call<'a, C> {
        let (context, completions, wake) = (&self.context, &self.completions, &self.wake);
        let query = Query::parse(&request.query);
        Call { request, query, context, parameters, connection, completions, wake }
    }
}

impl<C> Service for Router<C> {
    fn answer(&self, request: &Request, connection: u64) -> Answer {
        let method = if request.method == Method::Head { Method::Get } else { request.method };
        let mut allowed = Vec::new();
        for route in self.routes.iter().copied().flatten() {
            let Some(parameters) = matches(route.path, &request.path) else { continue };
            if route.method == method {
                return (route.handle)(&self.call(request, parameters, connection));
            }
            allowed.push(route.method.name());
        }
        Answer::Now(match allowed.as_slice() {
            [] => failure::no_such_path(),
            allowed => failure::no_such_method(&allowed.join(", ")),
        })
    }
}

/// What stands for the segments in braces, if `path` is one that `pattern` means. A slash at the end is no other path.
fn matches(pattern: &'static str, path: &str) -> Option<Vec<(&'static str, String)>> {
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    let mut parameters = Vec::new();
    for wanted in pattern.split('/') {
        let found = segments.next()?;
        match wanted.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
            Some(name) if !found.is_empty() => parameters.push((name, http::decode(found))),
            None if wanted == found => {}
            _ => return None,
        }
    }
    segments.next().is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_in_braces_stand_for_any_one() {
        let found = matches("/a/{b}/c", "/a/x%2Fy/c/").unwrap();
        assert_eq!(found, [("b", "x/y".to_owned())]);
        for other in ["/a//c", "/a/x", "/a/x/c/d", "/a/x/d", "a/x/c", ""] {
            assert!(matches("/a/{b}/c", other).is_none(), "{other}");
        }
    }
}
