//! The files as a tree of directories.

use std::collections::BTreeMap;

use super::{IsoError, IsoFile};

/// Deepest path: ISO 9660 allows eight levels, the root being the first (ECMA-119 §6.8.2.1).
const MAX_DEPTH: usize = 8;
/// `NAME_MAX`.
const MAX_NAME: usize = 255;

/// What is in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Child {
    Dir(usize),
    File(usize),
}

#[derive(Debug, Default)]
pub(super) struct Dir<'a> {
    /// The root is its own.
    pub(super) parent: usize,
    pub(super) children: BTreeMap<&'a str, Child>,
}

#[derive(Debug)]
pub(super) struct Tree<'a> {
    /// The root comes first.
    pub(super) dirs: Vec<Dir<'a>>,
    pub(super) files: Vec<&'a [u8]>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(files: &[IsoFile<'a>]) -> Result<Tree<'a>, IsoError> {
        let mut tree = Tree { dirs: vec![Dir::default()], files: Vec::with_capacity(files.len()) };
        for file in files {
            tree.add(file).map_err(|reason| IsoError::Path { path: file.path.to_owned(), reason })?;
        }
        Ok(tree)
    }

    fn add(&mut self, file: &IsoFile<'a>) -> Result<(), &'static str> {
        let parts: Vec<&str> = file.path.split('/').collect();
        let (name, dirs) = parts.split_last().ok_or("it is empty")?;
        if parts.len() >= MAX_DEPTH {
            return Err("it has too many directories");
        }
        for part in &parts {
            check(part)?;
        }
        let mut at = 0;
        for part in dirs {
            at = self.enter(at, part)?;
        }
        let child = Child::File(self.files.len());
        self.files.push(file.contents);
        let dir = self.dirs.get_mut(at).ok_or("its directory is missing")?;
        match dir.children.insert(name, child) {
            None => Ok(()),
            Some(_) => Err("it is there twice"),
        }
    }

    fn enter(&mut self, at: usize, name: &'a str) -> Result<usize, &'static str> {
        let next = self.dirs.len();
        let dir = self.dirs.get_mut(at).ok_or("its directory is missing")?;
        match dir.children.get(name) {
            Some(Child::Dir(there)) => Ok(*there),
            Some(Child::File(_)) => Err("a file has the name of one of its directories"),
            None if next > usize::from(u16::MAX) - 2 => Err("there are too many directories"),
            None => {
                dir.children.insert(name, Child::Dir(next));
                self.dirs.push(Dir { parent: at, children: BTreeMap::new() });
                Ok(next)
            }
        }
    }
}

fn check(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("a name in it is empty"),
        "." | ".." => Err("it must not contain . or .."),
        _ if name.len() > MAX_NAME => Err("a name in it is longer than 255 bytes"),
        _ if name.contains('\0') => Err("it contains a NUL"),
        _ => Ok(()),
    }
}
