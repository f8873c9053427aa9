//! One file out of an image's layers, into the cache.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::blob::Blob;
use super::model::{Descriptor, Manifest};
use super::tree::{EntryId, Tree, normal};
use crate::error::ImageError;
use crate::names::{Kind, container_disk, resolve};
use crate::tarball::{EntryKind, Tarball};

/// Which file is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted<'a> {
    /// The file at a path.
    File(&'a str),
    /// The container disk.
    Disk,
}

impl Wanted<'_> {
    /// Whether an entry of this name is likely to be the one: then its contents are kept when it comes by.
    fn is_likely(self, path: &str) -> bool {
        match self {
            Wanted::File(wanted) => normal(wanted).is_ok_and(|wanted| wanted == path),
            Wanted::Disk => path.strip_prefix("disk/").unwrap_or(path).split('/').count() == 1,
        }
    }

    fn choose(self, tree: &Tree, image: &str) -> Result<EntryId, ImageError> {
        let (wanted, found) = match self {
            Wanted::File(path) => (path, resolve(tree, path)),
            Wanted::Disk => {
                let not = |reason| ImageError::NotADisk { image: image.to_owned(), reason };
                ("/disk", Ok((container_disk(tree).map_err(not)?, Kind::File)))
            }
        };
        let missing =
            |reason| ImageError::NoSuchFile { image: image.to_owned(), path: wanted.to_owned(), reason };
        let (path, _) = found.map_err(missing)?;
        tree.contents(&path).ok_or_else(|| missing("it is not a regular file"))
    }
}

/// Puts the wanted file at `to`, all at once or not at all.
pub(super) fn extract(
    dir: &Path,
    manifest: &Manifest,
    image: &str,
    wanted: Wanted<'_>,
    to: &Path,
) -> Result<(), ImageError> {
    let mut tree = Tree::default();
    let mut kept: Option<(EntryId, Partial)> = None;
    for (layer, descriptor) in manifest.layers.iter().enumerate() {
        walk(dir, descriptor, |number, entry, contents| {
            let id = EntryId { layer, number };
            tree.apply(id, entry).map_err(Walk::Bad)?;
            let likely =
                entry.kind == EntryKind::File && wanted.is_likely(&normal(&entry.path).unwrap_or_default());
            if likely {
                kept = Some((id, Partial::fill(to, contents).map_err(Walk::Host)?));
            }
            Ok(())
        })?;
    }
    let chosen = wanted.choose(&tree, image)?;
    let partial = match kept {
        Some((id, partial)) if id == chosen => partial,
        _ => again(dir, manifest, chosen, to)?,
    };
    partial.finish(to)
}

/// Goes through a layer once more for an entry whose contents were not kept.
fn again(dir: &Path, manifest: &Manifest, id: EntryId, to: &Path) -> Result<Partial, ImageError> {
    let mut found = None;
    if let Some(descriptor) = manifest.layers.get(id.layer) {
        walk(dir, descriptor, |number, _, contents| {
            if number == id.number {
                found = Some(Partial::fill(to, contents).map_err(Walk::Host)?);
            }
            Ok(())
        })?;
    }
    let gone = || ImageError::io("find the file again in", dir)(io::ErrorKind::NotFound.into());
    found.ok_or_else(gone)
}

/// Why walking a layer ended early.
enum Walk {
    /// The layer is at fault.
    Bad(&'static str),
    /// The host is.
    Host(ImageError),
}

fn walk(
    dir: &Path,
    layer: &Descriptor,
    mut each: impl FnMut(usize, &crate::tarball::Entry, &mut dyn Read) -> Result<(), Walk>,
) -> Result<(), ImageError> {
    let bad = |reason: String| ImageError::Layout {
        dir: dir.to_owned(),
        reason: format!("layer {}: {reason}", layer.digest),
    };
    Blob::new(dir, layer).layer(|unpacked| {
        let mut archive = Tarball::new(unpacked);
        let mut number = 0;
        while let Some(entry) = archive.next_entry().map_err(|error| bad(error.to_string()))? {
            each(number, &entry, &mut archive.contents()).map_err(|why| match why {
                Walk::Bad(reason) => bad(reason.to_owned()),
                Walk::Host(error) => error,
            })?;
            number += 1;
        }
        Ok(())
    })
}

/// A file on its way into the cache; removed again unless finished.
struct Partial {
    path: PathBuf,
    finished: bool,
}

/// Most unfinished files that are passed over.
const MAX_PARTIAL: u32 = 1000;
/// Bytes moved at a time; whole zero pieces become holes.
const PIECE: usize = 64 << 10;

impl Partial {
    fn fill(to: &Path, contents: &mut dyn Read) -> Result<Partial, ImageError> {
        let (path, file) = Partial::create(to.parent().unwrap_or(Path::new(".")))?;
        let partial = Partial { path, finished: false };
        copy_sparse(contents, file).map_err(ImageError::io("write", &partial.path))?;
        Ok(partial)
    }

    /// A new file. Launchers in pods are all process 1 of theirs, so that the number may be taken: by another one, or by
    /// what was left when one was killed.
    fn create(folder: &Path) -> Result<(PathBuf, File), ImageError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..MAX_PARTIAL {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!(".partial-{}-{number}", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => return Ok((path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(ImageError::io("create", &path)(error)),
            }
        }
        Err(ImageError::io("make an unfinished file in", folder)(io::ErrorKind::AlreadyExists.into()))
    }

    fn finish(mut self, to: &Path) -> Result<(), ImageError> {
        fs::rename(&self.path, to).map_err(ImageError::io("rename into place", to))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished {
            // It may be gone already; there is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn copy_sparse(from: &mut dyn Read, mut to: File) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut size = 0u64;
    loop {
        let mut have = 0;
        while let Some(rest) = piece.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match from.read(rest) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let got = piece.get(..have).unwrap_or_default();
        if got.is_empty() {
            to.set_len(size)?;
            // Before it gets the name under which it is taken for whole ever after.
            return to.sync_all();
        }
        if got.iter().all(|&byte| byte == 0) {
            to.seek(SeekFrom::Current(i64::try_from(have).unwrap_or(0)))?;
        } else {
            to.write_all(got)?;
        }
        size += have as u64;
    }
}
