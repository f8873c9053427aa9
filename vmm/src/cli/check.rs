//! `kubevmm check`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use spec::{Document, LoadError, Manifests, Verdict, report};

use super::args::Args;
use super::output::{Format, print, say, yaml_document};
use super::{Failure, REJECTED, manifest};

/// What there is to judge in files: objects, and what could not be read as one.
enum Item<'a> {
    Document(&'a Document),
    Unreadable(&'a LoadError),
}

impl Item<'_> {
    fn file(&self) -> &Path {
        match self {
            Self::Document(document) => document.file(),
            Self::Unreadable(error) => error.file(),
        }
    }
}

/// Checks every document of the files; one that cannot be read does not hide the rest.
pub(super) fn main(args: &Args) -> Result<u8, Failure> {
    let check = Check { args, format: Format::of(args)?, shows_defaults: args.has("show-defaults") };
    let files = args.files()?;
    let (manifests, errors) = Manifests::load(files);
    let mut all_allowed = true;
    for item in in_order(files, &manifests, &errors) {
        all_allowed &= match item {
            Item::Document(document) => check.document(document, &manifests)?,
            Item::Unreadable(error) => check.unreadable(error)?,
        };
    }
    Ok(if all_allowed { 0 } else { REJECTED })
}

/// Documents and errors in the order of the files; a file's errors come after what could be read of it.
fn in_order<'a>(files: &[PathBuf], manifests: &'a Manifests, errors: &'a [LoadError]) -> Vec<Item<'a>> {
    let mut ranks = HashMap::new();
    for (rank, file) in files.iter().enumerate() {
        ranks.entry(file.as_path()).or_insert(rank);
    }
    let documents = manifests.documents.iter().map(Item::Document);
    let mut items: Vec<_> = documents.chain(errors.iter().map(Item::Unreadable)).collect();
    items.sort_by_key(|item| ranks.get(item.file()).copied());
    items
}

/// How verdicts are shown.
struct Check<'a> {
    args: &'a Args,
    format: Format,
    shows_defaults: bool,
}

impl Check<'_> {
    /// Says what is to be said of an object, and whether it is allowed.
    fn document(&self, document: &Document, manifests: &Manifests) -> Result<bool, Failure> {
        let mut verdict = spec::admit(document, manifests);
        if let Some(machine) = verdict.machine().filter(|_| manifest::names_places(self.args)) {
            let resolved = manifest::resolve(machine, manifests, self.args);
            verdict.miss(document, &resolved.missing, false);
        }
        if self.shows_defaults {
            self.object(&verdict)?;
        } else {
            self.verdict(document, &verdict)?;
        }
        Ok(verdict.allowed)
    }

    fn verdict(&self, document: &Document, verdict: &Verdict) -> Result<(), Failure> {
        match self.format {
            Format::Text => {
                say(&report::text(verdict));
                let word = if verdict.allowed { "allowed" } else { "rejected" };
                print(&format!("{}: {} {word}\n", document.file().display(), manifest::called(document)))
            }
            _ => self.value(&report::json(document, verdict)),
        }
    }

    /// The object after defaults; one that is rejected has none, and says why.
    fn object(&self, verdict: &Verdict) -> Result<(), Failure> {
        say(&report::text(verdict));
        match verdict.object.to_json() {
            Value::Null => Ok(()),
            object if verdict.allowed => self.value(&object),
            _ => Ok(()),
        }
    }

    fn unreadable(&self, error: &LoadError) -> Result<bool, Failure> {
        if self.format == Format::Text || self.shows_defaults {
            say(&report::load_error(error));
        } else {
            self.value(&report::load_error_json(error))?;
        }
        Ok(false)
    }

    fn value(&self, value: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Json => print(&format!("{value}\n")),
            Format::Text | Format::Yaml => print(&yaml_document(value)),
        }
    }
}
