//! The merged view of an image's layers: which names there are, and which entry of which layer each one is.

use std::collections::BTreeMap;

use crate::names::{Kind, Names, join};
use crate::tarball::{Entry, EntryKind};

/// Bounds on what one image may make us remember.
const MAX_ENTRIES: usize = 1_000_000;
const MAX_NAME_BYTES: usize = 128 << 20;

/// Names an entry: the layer, and the how-manieth entry of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryId {
    pub(super) layer: usize,
    pub(super) number: usize,
}

#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    /// The layer that put the name there.
    layer: usize,
    /// Where a file's contents are: for a hard link, its target's entry.
    contents: EntryId,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<String, Node>,
    name_bytes: usize,
}

impl Tree {
    /// Lays an entry over what is there. Layers come in order, the lowest first.
    pub(super) fn apply(&mut self, id: EntryId, entry: &Entry) -> Result<(), &'static str> {
        let path = normal(&entry.path)?;
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", &path));
        if name == ".wh..wh..opq" {
            self.hide_below(dir, id.layer);
        } else if name.starts_with(".wh..wh.") {
            // Notes that aufs keeps for itself.
        } else if let Some(hidden) = name.strip_prefix(".wh.") {
            let hidden = join(dir, hidden);
            self.hide_below(&hidden, id.layer);
            if self.nodes.get(&hidden).is_some_and(|node| node.layer < id.layer) {
                self.nodes.remove(&hidden);
            }
        } else if !path.is_empty() {
            self.make_parents(&path, id)?;
            let node = self.node(id, entry)?;
            if node.kind != Kind::Directory {
                self.hide_below(&path, usize::MAX);
            }
            self.insert(path, node)?;
        }
        Ok(())
    }

    fn node(&self, id: EntryId, entry: &Entry) -> Result<Node, &'static str> {
        let own = |kind| Node { kind, layer: id.layer, contents: id };
        Ok(match &entry.kind {
            EntryKind::File => own(Kind::File),
            EntryKind::Directory => own(Kind::Directory),
            EntryKind::Symlink(target) => own(Kind::Symlink(target.clone())),
            EntryKind::Sparse { .. } | EntryKind::Other => own(Kind::Other),
            EntryKind::Hardlink(target) => match self.nodes.get(&normal(target)?) {
                Some(there) if there.kind == Kind::File => Node { layer: id.layer, ..there.clone() },
                _ => own(Kind::Other),
            },
        })
    }

    fn insert(&mut self, path: String, node: Node) -> Result<(), &'static str> {
        self.name_bytes = self.name_bytes.saturating_add(path.len());
        if self.nodes.len() >= MAX_ENTRIES || self.name_bytes > MAX_NAME_BYTES {
            return Err("it has too many entries");
        }
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Directories that the archive does not mention.
    fn make_parents(&mut self, path: &str, id: EntryId) -> Result<(), &'static str> {
        for (at, _) in path.match_indices('/') {
            let Some(dir) = path.get(..at).filter(|dir| !self.nodes.contains_key(*dir)) else { continue };
            let node = Node { kind: Kind::Directory, layer: id.layer, contents: id };
            self.insert(dir.to_owned(), node)?;
        }
        Ok(())
    }

    /// Removes all names below `dir` that layers under `layer` put there.
    fn hide_below(&mut self, dir: &str, layer: usize) {
        let prefix = join(dir, "");
        let below = self.nodes.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
        let hidden: Vec<String> =
            below.filter(|(_, node)| node.layer < layer).map(|(path, _)| path.clone()).collect();
        for path in hidden {
            self.nodes.remove(&path);
        }
    }

    /// Where a file's contents are.
    pub(super) fn contents(&self, path: &str) -> Option<EntryId> {
        self.nodes.get(path).filter(|node| node.kind == Kind::File).map(|node| node.contents)
    }
}

impl Names for Tree {
    fn kind(&self, path: &str) -> Option<Kind> {
        self.nodes.get(path).map(|node| node.kind.clone())
    }

    fn list(&self, path: &str, max: usize) -> Vec<String> {
        let prefix = if path.is_empty() { String::new() } else { join(path, "") };
        let below = self.nodes.range(prefix.clone()..).map_while(|(path, _)| path.strip_prefix(&prefix));
        below.filter(|rest| !rest.contains('/')).take(max).map(str::to_owned).collect()
    }
}

/// A path without leading slash, `.` and empty parts.
pub(super) fn normal(path: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err("the name of an entry leads out of the image");
        }
        if !out.is_empty() {
            out.push('/');
        }
        out.push_str(part);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(layers: &[&[(&str, EntryKind)]]) -> Tree {
        let mut tree = Tree::default();
        for (layer, entries) in layers.iter().enumerate() {
            for (number, (path, kind)) in entries.iter().enumerate() {
                let entry = Entry { path: (*path).into(), kind: kind.clone(), size: 0 };
                tree.apply(EntryId { layer, number }, &entry).unwrap();
            }
        }
        tree
    }

    use EntryKind::{Directory, File, Hardlink};

    #[test]
    fn upper_layers_hide_lower_ones() {
        let merged = tree(&[
            &[("disk/a", File), ("disk/b", File), ("opt/x/y", File), ("opt/z", File), ("etc/k", File)],
            &[("./disk/.wh.a", File), ("opt/.wh..wh..opq", File), ("opt/new", File), (".wh.etc", File)],
        ]);
        assert_eq!(merged.list("", 9), ["disk", "opt"]);
        assert_eq!(merged.list("disk", 9), ["b"]);
        assert_eq!(merged.list("opt", 9), ["new"]);
    }

    #[test]
    fn a_whiteout_does_not_hide_its_own_layer() {
        let merged = tree(&[&[("a/x", File)], &[("a/y", File), ("a/.wh..wh..opq", File), (".wh.a", File)]]);
        assert_eq!(merged.list("a", 9), ["y"]);
    }

    #[test]
    fn kinds_replace_each_other_and_hard_links_share_contents() {
        let merged = tree(&[
            &[("a", Directory), ("a/b", File), ("c", File)],
            &[("a", File), ("d", Hardlink("/c".into())), ("e", Hardlink("none".into()))],
        ]);
        assert_eq!(merged.kind("a"), Some(Kind::File));
        assert_eq!(merged.kind("a/b"), None);
        assert_eq!(merged.contents("d"), Some(EntryId { layer: 0, number: 2 }));
        assert_eq!(merged.kind("e"), Some(Kind::Other));
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        let entry = Entry { path: "disk/../../x".into(), kind: File, size: 0 };
        assert!(Tree::default().apply(EntryId { layer: 0, number: 0 }, &entry).is_err());
    }
}
