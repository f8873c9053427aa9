//! Faults of a manifest, shown at their line.

use spec::{Document, Location};

use crate::plan::PlanError;

/// How bad something is.
#[derive(Clone, Copy)]
pub(super) enum Level {
    Error,
    Warning,
}

/// Says on standard error what is wrong at `location`, with the line itself.
pub(super) fn say(level: Level, location: &Location, path: &str, message: &str) {
    let level = match level {
        Level::Error => "error",
        Level::Warning => "warning",
    };
    eprintln!("{location}: {level}: {path}: {message}");
    eprintln!("{}", location.excerpt());
}

/// Says what the plan has to say about `document`; `prefix` leads from the document to the machine in it.
pub(super) fn say_plan(level: Level, document: &Document, prefix: &str, errors: &[PlanError]) {
    for error in errors {
        let path = format!("{prefix}{}", error.field);
        say(level, &document.locate(&path), &path, &error.message);
    }
}
