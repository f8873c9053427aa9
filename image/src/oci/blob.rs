//! Blobs, checked against their digests while they are read.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::model::Descriptor;
use crate::error::ImageError;
use crate::reference::is_digest;

/// Largest manifest or index taken, as registries limit them.
const MAX_JSON: u64 = 4 << 20;
/// Largest window that a zstd layer may have us keep: 128 MiB, as with `zstd --ultra` but not `--long=31`.
const MAX_WINDOW_LOG: u32 = 27;
/// Most bytes that a layer may unpack to.
const MAX_UNPACKED: u64 = 1 << 40;

/// A blob of a layout.
pub(super) struct Blob<'a> {
    dir: &'a Path,
    descriptor: &'a Descriptor,
}

impl<'a> Blob<'a> {
    pub(super) fn new(dir: &'a Path, descriptor: &'a Descriptor) -> Blob<'a> {
        Blob { dir, descriptor }
    }

    fn corrupt(&self, reason: &'static str) -> ImageError {
        let digest: String = self.descriptor.digest.chars().take(80).collect();
        ImageError::Blob { dir: self.dir.to_owned(), digest, reason }
    }

    fn open(&self) -> Result<(File, PathBuf), ImageError> {
        let digest = &self.descriptor.digest;
        let hex = digest.strip_prefix("sha256:").filter(|_| is_digest(digest));
        let hex = hex.ok_or_else(|| self.corrupt("its digest is not a sha256 one"))?;
        let path = self.dir.join("blobs/sha256").join(hex);
        let file = File::open(&path).map_err(ImageError::io("open", &path))?;
        let meta = file.metadata().map_err(ImageError::io("look at", &path))?;
        if !meta.is_file() || meta.len() != self.descriptor.size {
            return Err(self.corrupt("its size is not the one in its descriptor"));
        }
        Ok((file, path))
    }

    /// Reads a small JSON blob.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, ImageError> {
        if self.descriptor.size > MAX_JSON {
            return Err(self.corrupt("it is too large for a manifest"));
        }
        let (file, path) = self.open()?;
        let mut text = Vec::new();
        file.take(MAX_JSON).read_to_end(&mut text).map_err(ImageError::io("read", path))?;
        if digest_of(Sha256::digest(&text).as_slice()) != self.descriptor.digest {
            return Err(self.corrupt("its contents do not match its digest"));
        }
        serde_json::from_slice(&text).map_err(|_| self.corrupt("it is not the JSON that it should be"))
    }

    /// Reads a layer: gives the unpacked archive to `read`, then checks the whole blob's digest.
    pub(super) fn layer<T>(
        &self,
        read: impl FnOnce(&mut dyn Read) -> Result<T, ImageError>,
    ) -> Result<T, ImageError> {
        let packing = Packing::of(&self.descriptor.media_type).ok_or_else(|| {
            self.corrupt("its kind of layer is not supported (tar, tar+gzip and tar+zstd are)")
        })?;
        let (file, path) = self.open()?;
        let mut hashed = BufReader::with_capacity(64 << 10, Hashed { file, state: Sha256::new() });
        let result = match packing {
            Packing::Plain => read(&mut (&mut hashed).take(MAX_UNPACKED)),
            Packing::Gzip => read(&mut MultiGzDecoder::new(&mut hashed).take(MAX_UNPACKED)),
            Packing::Zstd => {
                let unpacked = unzstd(&mut hashed).map_err(ImageError::io("unpack", &path))?;
                read(&mut unpacked.take(MAX_UNPACKED))
            }
        };
        // A wrong digest explains whatever else went wrong.
        io::copy(&mut hashed, &mut io::sink()).map_err(ImageError::io("read", path))?;
        if digest_of(hashed.into_inner().state.finalize().as_slice()) != self.descriptor.digest {
            return Err(self.corrupt("its contents do not match its digest"));
        }
        result
    }
}

enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    fn of(media_type: &str) -> Option<Packing> {
        match media_type {
            super::model::LAYER => Some(Packing::Plain),
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Some(Packing::Gzip),
            "application/vnd.oci.image.layer.v1.tar+zstd" => Some(Packing::Zstd),
            _ => None,
        }
    }
}

/// Unpacks a stream of one frame or several.
fn unzstd<'a, R: io::BufRead + 'a>(packed: R) -> io::Result<impl Read + 'a> {
    let mut stream = zstd::stream::read::Decoder::with_buffer(packed)?;
    stream.window_log_max(MAX_WINDOW_LOG)?;
    Ok(stream)
}

struct Hashed {
    file: File,
    state: Sha256,
}

impl Read for Hashed {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buf)?;
        self.state.update(buf.get(..read).unwrap_or_default());
        Ok(read)
    }
}

/// `sha256:` and the hexadecimal digits.
pub(super) fn digest_of(hash: &[u8]) -> String {
    use std::fmt::Write as _;
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
