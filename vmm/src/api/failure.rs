//! Failures as Kubernetes tells them: `metav1.Status` (apimachinery/pkg/apis/meta/v1/types.go).

use serde_json::{Value, json};

use super::http::Response;
use crate::state::{Refusal, RefusalKind};

/// The object that was asked for, as details of a failure name it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its API group; empty for the core's.
    pub group: &'a str,
    /// What it is, in the plural.
    pub resource: &'a str,
    /// Its name.
    pub name: &'a str,
}

/// There is no such object.
pub fn not_found(subject: Subject<'_>) -> Response {
    let Subject { group, resource, name } = subject;
    let full = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
    let details = json!({"name": name, "group": group, "kind": resource});
    status(404, "NotFound", &format!("{full} \"{name}\" not found"), Some(details))
}

/// There is nothing at this path.
pub fn no_such_path() -> Response {
    status(404, "NotFound", "the server could not find the requested resource", None)
}

/// The path knows no such method.
pub fn no_such_method(allowed: &str) -> Response {
    let message = "the server does not allow this method on the requested resource";
    status(405, "MethodNotAllowed", message, None).with("Allow", allowed)
}

/// The request itself makes no sense.
pub fn bad_request(message: &str) -> Response {
    status(400, "BadRequest", message, None)
}

/// The object is another one than the request supposes.
pub fn conflict(message: &str) -> Response {
    status(409, "Conflict", message, None)
}

/// There is an object of this name.
pub fn already_exists(subject: Subject<'_>) -> Response {
    let Subject { group, resource, name } = subject;
    let details = json!({"name": name, "group": group, "kind": resource});
    status(409, "AlreadyExists", &format!("{resource}.{group} \"{name}\" already exists"), Some(details))
}

/// The body is of a kind that is not understood.
pub fn unsupported_media_type(message: &str) -> Response {
    status(415, "UnsupportedMediaType", message, None)
}

/// The request can be read and makes no sense.
pub fn invalid(message: &str) -> Response {
    status(422, "Invalid", message, None)
}

/// The host failed.
pub fn internal(message: &str) -> Response {
    status(500, "InternalError", message, None)
}

/// Nobody is there to do it.
pub fn unavailable(message: &str) -> Response {
    status(503, "ServiceUnavailable", message, None).with("Retry-After", "1")
}

/// A failure of HTTP itself.
pub(super) fn of_code(code: u16, message: &str) -> Response {
    let reason = match code {
        400 | 431 => "BadRequest",
        403 => "Forbidden",
        406 => "NotAcceptable",
        408 => "Timeout",
        413 => "RequestEntityTooLarge",
        501 => "MethodNotAllowed",
        503 => "ServiceUnavailable",
        _ => "InternalError",
    };
    status(code, reason, message, None)
}

/// What the machine refuses to do.
pub fn refused(refusal: &Refusal) -> Response {
    let (code, reason) = match refusal.kind {
        RefusalKind::Conflict => (409, "Conflict"),
        RefusalKind::Forbidden => (403, "Forbidden"),
        RefusalKind::Invalid => (422, "Invalid"),
        RefusalKind::NotFound => (404, "NotFound"),
        RefusalKind::Unavailable => (503, "ServiceUnavailable"),
        RefusalKind::Internal => (500, "InternalError"),
        RefusalKind::TimedOut => (504, "Timeout"),
    };
    status(code, reason, &refusal.message, None)
}

/// A success that has no object of its own to show.
pub fn success(subject: Subject<'_>, uid: &str) -> Response {
    let Subject { group, resource, name } = subject;
    let details = json!({"name": name, "group": group, "kind": resource, "uid": uid});
    let body = object("Success", json!({"details": details}));
    Response::json(200, body.to_string())
}

fn status(code: u16, reason: &str, message: &str, details: Option<Value>) -> Response {
    let mut rest = json!({"message": message, "reason": reason, "code": code});
    if let (Some(rest), Some(details)) = (rest.as_object_mut(), details) {
        rest.insert("details".into(), details);
    }
    Response::json(code, object("Failure", rest).to_string())
}

fn object(status: &str, rest: Value) -> Value {
    let mut object = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": status});
    if let (Some(object), Value::Object(rest)) = (object.as_object_mut(), rest) {
        object.extend(rest);
    }
    object
}
