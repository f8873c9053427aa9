//! Where images are found, and where files taken out of them are kept.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::ImageError;
use crate::oci::{Layout, Wanted};
use crate::reference::{Reference, Version};
use crate::rootfs;

/// Longest path turned into a file's name in the cache.
const MAX_KEY: usize = 200;

/// Local images.
///
/// Registry names are looked up in one directory, where each repository is an OCI image layout at
/// the repository's own path, holding its tags as `org.opencontainers.image.ref.name`:
/// `quay.io/containerdisks/fedora:42` is the image tagged `42` in `DIR/quay.io/containerdisks/fedora`
/// (what `skopeo copy docker://quay.io/containerdisks/fedora:42 oci:DIR/quay.io/containerdisks/fedora:42`
/// makes). A name without a registry is also looked for under `docker.io/` and `docker.io/library/`.
///
/// Files taken out of layouts are kept as `CACHE/<manifest's sha256>/<path>` and found there the next time.
#[derive(Clone, Debug)]
pub struct Store {
    images: Option<PathBuf>,
    cache: PathBuf,
}

impl Store {
    /// A store with registry names in `images`, and its cache in `cache` (made when needed).
    pub fn new(images: Option<PathBuf>, cache: PathBuf) -> Store {
        Store { images, cache }
    }

    /// A regular file of an image, such as its kernel. The file is to be read only.
    ///
    /// # Errors
    /// When the image or the file in it is missing, corrupt, or cannot be unpacked.
    pub fn file(&self, reference: &Reference, path: &str) -> Result<PathBuf, ImageError> {
        self.find(reference, Wanted::File(path))
    }

    /// The disk of a container disk image: the file at `path`, or by KubeVirt's rule the image's
    /// only file or the only one in `/disk`. The file is to be read only.
    ///
    /// # Errors
    /// As [`Store::file`], and when there is no such one file.
    pub fn container_disk(&self, reference: &Reference, path: Option<&str>) -> Result<PathBuf, ImageError> {
        self.find(reference, path.map_or(Wanted::Disk, Wanted::File))
    }

    fn find(&self, reference: &Reference, wanted: Wanted<'_>) -> Result<PathBuf, ImageError> {
        let name = reference.to_string();
        match reference {
            Reference::Rootfs { dir } => match wanted {
                Wanted::File(path) => rootfs::file(dir, path),
                Wanted::Disk => rootfs::disk(dir),
            },
            Reference::Oci { dir, tag } => {
                let version = tag.clone().map(Version::Tag);
                self.unpack(dir, version.as_ref(), &name, wanted)
            }
            Reference::Registry { repository, version } => {
                self.unpack(&self.repository(repository, &name)?, Some(version), &name, wanted)
            }
        }
    }

    /// Whether an image is there; nothing of it is unpacked.
    ///
    /// # Errors
    /// When it is not, or is not usable.
    pub fn look(&self, reference: &Reference) -> Result<(), ImageError> {
        match reference {
            Reference::Rootfs { dir } => fs::read_dir(dir).map(drop).map_err(ImageError::io("read", dir)),
            Reference::Oci { dir, tag } => {
                let version = tag.clone().map(Version::Tag);
                Layout::open(dir)?.image(version.as_ref()).map(drop)
            }
            Reference::Registry { repository, version } => {
                let dir = self.repository(repository, &reference.to_string())?;
                Layout::open(&dir)?.image(Some(version)).map(drop)
            }
        }
    }

    /// The layout of a repository; `name` is how the image was named.
    fn repository(&self, repository: &str, name: &str) -> Result<PathBuf, ImageError> {
        let name = name.to_owned();
        let Some(images) = &self.images else { return Err(ImageError::NoStore { name }) };
        let expected = || images.join(repository);
        repository_dir(images, repository)
            .ok_or_else(|| ImageError::NotInStore { name, expected: expected() })
    }

    fn unpack(
        &self,
        dir: &Path,
        version: Option<&Version>,
        name: &str,
        wanted: Wanted<'_>,
    ) -> Result<PathBuf, ImageError> {
        let layout = Layout::open(dir)?;
        let image = layout.image(version)?;
        let folder = self.cache.join(image.key()?);
        let kept = folder.join(cache_name(wanted));
        if !kept.is_file() {
            fs::create_dir_all(&folder).map_err(ImageError::io("create", &folder))?;
            image.extract(name, wanted, &kept)?;
        }
        Ok(kept)
    }
}

/// The layout that holds a repository.
fn repository_dir(images: &Path, repository: &str) -> Option<PathBuf> {
    let places = ["", "docker.io/", "docker.io/library/"];
    places.iter().map(|place| images.join(format!("{place}{repository}"))).find(|dir| Layout::is_at(dir))
}

/// A wanted file's name in the cache: one name for each path, none of which leads elsewhere.
fn cache_name(wanted: Wanted<'_>) -> String {
    let Wanted::File(path) = wanted else { return "disk".to_owned() };
    let mut name = "file-".to_owned();
    for byte in path.trim_start_matches('/').bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() <= MAX_KEY {
        return name;
    }
    use sha2::{Digest, Sha256};
    Sha256::digest(path).iter().fold("long-".to_owned(), |name, byte| name + &format!("{byte:02x}"))
}
