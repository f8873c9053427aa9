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
