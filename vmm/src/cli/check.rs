//! `kubevmm check`.

use serde::Serialize;
use spec::{Document, Verdict};

use super::args::Args;
use super::{Failure, REJECTED, manifest, plan};

/// A document's verdict, for programs.
#[derive(Serialize)]
struct Report<'a> {
    file: String,
    document: usize,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
    allowed: bool,
    causes: Vec<CauseReport<'a>>,
    warnings: Vec<WarningReport<'a>>,
}

#[derive(Serialize)]
struct CauseReport<'a> {
    reason: &'static str,
    field: &'a str,
    message: &'a str,
    line: u32,
    column: u32,
}

#[derive(Serialize)]
struct WarningReport<'a> {
    field: &'a str,
    message: &'a str,
    line: u32,
    column: u32,
}

/// Checks every document of the files.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let format = args.text("output")?;
    let print: fn(&Document, &Verdict) = match format.as_deref() {
        None | Some("text") => text,
        Some("json") => json,
        Some("yaml") => yaml,
        Some(other) => return Err(plan::unknown(other)),
    };
    let manifests = manifest::load(args)?;
    let mut all_allowed = true;
    for document in &manifests.documents {
        let verdict = spec::admit(document, &manifests);
        all_allowed &= verdict.allowed;
        print(document, &verdict);
    }
    Ok(if all_allowed { 0 } else { REJECTED })
}

fn text(document: &Document, verdict: &Verdict) {
    manifest::say_verdict(verdict);
    let word = if verdict.allowed { "allowed" } else { "rejected" };
    println!("{}: {} {}: {word}", document.file().display(), document.kind(), document.name());
}

fn json(document: &Document, verdict: &Verdict) {
    // A struct of texts and numbers always serializes.
    println!("{}", serde_json::to_string(&report(document, verdict)).unwrap_or_default());
}

fn yaml(document: &Document, verdict: &Verdict) {
    print!("---\n{}", serde_saphyr::to_string(&report(document, verdict)).unwrap_or_default());
}

fn report<'a>(document: &'a Document, verdict: &'a Verdict) -> Report<'a> {
    Report {
        file: document.file().display().to_string(),
        document: document.number(),
        kind: document.kind(),
        namespace: document.namespace(),
        name: document.name(),
        allowed: verdict.allowed,
        causes: verdict
            .causes
            .iter()
            .map(|cause| CauseReport {
                reason: cause.reason.as_str(),
                field: &cause.field,
                message: &cause.message,
                line: cause.location.line(),
                column: cause.location.column(),
            })
            .collect(),
        warnings: verdict
            .warnings
            .iter()
            .map(|warning| WarningReport {
                field: &warning.path,
                message: &warning.message,
                line: warning.location.line(),
                column: warning.location.column(),
            })
            .collect(),
    }
}
