//! Initramfs archives: cpio's "newc" format
//! (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).

use std::fs;
use std::path::Path;

use crate::error::{Doing, Result};

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive in the making.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    folders: Vec<String>,
}

impl Archive {
    /// Adds a file with these contents, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) {
        self.parents(path);
        self.entry(path, FILE, contents);
    }

    /// Adds a copy of a file of this host.
    pub(crate) fn copy(&mut self, path: &str, from: &Path) -> Result<()> {
        let contents = fs::read(from).doing(format_args!("reading {}", from.display()))?;
        self.file(path, &contents);
        Ok(())
    }

    /// Adds a symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.parents(path);
        self.entry(path, LINK, target.as_bytes());
    }

    /// Adds a folder, and the folders above it.
    pub(crate) fn folder(&mut self, path: &str) {
        self.parents(path);
        if !self.folders.iter().any(|folder| folder == path) {
            self.folders.push(path.to_owned());
            self.entry(path, DIRECTORY, &[]);
        }
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, contents: &[u8]) {
        self.entries = self.entries.wrapping_add(1);
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let links = if mode == DIRECTORY { 2 } else { 1 };
        let name_size = size(name.len().saturating_add(1));
        // c_ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
        let fields = [self.entries, mode, 0, 0, links, 0, size(contents.len()), 0, 0, 0, 0, name_size, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes.resize(self.bytes.len().next_multiple_of(512), 0);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_before_files_and_only_once() {
        let mut archive = Archive::default();
        archive.file("a/b/c", b"xyz");
        archive.link("a/l", "c");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 512, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(text.matches("070701").count(), 5);
        assert!(text.find("a/b\0").unwrap() < text.find("a/b/c\0").unwrap());
        assert!(text.contains("xyz\0") && text.contains("TRAILER!!!\0"));
    }

    #[test]
    fn contents_start_at_a_multiple_of_four() {
        let mut archive = Archive::default();
        archive.file("ab", b"contents");
        assert_eq!(archive.finish().windows(8).position(|window| window == b"contents").unwrap() % 4, 0);
    }
}
