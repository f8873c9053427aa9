//! Whether the process and its guest are well.

use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::api::{Answer, failure};

const fn get(
    path: &'static str,
    id: &'static str,
    about: &'static str,
    handle: fn(&Call<'_>) -> Answer,
) -> Route {
    Route { method: Method::Get, path, id, about, query: &[], body: &[], answer: Shape::Text, handle }
}

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    get("/healthz", "healthz", "Whether the process answers.", alive),
    get("/livez", "livez", "Whether the process answers.", alive),
    get("/readyz", "readyz", "Whether the machine is Ready, as its conditions say.", ready),
];

fn alive(_: &Call<'_>) -> Answer {
    Answer::Now(Response::text("ok"))
}

fn ready(call: &Call<'_>) -> Answer {
    let current = call.context.board.current();
    let conditions = current.vmi.status.iter().flat_map(|status| &status.conditions);
    let ready = conditions.into_iter().find(|condition| condition.r#type == "Ready");
    Answer::Now(match ready {
        Some(ready) if ready.status == "True" => Response::text("ok"),
        Some(ready) => failure::unavailable(&format!("the machine is not ready: {}", ready.message)),
        None => failure::unavailable("the machine is not ready"),
    })
}
