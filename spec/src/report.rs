//! Verdicts for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::admit::Verdict;
use crate::source::{Document, LoadError, Location};

/// The verdict for people: each cause and warning with its place and the line of the manifest; empty when there is
/// nothing to say.
pub fn text(verdict: &Verdict) -> String {
    let mut text = String::new();
    for cause in &verdict.causes {
        block(&mut text, "error", &cause.path, &cause.message, &cause.location);
    }
    for warning in &verdict.warnings {
        block(&mut text, "warning", &warning.path, &warning.message, &warning.location);
    }
    text
}

/// A fault of a manifest file for people.
pub fn load_error(error: &LoadError) -> String {
    match (error, error.location()) {
        (LoadError::Syntax { message, .. }, Some(location)) => {
            let mut text = String::new();
            block(&mut text, "error", "", message, location);
            text
        }
        (_, Some(location)) => format!("error: {error}\n{}\n\n", location.excerpt()),
        _ => {
            let mut text = format!("error: {error}");
            let mut source = std::error::Error::source(error);
            while let Some(cause) = source {
                // Writing to a string cannot fail.
                let _ = write!(text, ": {cause}");
                source = cause.source();
            }
            text.push_str("\n\n");
            text
        }
    }
}

fn block(text: &mut String, word: &str, path: &str, message: &str, location: &Location) {
    let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
    // Writing to a string cannot fail.
    let _ = write!(text, "{word}: {path}{message}\n --> {location}\n{}\n\n", location.excerpt());
}

/// A fault of a manifest file for programs, in the form of a verdict without an object.
pub fn load_error_json(error: &LoadError) -> Value {
    let message = match error {
        LoadError::Syntax { message, .. } => message.clone(),
        other => other.to_string(),
    };
    json!({
        "file": error.file().display().to_string(),
        "document": 0,
        "kind": "",
        "namespace": "",
        "name": "",
        "allowed": false,
        "causes": [{
            "reason": "FieldValueInvalid",
            "field": "",
            "path": "",
            "message": message,
            "line": error.location().map_or(0, Location::line),
            "column": error.location().map_or(0, Location::column),
        }],
        "warnings": [],
    })
}

/// The verdict for programs, as `kubevmm check -o json` prints it. `field` is what a KubeVirt cluster names, `path`
/// where the value stands; line and column count from 1.
pub fn json(document: &Document, verdict: &Verdict) -> Value {
    let causes: Vec<Value> = verdict
        .causes
        .iter()
        .map(|cause| {
            json!({
                "reason": cause.reason.as_str(),
                "field": cause.field,
                "path": cause.path,
                "message": cause.message,
                "line": cause.location.line(),
                "column": cause.location.column(),
            })
        })
        .collect();
    let warnings: Vec<Value> = verdict
        .warnings
        .iter()
        .map(|warning| {
            json!({
                "field": warning.path,
                "message": warning.message,
                "line": warning.location.line(),
                "column": warning.location.column(),
            })
        })
        .collect();
    json!({
        "file": document.file().display().to_string(),
        "document": document.number(),
        "kind": document.kind(),
        "namespace": document.namespace(),
        "name": document.name(),
        "allowed": verdict.allowed,
        "causes": causes,
        "warnings": warnings,
    })
}
