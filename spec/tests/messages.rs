//! The messages of the commonest mistakes, each shown as `kubevmm check` shows it. The pairs of files in `messages/` are
//! meant to be read: a manifest with a mistake, and what is said of it. `UPDATE=1` writes the texts anew.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::{Path, PathBuf};

use spec::{Manifests, admit, report};

fn manifests() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages");
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut manifests: Vec<_> =
        all.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")).collect();
    manifests.sort();
    manifests
}

fn messages(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy();
    let text = std::fs::read_to_string(path).unwrap();
    match Manifests::parse(&name, &text) {
        Ok(manifests) => {
            manifests.documents.iter().map(|document| report::text(&admit(document, &manifests))).collect()
        }
        Err(errors) => errors.iter().map(report::load_error).collect(),
    }
}

#[test]
fn mistakes_are_named_with_their_place_and_remedy() {
    let mut wrong = Vec::new();
    for path in manifests() {
        let got = messages(&path);
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, &got).unwrap();
        }
        let want = std::fs::read_to_string(&expected).unwrap_or_default();
        if got != want || got.is_empty() {
            wrong.push(format!("{}\n--- wanted\n{want}--- got\n{got}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(manifests().len() >= 20);
}
