//! `docs/compatibility.md` is made from the table of fields. `UPDATE=1 cargo test -p spec --test compatibility` writes it
//! anew.

use std::path::Path;

#[test]
fn the_page_says_what_the_table_says() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let want = spec::support::markdown();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(page.parent().unwrap()).unwrap();
        std::fs::write(&page, &want).unwrap();
    }
    match std::fs::read_to_string(&page) {
        Ok(got) => assert!(got == want, "{} is not up to date", page.display()),
        Err(error) => eprintln!("SKIPPED: {}: {error}", page.display()),
    }
}

/// `fields.txt` lists the fields of KubeVirt's API as of August 2026 by their paths, but for a VirtualMachine's status, which
/// is not looked into.
#[test]
fn every_field_of_the_api_is_in_the_table() {
    let paths = include_str!("fields.txt");
    assert!(paths.lines().count() > 800);
    let missing: Vec<_> = paths.lines().filter_map(|path| spec::explain(path).err()).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
