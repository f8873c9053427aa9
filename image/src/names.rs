//! Finding a path inside an image, as a process rooted there would: symbolic links and `..` never lead out.

use std::collections::VecDeque;

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    /// With its target, as written.
    Symlink(String),
    /// Devices, sockets and such: never handed out.
    Other,
}

/// A tree of names. Paths have no leading slash; the root is the empty path.
pub(crate) trait Names {
    /// What is at exactly this path, symbolic links not followed.
    fn kind(&self, path: &str) -> Option<Kind>;
    /// The names in a directory; at most `max` of them.
    fn list(&self, path: &str, max: usize) -> Vec<String>;
}

/// As many symbolic links as Linux follows in one path (`MAXSYMLINKS`).
const MAX_LINKS: usize = 40;
/// `PATH_MAX`.
const MAX_PATH: usize = 4096;

/// The path with all symbolic links resolved, and what is there.
pub(crate) fn resolve(names: &dyn Names, path: &str) -> Result<(String, Kind), &'static str> {
    let mut links = 0;
    let mut at = String::new();
    let mut todo: VecDeque<String> = parts(path)?;
    let mut kind = Kind::Directory;
    while let Some(part) = todo.pop_front() {
        if kind != Kind::Directory {
            return Err("a part of the path is not a directory");
        }
        if part == ".." {
            at.truncate(at.rfind('/').unwrap_or(0));
            continue;
        }
        let next = join(&at, &part);
        match names.kind(&next).ok_or("there is no such file")? {
            Kind::Symlink(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err("too many symbolic links");
                }
                if target.starts_with('/') {
                    at.clear();
                }
                for part in parts(&target)?.into_iter().rev() {
                    todo.push_front(part);
                }
            }
            found => {
                at = next;
                kind = found;
            }
        }
    }
    Ok((at, kind))
}

/// A directory's path and a name in it.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

fn parts(path: &str) -> Result<VecDeque<String>, &'static str> {
    if path.len() > MAX_PATH {
        return Err("the path is too long");
    }
    Ok(path.split('/').filter(|part| !part.is_empty() && *part != ".").map(str::to_owned).collect())
}

/// The one file that is a container disk, by KubeVirt's rule: the root's only entry, or else the only file in `/disk`.
pub(crate) fn container_disk(names: &dyn Names) -> Result<String, String> {
    if let [only] = names.list("", 2).as_slice()
        && names.kind(only) == Some(Kind::File)
    {
        return Ok(only.clone());
    }
    let (dir, kind) = resolve(names, "disk").map_err(|_| "it has no directory /disk".to_owned())?;
    if kind != Kind::Directory {
        return Err("its /disk is not a directory".to_owned());
    }
    match names.list(&dir, 2).as_slice() {
        [only] => match resolve(names, &join(&dir, only)) {
            Ok((path, Kind::File)) => Ok(path),
            _ => Err(format!("/disk/{only} is not a regular file")),
        },
        [] => Err("its directory /disk is empty".to_owned()),
        _ => Err("there is more than one file in its directory /disk".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    struct Fake(BTreeMap<&'static str, Kind>);

    impl Names for Fake {
        fn kind(&self, path: &str) -> Option<Kind> {
            self.0.get(path).cloned()
        }
        fn list(&self, path: &str, max: usize) -> Vec<String> {
            let inside = |full: &&str| {
                let rest = if path.is_empty() { Some(*full) } else { full.strip_prefix(&format!("{path}/")) };
                rest.filter(|rest| !rest.contains('/')).map(str::to_owned)
            };
            self.0.keys().filter_map(inside).take(max).collect()
        }
    }

    fn fake(entries: &[(&'static str, Kind)]) -> Fake {
        Fake(entries.iter().cloned().collect())
    }

    fn link(target: &str) -> Kind {
        Kind::Symlink(target.into())
    }

    #[test]
    fn links_stay_inside() {
        let tree = fake(&[
            ("etc", Kind::Directory),
            ("etc/passwd", Kind::File),
            ("a", Kind::Directory),
            ("a/up", link("../../../../etc/passwd")),
            ("a/abs", link("/etc")),
            ("a/loop", link("loop")),
            ("a/dangling", link("/none")),
        ]);
        let found = |path| resolve(&tree, path).map(|(path, _)| path);
        assert_eq!(found("/a/up").as_deref(), Ok("etc/passwd"));
        assert_eq!(found("a/abs/passwd").as_deref(), Ok("etc/passwd"));
        assert_eq!(found("../../etc//./passwd").as_deref(), Ok("etc/passwd"));
        for bad in ["a/loop", "a/dangling", "etc/passwd/x", "none", &"x/".repeat(4000)] {
            assert!(found(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_container_disk_is_the_only_file() {
        let disk = |entries: &[_]| container_disk(&fake(entries));
        assert_eq!(disk(&[("my.img", Kind::File)]).as_deref(), Ok("my.img"));
        let dir = ("disk", Kind::Directory);
        assert_eq!(disk(&[dir.clone(), ("disk/x", Kind::File)]).as_deref(), Ok("disk/x"));
        assert!(disk(std::slice::from_ref(&dir)).is_err());
        assert!(disk(&[dir.clone(), ("disk/x", Kind::File), ("disk/y", Kind::File)]).is_err());
        assert!(disk(&[dir, ("disk/x", Kind::Other)]).is_err());
        assert!(disk(&[("disk", Kind::Other)]).is_err());
        assert!(disk(&[("disk-foo", Kind::File), ("other", Kind::File)]).is_err());
    }
}
