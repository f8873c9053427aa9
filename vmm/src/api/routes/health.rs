//! Whether the process and its guest are well.

use crate::api::http::Response;
use crate::api::router::{Call, Route, Shape};
use crate::api::{Answer, failure};

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route::get("/healthz", "healthz", "Whether the process answers.", Shape::Text, alive),
    Route::get("/livez", "livez", "Whether the process answers.", Shape::Text, alive),
    Route::get(
        "/readyz",
        "readyz",
        "Whether the machine is Ready, as its conditions say.",
        Shape::Text,
        ready,
    ),
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
