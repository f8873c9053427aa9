//! The compatibility page, made from the table.

use std::fmt::Write as _;

use super::list::{Entry, Status, list};
use crate::api::{ROOTS, Root};

const HEAD: &str = "\
# Compatibility with KubeVirt

Every field of the KubeVirt API, and what kubevmm does with it. This page is made from the types in `spec/src/api`;
`kubevmm explain FIELD.PATH` says the same of one field, `kubevmm check` applies it to a manifest.

- **yes**: the field has the effect that KubeVirt gives it.
- **cluster**: the field speaks to the cluster (scheduler, controllers, kubelet); accepted, no effect in this process.
- **warning**: accepted; a warning says what it does not do.
- **no**: refused, because running without it would be silently wrong.
";

/// The whole page.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    for root in ROOTS.iter().filter(|root| !root.kind.contains("Cluster")) {
        section(root, &mut page);
    }
    page
}

fn section(root: &Root, page: &mut String) {
    let entries: Vec<Entry> = list(&root.object).into_iter().filter(|entry| is_shown(root, entry)).collect();
    let count = |word: &str| entries.iter().filter(|entry| short(&entry.status) == word).count();
    // Writing to a string cannot fail.
    let _ = write!(
        page,
        "\n## {}\n\n{} fields: {} yes, {} cluster, {} warning, {} no.\n\n| field | type | kubevmm | |\n|---|---|---|---|\n",
        root.kind,
        entries.len(),
        count("yes"),
        count("cluster"),
        count("warning"),
        count("no"),
    );
    for entry in &entries {
        let note = match &entry.status {
            Status::Warning(note) | Status::NotSupported(note) => note.as_str(),
            Status::As(path) => path.as_str(),
            Status::Honoured | Status::Cluster => "",
        };
        let note = match (&entry.status, note.is_empty()) {
            (Status::As(_), false) => format!("see `{note}`"),
            _ => note.replace('|', "\\|"),
        };
        let kind = entry.field.kind.describe().replace('|', "\\|");
        let _ = writeln!(page, "| `{}` | {kind} | {} | {note} |", entry.path, short(&entry.status));
    }
}

/// Metadata is the same everywhere, and what stands elsewhere on the page is not repeated.
fn is_shown(root: &Root, entry: &Entry) -> bool {
    let is_instance = root.kind == "VirtualMachineInstance";
    let path = entry.path.as_str();
    let is_template = path.contains("template.spec.") || path.contains("virtualMachineTemplate.spec.");
    let is_preset = root.kind == "VirtualMachineInstancePreset" && path.starts_with("spec.domain.");
    let is_metadata = path.contains("metadata.");
    is_instance || !(is_template || is_preset || is_metadata)
}

fn short(status: &Status) -> &'static str {
    match status {
        Status::Honoured => "yes",
        Status::Cluster => "cluster",
        Status::Warning(_) => "warning",
        Status::NotSupported(_) => "no",
        Status::As(_) => "″",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_stands_on_the_page_with_a_meaning() {
        let page = markdown();
        for root in ROOTS {
            for entry in list(&root.object).iter().filter(|entry| is_shown(root, entry)) {
                assert!(page.contains(&format!("| `{}` |", entry.path)), "{}", entry.path);
                assert!(entry.field.doc.trim().len() > 3, "{} says nothing", entry.path);
            }
        }
    }

    #[test]
    fn the_instance_has_all_the_fields_of_the_api() {
        let entries = list(&ROOTS[0].object);
        let count = |base: &str| entries.iter().filter(|entry| entry.path.starts_with(base)).count();
        assert!(count("spec.") >= 389, "{}", count("spec."));
        assert!(count("status.") >= 150, "{}", count("status."));
    }
}
