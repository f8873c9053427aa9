//! What is mounted below a folder.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Doing, Result};

/// All that is mounted for this process.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Which of its fields says where.
const POINT: usize = 4;

/// Detaches all that is mounted below the folder, and nothing else. Whoever uses it still goes on with it.
pub(crate) fn detach_below(folder: &Path) -> Result<()> {
    // As the kernel has it.
    let folder = fs::canonicalize(folder).doing(format_args!("finding {}", folder.display()))?;
    let mounts = fs::read(MOUNTS).doing(format_args!("reading {MOUNTS}"))?;
    for point in below(&folder, &mounts) {
        guest::sys::unmount(&point).doing(format_args!("detaching {}", point.display()))?;
    }
    Ok(())
}

/// The mount points below a folder, the deepest first.
fn below(folder: &Path, mounts: &[u8]) -> Vec<PathBuf> {
    let lines = mounts.split(|byte| *byte == b'\n');
    let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(POINT)).map(unescape);
    let mut points: Vec<PathBuf> =
        points.filter(|point| point.starts_with(folder) && point != folder).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    points
}

/// A path as the kernel writes it there: what would not stand in a field is a backslash and three octal digits.
fn unescape(mut text: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        let escaped = rest.split_at_checked(3).filter(|_| *first == b'\\').and_then(|(digits, rest)| {
            let digits = std::str::from_utf8(digits).ok()?;
            Some((u8::from_str_radix(digits, 8).ok()?, rest))
        });
        let (byte, rest) = escaped.unwrap_or((*first, rest));
        path.push(byte);
        text = rest;
    }
    OsString::from_vec(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r"22 1 0:21 / / rw,relatime shared:1 - overlay overlay rw
30 22 0:26 / /srv/soak rw - tmpfs tmpfs rw
31 30 0:27 / /srv/soak/room rw master:1 - tmpfs tmpfs rw
32 31 0:28 / /srv/soak/room/disks rw - tmpfs tmpfs rw
33 31 0:28 / /srv/soak/room/disks rw - tmpfs tmpfs rw
34 22 0:29 / /srv/soak-2/room rw - tmpfs tmpfs rw
35 30 0:30 / /srv/soak/a\040b\134c rw - tmpfs tmpfs rw
";

    #[test]
    fn what_is_below_a_folder_is_found_and_nothing_else() {
        let found = below(Path::new("/srv/soak"), TABLE.as_bytes());
        let disks = "/srv/soak/room/disks";
        let wanted = [disks, disks, "/srv/soak/room", r"/srv/soak/a b\c"].map(PathBuf::from);
        assert_eq!(found, wanted);
        assert!(below(Path::new("/srv/soa"), TABLE.as_bytes()).is_empty());
    }
}
