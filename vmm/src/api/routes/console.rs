//! The serial console: as a WebSocket for whoever types, as text for whoever reads.

use super::machine::named;
use super::operate::subresource;
use crate::api::console::{ConsoleText, Session};
use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::api::{Answer, websocket};
use crate::console::Keyboard;

/// Bytes of the past that a WebSocket is told, if it does not say how many it wants.
const HISTORY: usize = 8 << 10;
/// Field of the response that says whether keys reach the guest.
pub(crate) const ROLE: &str = "Kubevmm-Console";
/// Its value if they do.
pub(crate) const TYPIST: &str = "typist";

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::Get,
        path: subresource!(machine "console"),
        id: "v1Console",
        about: "The serial console as a WebSocket of bytes. Many may read; one types: the first, until it leaves.",
        query: &[
            ("force", "true: type, even if somebody else does"),
            ("readonly", "true: do not type"),
            ("history", "bytes of the past to begin with; 8192 if it is not given, at most 262144"),
        ],
        body: &[],
        answer: Shape::WebSocket,
        handle: console,
    },
    Route {
        method: Method::Get,
        path: subresource!(machine "consolelog"),
        id: "kubevmmConsoleLog",
        about: "What the guest said on its serial console: the last 256 KiB.",
        query: &[
            ("follow", "true: and what it says from now on, as long as the client stays"),
            ("history", "only the last so many bytes of the past"),
        ],
        body: &[],
        answer: Shape::Text,
        handle: log,
    },
];

fn console(call: &Call<'_>) -> Answer {
    try_console(call).unwrap_or_else(Answer::Now)
}

fn try_console(call: &Call<'_>) -> Result<Answer, Response> {
    named(call)?;
    let history = history(call, HISTORY)?;
    let keyboard = match (call.query.is_set("readonly"), call.query.is_set("force")) {
        (true, _) => Keyboard::No,
        (false, true) => Keyboard::Take,
        (false, false) => Keyboard::IfFree,
    };
    let response = websocket::accept(call.request)?;
    let listener = call.context.console.listen(keyboard, history, Some(call.wake()));
    let role = if listener.is_typist() { TYPIST } else { "listener" };
    Ok(Answer::Upgrade(response.with(ROLE, role), Box::new(Session::new(listener))))
}

fn log(call: &Call<'_>) -> Answer {
    let begun = named(call).and_then(|_| history(call, usize::MAX)).map(|history| {
        let wake = call.query.is_set("follow").then(|| call.wake());
        let follows = wake.is_some();
        ConsoleText::new(call.context.console.listen(Keyboard::No, history, wake), follows)
    });
    match begun {
        Ok(text) => Answer::Stream(Response::text(""), Box::new(text)),
        Err(response) => Answer::Now(response),
    }
}

fn history(call: &Call<'_>, usual: usize) -> Result<usize, Response> {
    let wanted = call.query.get("history").map(str::parse).transpose();
    let wanted = wanted.map_err(|_| crate::api::failure::bad_request("history is no number of bytes"))?;
    Ok(wanted.unwrap_or(usual))
}
