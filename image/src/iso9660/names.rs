//! The names that files have in each of the image's two directory trees.

use std::collections::HashSet;

use super::tree::{Child, Tree};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flavor {
    /// ECMA-119 level 1: eight characters and three, upper case.
    Primary,
    /// UCS-2, up to 64 characters.
    Joliet,
}

/// A directory's child as one flavour names it.
pub(super) struct Named<'a> {
    pub(super) ident: Vec<u8>,
    /// The name as given.
    pub(super) name: &'a str,
    pub(super) child: Child,
}

/// All directories as one flavour sees them.
pub(super) struct View<'a> {
    pub(super) flavor: Flavor,
    /// Each directory's children in the order of their identifiers (ECMA-119 §9.3).
    pub(super) children: Vec<Vec<Named<'a>>>,
    /// Directories in path table order: by level, then parent, then identifier (§9.4).
    pub(super) order: Vec<(usize, Vec<u8>)>,
}

pub(super) fn view<'a>(tree: &Tree<'a>, flavor: Flavor) -> View<'a> {
    let children: Vec<Vec<Named<'a>>> = tree
        .dirs
        .iter()
        .map(|dir| {
            let mut taken = HashSet::new();
            let mut named: Vec<Named<'a>> = dir
                .children
                .iter()
                .map(|(name, &child)| {
                    let is_file = matches!(child, Child::File(_));
                    Named { ident: unique(flavor, name, is_file, &mut taken), name, child }
                })
                .collect();
            named.sort_by(|a, b| a.ident.cmp(&b.ident));
            named
        })
        .collect();
    let mut order = vec![(0, vec![0])];
    let mut next = 0;
    while let Some(&(dir, _)) = order.get(next) {
        for named in children.get(dir).into_iter().flatten() {
            if let Child::Dir(below) = named.child {
                order.push((below, named.ident.clone()));
            }
        }
        next += 1;
    }
    View { flavor, children, order }
}

/// An identifier that no other file of the directory has.
fn unique(flavor: Flavor, name: &str, is_file: bool, taken: &mut HashSet<Vec<u8>>) -> Vec<u8> {
    let mut number = 0u32;
    loop {
        let ident = match flavor {
            Flavor::Primary => primary(name, is_file, number),
            Flavor::Joliet => joliet(name, number),
        };
        if taken.insert(ident.clone()) {
            return ident;
        }
        number += 1;
    }
}

/// `USER_DAT.;1`; from the second file on that would be called so, `USER_001.;1` and on.
fn primary(name: &str, is_file: bool, number: u32) -> Vec<u8> {
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if is_file && !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    };
    let tail = if number == 0 { String::new() } else { format!("{number:03}") };
    let mut ident = letters(stem, 8usize.saturating_sub(tail.len()));
    ident.push_str(&tail);
    if is_file {
        ident.push('.');
        ident.push_str(&letters(extension, 3));
        ident.push_str(";1");
    }
    ident.into_bytes()
}

fn letters(text: &str, max: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    text.chars().take(max).map(plain).collect()
}

/// The name in UCS-2, without what Joliet forbids, and numbered where 64 characters do not tell it apart.
fn joliet(name: &str, number: u32) -> Vec<u8> {
    let tail = if number == 0 { String::new() } else { format!("~{number}") };
    let plain = |c: char| if matches!(c, '*' | '/' | ':' | ';' | '?' | '\\') || c < ' ' { '_' } else { c };
    let max = 64usize.saturating_sub(tail.len());
    let mut units = [0; 2];
    let mut ident: Vec<u8> = Vec::new();
    // A character outside the basic plane has no place in UCS-2.
    let basic = |c: char| if u32::from(c) > 0xffff { '_' } else { c };
    for c in name.chars().take(max).chain(tail.chars()) {
        ident.extend(basic(plain(c)).encode_utf16(&mut units).iter().flat_map(|unit| unit.to_be_bytes()));
    }
    ident
}
