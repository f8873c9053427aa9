//! Names of the images in a claim's folder, which say what the images are.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A raw image in a claim's folder.
pub const RAW: &str = "disk.img";
/// A qcow2 image in a claim's folder.
pub const QCOW2: &str = "disk.qcow2";

/// What one of the two is called when it has become the base of an overlay that `id` stands for.
#[must_use]
pub fn base_name(image: &str, id: &str) -> Option<String> {
    let kind = image.strip_prefix("disk.").filter(|_| [RAW, QCOW2].contains(&image))?;
    Some(format!("disk.{id}.{kind}"))
}

/// Whether a base is called so: only such files, of the same folder, may lie below a claim's qcow2 image.
#[must_use]
pub fn is_base(name: &str) -> bool {
    let id = name.strip_prefix("disk.").and_then(|rest| rest.rsplit_once('.'));
    id.is_some_and(|(id, kind)| {
        let is_plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        !id.is_empty() && is_plain && matches!(kind, "img" | "qcow2")
    })
}

/// Whether the raw image of a folder has the name of a base, too: then the folder's qcow2 image lies over it, and somebody who was about
/// to take this name away died.
pub(super) fn is_below(folder: &Path) -> bool {
    let Ok(raw) = fs::symlink_metadata(folder.join(RAW)) else { return false };
    bases(folder).any(|(_, base)| (base.dev(), base.ino()) == (raw.dev(), raw.ino()))
}

/// The files of a folder that are called like bases.
pub(super) fn bases(folder: &Path) -> impl Iterator<Item = (String, fs::Metadata)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| is_base(name))?;
        Some((name, entry.metadata().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bases_have_names_of_their_own() {
        assert_eq!(base_name(RAW, "1f").as_deref(), Some("disk.1f.img"));
        assert_eq!(base_name(QCOW2, "1f").as_deref(), Some("disk.1f.qcow2"));
        assert_eq!(base_name("disk.raw", "1f"), None);
        for name in ["disk.1f.img", "disk.1F-a.qcow2"] {
            assert!(is_base(name), "{name}");
        }
        for name in [
            "disk.img",
            "disk.qcow2",
            "disk..img",
            "disk.a.raw",
            "disk.a/b.img",
            "disk.../x.img",
            "a.img",
            "",
        ] {
            assert!(!is_base(name), "{name}");
        }
    }
}
