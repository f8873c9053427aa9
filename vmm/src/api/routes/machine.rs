//! The VirtualMachineInstance itself: to be seen, watched and deleted.

use std::sync::Arc;

use serde::Deserialize;

use crate::api::failure::{self, Subject};
use crate::api::http::{Method, Response};
use crate::api::router::{Call, Route, Shape};
use crate::api::selector::Selector;
use crate::api::watch::{self, Watch};
use crate::api::{Answer, routes::operate};
use crate::state::{Reply, Verb};
use crate::status::Published;

/// Query keys of a list, which is a watch with `watch=true`.
pub(super) const LIST_QUERY: &[(&str, &str)] = &[
    ("watch", "true: a line for every change, as long as the client stays"),
    ("resourceVersion", "with watch: only what changes after this version"),
    ("timeoutSeconds", "with watch: end it after so many seconds"),
    ("fieldSelector", "only objects with these fields, such as metadata.name=NAME"),
    ("labelSelector", "only objects with these labels"),
];

const LIST: Shape = Shape::Object("VirtualMachineInstanceList");

/// The routes of this file.
pub(super) const ROUTES: &[Route] = &[
    Route {
        method: Method::Get,
        path: "/apis/kubevirt.io/v1/virtualmachineinstances",
        id: "listVirtualMachineInstanceForAllNamespaces",
        about: "The one machine of this process, in a list.",
        query: LIST_QUERY,
        body: &[],
        answer: LIST,
        handle: list,
    },
    Route {
        method: Method::Get,
        path: "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances",
        id: "listNamespacedVirtualMachineInstance",
        about: "The one machine of this process, in a list, if it is in this namespace.",
        query: LIST_QUERY,
        body: &[],
        answer: LIST,
        handle: list,
    },
    Route {
        method: Method::Get,
        path: "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}",
        id: "readNamespacedVirtualMachineInstance",
        about: "The machine as it is.",
        query: &[],
        body: &[],
        answer: Shape::Object("VirtualMachineInstance"),
        handle: read,
    },
    Route {
        method: Method::Delete,
        path: "/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstances/{name}",
        id: "deleteNamespacedVirtualMachineInstance",
        about: "Stops the machine as the subresource stop does; then it leaves nothing in its runtime directory.",
        query: &[("gracePeriodSeconds", "the guest's time, instead of terminationGracePeriodSeconds")],
        body: &[("gracePeriodSeconds", "the same; it goes before the query's")],
        answer: Shape::Object("Status"),
        handle: delete,
    },
];

/// The machine, if it is the one that the path names.
///
/// # Errors
/// The response that there is none of that name.
pub(crate) fn named(call: &Call<'_>) -> Result<Arc<Published>, Response> {
    let current = call.context.board.current();
    let name = call.parameter("name");
    let is_it = current.vmi.metadata.name == name && current.vmi.namespace() == call.parameter("namespace");
    is_it.then_some(current).ok_or_else(|| failure::not_found(subject(name)))
}

fn subject(name: &str) -> Subject<'_> {
    Subject { group: "kubevirt.io", resource: "virtualmachineinstances", name }
}

fn list(call: &Call<'_>) -> Answer {
    try_list(call).unwrap_or_else(Answer::Now)
}

fn try_list(call: &Call<'_>) -> Result<Answer, Response> {
    let current = call.context.board.current();
    let is_selected = is_selected(call, &current)?;
    if call.query.is_set("watch") {
        let watch = Watch::new(call, watch::Subject::Machine, is_selected)?;
        return Ok(Answer::Stream(Response::json(200, ""), Box::new(watch)));
    }
    let text = if is_selected { &*current.text } else { "" };
    Ok(Answer::Now(Response::json(
        200,
        format!(
            "{{\"apiVersion\":\"kubevirt.io/v1\",\"kind\":\"VirtualMachineInstanceList\",\
             \"metadata\":{{\"resourceVersion\":\"{}\"}},\"items\":[{text}]}}",
            current.version
        ),
    )))
}

fn is_selected(call: &Call<'_>, current: &Published) -> Result<bool, Response> {
    let (metadata, namespace) = (&current.vmi.metadata, current.vmi.namespace());
    let wanted = call.parameter("namespace");
    let fields = Selector::parse(call.query.get("fieldSelector").unwrap_or_default())?;
    let by_field = fields.selects(|key| match key {
        "metadata.name" => Some(metadata.name.as_str()),
        "metadata.namespace" => Some(namespace),
        _ => None,
    })?;
    let labels = Selector::parse(call.query.get("labelSelector").unwrap_or_default())?;
    let by_label = labels.selects(|key| Some(metadata.labels.get(key).map_or("", |label| label.as_str())))?;
    Ok(by_field && by_label && (wanted.is_empty() || wanted == namespace))
}

fn read(call: &Call<'_>) -> Answer {
    Answer::Now(match named(call) {
        Ok(current) => Response::json(200, current.text.as_bytes()),
        Err(response) => response,
    })
}

/// What is looked at of `metav1.DeleteOptions`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeleteOptions {
    grace_period_seconds: Option<i64>,
    #[serde(default)]
    dry_run: Vec<String>,
}

fn delete(call: &Call<'_>) -> Answer {
    try_delete(call).unwrap_or_else(Answer::Now)
}

fn try_delete(call: &Call<'_>) -> Result<Answer, Response> {
    let current = named(call)?;
    let options: DeleteOptions = call.body()?;
    let metadata = &current.vmi.metadata;
    let done = failure::success(subject(&metadata.name), &metadata.uid);
    if operate::is_dry(&options.dry_run) {
        return Ok(Answer::Now(done));
    }
    let asked = match (options.grace_period_seconds, call.query.get("gracePeriodSeconds")) {
        (Some(seconds), _) => Some(seconds),
        (None, Some(text)) => {
            Some(text.parse().map_err(|_| failure::bad_request("gracePeriodSeconds is no number"))?)
        }
        (None, None) => None,
    };
    let grace = operate::grace(asked)?;
    let (responder, deletion) = (call.responder(), call.context.deletion.clone());
    let reply = Reply::new(move |result| {
        responder.answer(match result {
            Ok(_) => {
                deletion.ask();
                done
            }
            Err(refusal) => failure::refused(&refusal),
        });
    });
    call.context.requests.ask(Verb::Stop { grace }, reply);
    Ok(Answer::Later)
}
