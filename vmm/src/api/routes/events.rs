//! Events about the machine.

use crate::api::Answer;
use crate::api::failure;
use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::api::selector::Selector;
use crate::api::watch::{self, Watch};

use super::machine::LIST_QUERY;

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::Get,
        path: "/api/v1/events",
        id: "listCoreV1EventForAllNamespaces",
        about: "What happened to the machine: the last 256 events.",
        query: LIST_QUERY,
        body: &[],
        answer: Shape::Object("EventList"),
        handle: list,
    },
    Route {
        method: Method::Get,
        path: "/api/v1/namespaces/{namespace}/events",
        id: "listCoreV1NamespacedEvent",
        about: "The same, if the machine is in this namespace.",
        query: LIST_QUERY,
        body: &[],
        answer: Shape::Object("EventList"),
        handle: list,
    },
];

fn list(call: &Call<'_>) -> Answer {
    try_list(call).unwrap_or_else(Answer::Now)
}

fn try_list(call: &Call<'_>) -> Result<Answer, Response> {
    let is_selected = is_selected(call)?;
    if call.query.is_set("watch") {
        let watch = Watch::new(call, watch::Subject::Events, is_selected)?;
        return Ok(Answer::Stream(Response::json(200, ""), Box::new(watch)));
    }
    let board = &call.context.board;
    let events = if is_selected { board.events(0) } else { Vec::new() };
    // What comes after the events that are listed here is what a watch from this version on shows.
    let version = events.last().map_or(0, |event| event.version).max(board.current().version);
    let items: Vec<&str> = events.iter().map(|event| &*event.text).collect();
    let items = items.join(",");
    Ok(Answer::Now(Response::json(
        200,
        format!(
            "{{\"apiVersion\":\"v1\",\"kind\":\"EventList\",\"metadata\":{{\"resourceVersion\":\"{version}\"}},\
             \"items\":[{items}]}}"
        ),
    )))
}

/// Whether events about the machine are asked for. All events are about it.
fn is_selected(call: &Call<'_>) -> Result<bool, Response> {
    let current = call.context.board.current();
    let (vmi, namespace) = (&current.vmi, current.vmi.namespace());
    let fields = Selector::parse(call.query.get("fieldSelector").unwrap_or_default())?;
    let by_field = fields.selects(|key| match key {
        "involvedObject.name" | "regarding.name" => Some(vmi.metadata.name.as_str()),
        "involvedObject.namespace" | "metadata.namespace" => Some(namespace),
        "involvedObject.kind" => Some("VirtualMachineInstance"),
        "involvedObject.apiVersion" => Some("kubevirt.io/v1"),
        "involvedObject.uid" => Some(vmi.metadata.uid.as_str()),
        _ => None,
    })?;
    if call.query.get("labelSelector").is_some_and(|selector| !selector.is_empty()) {
        return Err(failure::bad_request("events have no labels to select them by"));
    }
    let wanted = call.parameter("namespace");
    Ok(by_field && (wanted.is_empty() || wanted == namespace))
}
