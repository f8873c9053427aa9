//! What the API says of the machine `vm`, and what its guest's agent answers.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::api::{Answer, call_with};
use crate::failure::Failure;

/// Asks the machine whose runtime files are in `folder`.
///
/// # Errors
/// If it cannot be reached, or does not answer with HTTP.
pub fn ask(folder: &Path, method: &str, path: &str, body: &str) -> Result<Answer, Failure> {
    call_with(&folder.join("api.sock"), method, path, body)
}

/// Asks for a subresource of the machine `vm`.
///
/// # Errors
/// As [`ask`], and if the answer is a failure.
pub fn subresource(folder: &Path, method: &str, verb: &str, body: &Value) -> Result<Value, Failure> {
    let path = subresource_path(verb);
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let said = ask(folder, method, &path, &body)?;
    match said.status {
        200..300 if said.text.is_empty() => Ok(Value::Null),
        200..300 => said.json(),
        _ => Err(Failure(format!("{verb}: {said:?}"))),
    }
}

/// Path of a subresource of the machine `vm`.
#[must_use]
pub fn subresource_path(verb: &str) -> String {
    format!("/apis/subresources.kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm/{verb}")
}

/// The machine `vm` as it is.
///
/// # Errors
/// As [`ask`].
pub fn machine(folder: &Path) -> Result<Value, Failure> {
    let path = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances/vm";
    ask(folder, "GET", path, "")?.json()
}

/// Waits until the machine `vm` is as `is_so` wants it.
///
/// # Errors
/// If it is not within `limit`; with the status that it had last.
pub fn wait_for(
    folder: &Path,
    limit: Duration,
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value, Failure> {
    let deadline = Instant::now() + limit;
    loop {
        let seen = machine(folder);
        match &seen {
            Ok(machine) if is_so(machine) => return seen,
            _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(100)),
            Ok(machine) => return Err(Failure(format!("waiting for {what}: {}", machine["status"]))),
            Err(failure) => return Err(Failure(format!("waiting for {what}: {failure}"))),
        }
    }
}

/// The status of a condition, `True` or `False`; empty if there is none.
#[must_use]
pub fn condition<'a>(machine: &'a Value, kind: &str) -> &'a str {
    let all = machine.pointer("/status/conditions").and_then(Value::as_array);
    let found = all.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}
