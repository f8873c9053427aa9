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
            "message": message,
            "line": error.location().map_or(0, Location::line),
            "column": error.location().map_or(0, Location::column),
        }],
        "warnings": [],
    })
}

/// The verdict for programs, as `kubevmm check -o json` prints it. `field` is what a KubeVirt cluster names,
/// which now and then is not where the value stands; line and column are, and count from 1.
pub fn json(document: &Document, verdict: &Verdict) -> Value {
    let causes: Vec<Value> = verdict
        .causes
        .iter()
        .map(|cause| {
            json!({
                "reason": cause.reason.as_str(),
                "field": cause.field,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Manifests;

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    /// What programs read: these keys, in verdicts and in faults of files alike.
    #[test]
    fn verdicts_for_programs_have_their_keys() {
        let text = "kind: VirtualMachineInstance\napiVersion: kubevirt.io/v1\nmetadata: {name: a}\nspec: {domain: {devices: {}}}\n";
        let manifests = Manifests::parse("a.yaml", text).unwrap();
        let document = manifests.documents.first().unwrap();
        let verdict = json(document, &crate::admit(document, &manifests));
        let errors = Manifests::parse("b.yaml", "a: [").unwrap_err();
        for value in [verdict.clone(), load_error_json(errors.first().unwrap())] {
            let wanted = ["allowed", "causes", "document", "file", "kind", "name", "namespace", "warnings"];
            assert_eq!(keys(&value), wanted);
            assert_eq!(keys(&value["causes"][0]), ["column", "field", "line", "message", "reason"]);
        }
        assert_eq!(keys(&verdict["warnings"][0]), ["column", "field", "line", "message"]);
    }
}
