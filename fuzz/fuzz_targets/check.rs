//! Any bytes as a manifest: all that `kubevmm check` and `kubevmm check --show-defaults` do with it, and a few
//! properties that hold whatever the input.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spec::{Document, Manifests, admit, explain, report, yaml};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match Manifests::parse("fuzz.yaml", text) {
        Err(errors) => errors.iter().for_each(|error| drop((report::load_error(error), report::load_error_json(error)))),
        Ok(manifests) => manifests.documents.iter().for_each(|document| check(document, &manifests)),
    }
    drop(explain(text.lines().next().unwrap_or_default()));
});

fn check(document: &Document, manifests: &Manifests) {
    let verdict = admit(document, manifests);
    drop(report::text(&verdict));
    drop(report::json(document, &verdict).to_string());
    assert_eq!(verdict.allowed, verdict.causes.is_empty());
    if let Some(machine) = verdict.machine() {
        let _ = (machine.topology(), machine.memory_bytes(), machine.hostname().len());
    }
    let shown = yaml::write(&verdict.object.to_json());
    if verdict.allowed && !shown.is_empty() {
        stays_the_same(&shown);
    }
}

/// What `--show-defaults` prints is read again as the same object, and has nothing left to fill in.
fn stays_the_same(shown: &str) {
    let Ok(again) = Manifests::parse("shown.yaml", shown) else { return };
    for document in &again.documents {
        let verdict = admit(document, &again);
        if verdict.allowed {
            assert_eq!(yaml::write(&verdict.object.to_json()), shown);
        }
    }
}
