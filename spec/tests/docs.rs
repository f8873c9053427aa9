//! What the pages say holds: their manifests are allowed, their links lead somewhere.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use spec::{Manifests, admit, report};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The files of a folder that end so.
fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let all = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_string_lossy().ends_with(ending)).collect()
}

fn pages() -> Vec<PathBuf> {
    [files("", ".md"), files("docs", ".md"), files("fuzz", ".md")].concat()
}

/// What KubeVirt and kubevmm find wrong with a text; nothing, where it is fine.
fn faults(name: &str, text: &str) -> String {
    match Manifests::parse(name, text) {
        Ok(manifests) => {
            let verdicts = manifests.documents.iter().map(|document| admit(document, &manifests));
            verdicts.filter(|verdict| !verdict.allowed).map(|verdict| report::text(&verdict)).collect()
        }
        Err(errors) => errors.iter().map(report::load_error).collect(),
    }
}

/// The blocks of YAML in a page that are whole objects.
fn objects(page: &str) -> Vec<&str> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("\nkind: ")).collect()
}

#[test]
fn the_manifests_in_the_pages_are_allowed() {
    let mut seen = 0;
    for page in pages() {
        for block in objects(&fs::read_to_string(&page).unwrap()) {
            assert_eq!(faults(&page.to_string_lossy(), block), "");
            seen += 1;
        }
    }
    assert!(seen >= 2, "only {seen} manifests were found in the pages");
}

#[test]
fn the_readme_shows_the_manifest_that_the_demo_boots() {
    let page = fs::read_to_string(root().join("README.md")).unwrap();
    let file = fs::read_to_string(root().join("resources/examples/hello.yaml")).unwrap();
    let start = file.find("apiVersion").unwrap();
    assert!(objects(&page).contains(&&file[start..]), "README.md and hello.yaml differ");
}

#[test]
fn the_example_manifests_are_allowed() {
    for path in [files("resources/examples", ".yaml"), files("resources/examples/volumes", ".yaml")].concat()
    {
        assert_eq!(faults(&path.to_string_lossy(), &fs::read_to_string(&path).unwrap()), "");
    }
}

/// A heading as links name it.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, '-' | '_')).collect()
}

#[test]
fn links_between_the_pages_lead_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.contains("://")) {
            let (file, part) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: {link}", page.display());
            let headings = if part.is_empty() { String::new() } else { fs::read_to_string(&target).unwrap() };
            let mut headings = headings.lines().filter_map(|line| line.strip_prefix('#'));
            let found = headings.any(|line| anchor(line.trim_start_matches('#').trim()) == part);
            assert!(part.is_empty() || found, "{}: {link}", page.display());
        }
    }
}
