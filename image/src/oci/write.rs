//! A writer of image layouts with one layer, for packing kernels and disks.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::blob::digest_of;
use super::model::{
    CONFIG, Descriptor, INDEX, Index, LAYER, LayoutMarker, MANIFEST, Manifest, Platform, REF_NAME,
};
use super::{ARCHITECTURE, json};
use crate::archive;
use crate::error::ImageError;

/// A file to put into an image.
#[derive(Clone, Debug)]
pub struct LayoutFile<'a> {
    /// Where in the image, such as `/boot/vmlinuz`; at most 99 bytes.
    pub path: &'a str,
    /// Where from.
    pub source: &'a Path,
    /// Permission bits, such as 0o644.
    pub mode: u32,
}

/// Whether the layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPacking {
    /// Not: quick to write and to read.
    Tar,
    /// With gzip.
    Gzip,
}

/// Writes an image of `files` into the layout at `dir` under `tag`, making the layout if there is
/// none, and replacing an image of the same tag. The same files always give the same image.
///
/// # Errors
/// When a file cannot be read or the layout not written.
pub fn write_layout(
    dir: &Path,
    tag: &str,
    files: &[LayoutFile<'_>],
    packing: LayerPacking,
) -> Result<(), ImageError> {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(ImageError::io("create", &blobs))?;
    let (layer, diff_id) = write_layer(&blobs, files, packing)?;
    let config = serde_json::json!({
        "architecture": ARCHITECTURE,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    });
    let config = write_json(&blobs, CONFIG, &config)?;
    let manifest =
        Manifest { schema_version: 2, media_type: Some(MANIFEST.to_owned()), config, layers: vec![layer] };
    let mut manifest = write_json(&blobs, MANIFEST, &manifest)?;
    manifest.annotations.insert(REF_NAME.to_owned(), tag.to_owned());
    manifest.platform = Some(Platform { architecture: ARCHITECTURE.to_owned(), os: "linux".to_owned() });

    let mut index = match dir.join("index.json").exists() {
        true => json(dir, "index.json")?,
        false => Index { schema_version: 2, media_type: Some(INDEX.to_owned()), manifests: Vec::new() },
    };
    index.manifests.retain(|other| other.tag() != Some(tag));
    index.manifests.push(manifest);
    let marker = LayoutMarker { image_layout_version: "1.0.0".to_owned() };
    replace(&dir.join("oci-layout"), &to_json(&marker, dir)?)?;
    replace(&dir.join("index.json"), &to_json(&index, dir)?)
}

fn to_json(value: &impl serde::Serialize, dir: &Path) -> Result<Vec<u8>, ImageError> {
    serde_json::to_vec(value).map_err(io::Error::from).map_err(ImageError::io("write the index of", dir))
}

fn replace(path: &Path, contents: &[u8]) -> Result<(), ImageError> {
    let new = path.with_extension("new");
    fs::write(&new, contents).map_err(ImageError::io("write", &new))?;
    fs::rename(&new, path).map_err(ImageError::io("rename into place", path))
}

fn write_json(
    blobs: &Path,
    media_type: &str,
    value: &impl serde::Serialize,
) -> Result<Descriptor, ImageError> {
    let text = to_json(value, blobs)?;
    let digest = digest_of(Sha256::digest(&text).as_slice());
    replace(&blobs.join(digest.trim_start_matches("sha256:")), &text)?;
    Ok(Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size: text.len() as u64,
        ..Descriptor::default()
    })
}

/// Writes the layer; returns its descriptor and the digest of the archive within.
fn write_layer(
    blobs: &Path,
    files: &[LayoutFile<'_>],
    packing: LayerPacking,
) -> Result<(Descriptor, String), ImageError> {
    let path = blobs.join(".layer.new");
    let file = File::create(&path).map_err(ImageError::io("create", &path))?;
    let failed = ImageError::io("write", &path);
    let blob = Hashing::new(SparseFile { file: BufWriter::new(file), size: 0 });
    let (blob, diff_id) = match packing {
        LayerPacking::Tar => {
            let mut blob = blob;
            write_archive(&mut blob, files)?;
            let diff_id = digest_of(blob.state.clone().finalize().as_slice());
            (blob, diff_id)
        }
        LayerPacking::Gzip => {
            let mut archive = Hashing::new(GzEncoder::new(blob, Compression::fast()));
            write_archive(&mut archive, files)?;
            let diff_id = digest_of(archive.state.finalize().as_slice());
            (archive.to.finish().map_err(ImageError::io("write", &path))?, diff_id)
        }
    };
    let digest = digest_of(blob.state.finalize().as_slice());
    let size = blob.to.finish().map_err(failed)?;
    let to = blobs.join(digest.trim_start_matches("sha256:"));
    fs::rename(&path, &to).map_err(ImageError::io("rename into place", &to))?;
    let suffix = if packing == LayerPacking::Gzip { "+gzip" } else { "" };
    let descriptor =
        Descriptor { media_type: format!("{LAYER}{suffix}"), digest, size, ..Descriptor::default() };
    Ok((descriptor, diff_id))
}

fn write_archive(to: &mut dyn Write, files: &[LayoutFile<'_>]) -> Result<(), ImageError> {
    let mut dirs: Vec<&str> = Vec::new();
    for file in files {
        let path = file.path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            if let Some(dir) = path.get(..at).filter(|dir| !dirs.contains(dir)) {
                dirs.push(dir);
                archive::header(to, &format!("{dir}/"), 0o755, 0, b'5')
                    .map_err(ImageError::io("pack", dir))?;
            }
        }
        pack(to, path, file).map_err(ImageError::io("pack", file.source))?;
    }
    archive::end(to).map_err(ImageError::io("finish", PathBuf::from("layer")))
}

fn pack(to: &mut dyn Write, path: &str, file: &LayoutFile<'_>) -> io::Result<()> {
    let source = File::open(file.source)?;
    let size = source.metadata()?.len();
    archive::file(to, path, file.mode, source, size)
}

struct Hashing<W> {
    to: W,
    state: Sha256,
}

impl<W: Write> Hashing<W> {
    fn new(to: W) -> Hashing<W> {
        Hashing { to, state: Sha256::new() }
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.to.write(buf)?;
        self.state.update(buf.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// A file in which long zeroes become holes: disks are mostly empty.
struct SparseFile {
    file: BufWriter<File>,
    size: u64,
}

impl SparseFile {
    fn finish(self) -> io::Result<u64> {
        self.file.into_inner().map_err(io::IntoInnerError::into_error)?.set_len(self.size)?;
        Ok(self.size)
    }
}

impl Write for SparseFile {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if buf.len() >= 4096 && buf.iter().all(|&byte| byte == 0) {
            self.file.seek(SeekFrom::Current(i64::try_from(buf.len()).unwrap_or(0)))?;
        } else {
            self.file.write_all(buf)?;
        }
        self.size += buf.len() as u64;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
