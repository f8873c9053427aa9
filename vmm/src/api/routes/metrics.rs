//! Metrics for Prometheus.

use crate::api::Answer;
use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::metrics::CONTENT_TYPE;

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[Route {
    method: Method::Get,
    path: "/metrics",
    id: "metrics",
    about: "Metrics in Prometheus' text format, under KubeVirt's names where it has any.",
    query: &[],
    body: &[],
    answer: Shape::Text,
    handle: metrics,
}];

fn metrics(call: &Call<'_>) -> Answer {
    let context = call.context;
    let text = context.metrics.render(&context.board, &context.console);
    Answer::Now(Response { content_type: CONTENT_TYPE, ..Response::text(text) })
}
