//! OCI image layouts: directories with `oci-layout`, `index.json` and `blobs/`.

mod blob;
mod extract;
mod model;
#[cfg(test)]
mod tests;
mod tree;
mod write;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

pub use write::{LayerPacking, LayoutFile, write_layout};

use blob::Blob;
pub(crate) use extract::Wanted;
use model::{Descriptor, Index, LayoutMarker, Manifest};

use crate::error::ImageError;
use crate::reference::Version;

/// Largest `index.json` taken.
const MAX_INDEX: u64 = 4 << 20;
const MAX_LAYERS: usize = 512;
/// Indexes within indexes followed.
const MAX_NESTING: usize = 3;
/// What this machine runs.
const ARCHITECTURE: &str = "amd64";

/// An OCI image layout on this host.
pub(crate) struct Layout {
    dir: PathBuf,
    index: Index,
}

/// One image of a layout.
pub(crate) struct Image<'a> {
    dir: &'a Path,
    manifest: Descriptor,
}

impl Layout {
    /// Whether a directory claims to be one.
    pub(crate) fn is_at(dir: &Path) -> bool {
        dir.join("oci-layout").is_file()
    }

    /// Reads a layout's index.
    pub(crate) fn open(dir: &Path) -> Result<Layout, ImageError> {
        if !Self::is_at(dir) {
            return Err(ImageError::NoLayout { dir: dir.to_owned() });
        }
        let marker: LayoutMarker = json(dir, "oci-layout")?;
        if !marker.image_layout_version.starts_with("1.") {
            return Err(layout(dir, format!("its version is {:.20}, not 1", marker.image_layout_version)));
        }
        Ok(Layout { dir: dir.to_owned(), index: json(dir, "index.json")? })
    }

    /// Finds an image by tag or digest; by neither, the only one or the one tagged `latest`.
    pub(crate) fn image(&self, version: Option<&Version>) -> Result<Image<'_>, ImageError> {
        let wanted: Vec<&Descriptor> = match version {
            Some(Version::Tag(tag)) => self.tagged(tag),
            Some(Version::Digest(digest)) => {
                self.index.manifests.iter().filter(|manifest| manifest.digest == *digest).take(1).collect()
            }
            None => match self.index.manifests.as_slice() {
                [only] => vec![only],
                _ => self.tagged("latest"),
            },
        };
        if wanted.is_empty() {
            return Err(self.no_such(version));
        }
        let manifest = self.for_this_machine(&wanted, MAX_NESTING)?;
        Ok(Image { dir: &self.dir, manifest })
    }

    fn tagged(&self, tag: &str) -> Vec<&Descriptor> {
        // Some tools write the image's whole name into the annotation.
        let is = |name: &str| name == tag || name.rsplit_once(':').is_some_and(|(_, end)| end == tag);
        self.index.manifests.iter().filter(|manifest| manifest.tag().is_some_and(is)).collect()
    }

    fn no_such(&self, version: Option<&Version>) -> ImageError {
        let wanted = match version {
            Some(Version::Tag(tag)) => format!("tagged {tag}"),
            Some(Version::Digest(digest)) => format!("with digest {digest}"),
            None => "tagged latest, and it has not just one image".to_owned(),
        };
        let tags = self.index.manifests.iter().filter_map(Descriptor::tag).take(20);
        let present = tags.map(|tag| format!("{tag:.80}")).collect::<Vec<_>>().join(", ");
        let present = if present.is_empty() { "no tags at all".to_owned() } else { present };
        ImageError::NoSuchTag { dir: self.dir.clone(), wanted, present }
    }

    /// The manifest among `candidates` that runs here, looking into nested indexes.
    fn for_this_machine(&self, candidates: &[&Descriptor], nesting: usize) -> Result<Descriptor, ImageError> {
        let fits = |candidate: &&&Descriptor| match &candidate.platform {
            None => true,
            Some(platform) => {
                platform.architecture == ARCHITECTURE && matches!(platform.os.as_str(), "linux" | "")
            }
        };
        let Some(found) = candidates.iter().find(fits) else {
            return Err(layout(&self.dir, format!("the image is not for {ARCHITECTURE}")));
        };
        match found.media_type.as_str() {
            model::INDEX | model::DOCKER_INDEX => {
                let nested: Index = Blob::new(&self.dir, found).json()?;
                let deeper = nesting.checked_sub(1);
                let deeper =
                    deeper.ok_or_else(|| layout(&self.dir, "indexes are nested too deep".to_owned()))?;
                self.for_this_machine(&nested.manifests.iter().collect::<Vec<_>>(), deeper)
            }
            _ => Ok((*found).clone()),
        }
    }
}

impl Image<'_> {
    /// The manifest's digest in hexadecimal, which names the image whatever its tags.
    pub(crate) fn key(&self) -> Result<&str, ImageError> {
        let digest = &self.manifest.digest;
        let hex = digest.strip_prefix("sha256:").filter(|_| crate::reference::is_digest(digest));
        hex.ok_or_else(|| layout(self.dir, "a manifest's digest is not a sha256 one".to_owned()))
    }

    /// Puts a file of the image at `to`; `name` is the image's, for messages.
    pub(crate) fn extract(&self, name: &str, wanted: Wanted<'_>, to: &Path) -> Result<(), ImageError> {
        let manifest: Manifest = Blob::new(self.dir, &self.manifest).json()?;
        if manifest.layers.len() > MAX_LAYERS {
            return Err(layout(self.dir, "an image has too many layers".to_owned()));
        }
        extract::extract(self.dir, &manifest, name, wanted, to)
    }
}

fn layout(dir: &Path, reason: String) -> ImageError {
    ImageError::Layout { dir: dir.to_owned(), reason }
}

/// Reads one of the layout's own JSON files.
fn json<T: serde::de::DeserializeOwned>(dir: &Path, name: &str) -> Result<T, ImageError> {
    let path = dir.join(name);
    let mut text = Vec::new();
    let file = File::open(&path).map_err(ImageError::io("open", &path))?;
    file.take(MAX_INDEX + 1).read_to_end(&mut text).map_err(ImageError::io("read", &path))?;
    if text.len() as u64 > MAX_INDEX {
        return Err(layout(dir, format!("{name} is too large")));
    }
    serde_json::from_slice(&text).map_err(|error| layout(dir, format!("{name}: {error}")))
}
