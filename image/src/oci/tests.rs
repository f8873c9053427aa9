use std::path::Path;
use std::process::Command;

use serde_json::json;
use sha2::{Digest, Sha256};

use super::blob::digest_of;
use super::*;
use crate::{Reference, Store};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn layout(&self) -> PathBuf {
        self.dir.path().join("layout")
    }

    fn store(&self) -> Store {
        Store::new(Some(self.dir.path().to_owned()), self.dir.path().join("cache"))
    }

    fn source(&self, name: &str, contents: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn reference(&self, tag: &str) -> Reference {
        Reference::Oci { dir: self.layout(), tag: Some(tag.into()) }
    }

    fn blob(&self, bytes: &[u8], media_type: &str) -> serde_json::Value {
        let digest = digest_of(Sha256::digest(bytes).as_slice());
        let blobs = self.layout().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(&digest[7..]), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Makes a layout of plain tar layers.
    fn with_layers(layers: &[Vec<u8>]) -> Place {
        let place = Place::new();
        let layers: Vec<_> = layers.iter().map(|layer| place.blob(layer, model::LAYER)).collect();
        let config = place.blob(b"{}", model::CONFIG);
        let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
        let manifest = place.blob(manifest.to_string().as_bytes(), model::MANIFEST);
        place.write_index(&json!([manifest]));
        place
    }

    fn write_index(&self, manifests: &serde_json::Value) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        std::fs::write(self.layout().join("index.json"), index.to_string()).unwrap();
        std::fs::write(self.layout().join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
    }

    fn only(&self) -> Reference {
        Reference::Oci { dir: self.layout(), tag: None }
    }
}

/// An archive of what `fill` puts into a directory, made by the host's GNU tar.
fn gnu_tar(format: &str, fill: impl FnOnce(&Path)) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    fill(dir.path());
    let format = format!("--format={format}");
    let output =
        Command::new("tar").args(["-cf", "-", &format, "-C"]).arg(dir.path()).arg(".").output().unwrap();
    assert!(output.status.success());
    output.stdout
}

fn put(root: &Path, path: &str, contents: &[u8]) {
    let path = root.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
}

#[test]
fn what_is_written_is_found_again() {
    let place = Place::new();
    let mut disk = vec![0u8; 300_000];
    disk[70_000] = 7;
    let (kernel, disk_file) = (place.source("k", b"kernel"), place.source("d", &disk));
    for (tag, packing) in [("tar", LayerPacking::Tar), ("gz", LayerPacking::Gzip)] {
        let files = [
            LayoutFile { path: "/boot/vmlinuz", source: &kernel, mode: 0o644 },
            LayoutFile { path: "/disk/disk.img", source: &disk_file, mode: 0o440 },
        ];
        write_layout(&place.layout(), tag, &files, packing).unwrap();
    }
    write_layout(&place.layout(), "gz", &[], LayerPacking::Tar).unwrap();
    write_layout(
        &place.layout(),
        "gz",
        &[LayoutFile { path: "disk/disk.img", source: &disk_file, mode: 0o440 }],
        LayerPacking::Gzip,
    )
    .unwrap();
    let store = place.store();
    let found = store.file(&place.reference("tar"), "boot/../boot/vmlinuz").unwrap();
    assert_eq!(std::fs::read(found).unwrap(), b"kernel");
    for tag in ["tar", "gz"] {
        let found = store.container_disk(&place.reference(tag), None).unwrap();
        assert!(std::fs::read(found).unwrap() == disk);
        let found = store.container_disk(&place.reference(tag), Some("/disk/disk.img")).unwrap();
        assert!(std::fs::read(found).unwrap() == disk);
    }
    let error = store.file(&place.reference("none"), "x").unwrap_err().to_string();
    assert!(error.contains("it has: tar, gz"), "{error}");
    let named = Reference::parse("layout:tar").unwrap();
    assert!(store.file(&named, "/boot/vmlinuz").is_ok());
    let unknown = store.file(&Reference::parse("quay.io/x/y").unwrap(), "/z").unwrap_err();
    assert!(matches!(unknown, ImageError::NotInStore { .. }));
    let nowhere = Reference::parse("oci:/nowhere:1").unwrap();
    let error = store.file(&nowhere, "/z").unwrap_err().to_string();
    assert!(error.contains("skopeo copy") && error.contains("oci:/nowhere:TAG"), "{error}");
}

#[test]
fn a_second_use_needs_no_blobs_and_leaves_no_partial_files() {
    let place = Place::with_layers(&[gnu_tar("gnu", |root| put(root, "disk/a.img", b"abc"))]);
    let store = place.store();
    let first = store.container_disk(&place.only(), None).unwrap();
    std::fs::remove_dir_all(place.layout().join("blobs")).unwrap();
    assert_eq!(store.container_disk(&place.only(), None).unwrap(), first);
    assert!(store.file(&place.only(), "/disk/a.img").is_err());
    let left: Vec<_> = std::fs::read_dir(first.parent().unwrap()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_was_left_by_others_is_not_in_the_way() {
    let place = Place::with_layers(&[gnu_tar("gnu", |root| put(root, "disk/a.img", b"abc"))]);
    let store = place.store();
    let first = store.container_disk(&place.only(), None).unwrap();
    let folder = first.parent().unwrap();
    std::fs::remove_file(&first).unwrap();
    // A launcher of the same number was killed, more than once.
    for number in 0..100 {
        let left = folder.join(format!(".partial-{}-{number}", std::process::id()));
        std::fs::write(left, "half").unwrap();
    }
    let second = store.container_disk(&place.only(), None).unwrap();
    assert_eq!(std::fs::read(second).unwrap(), b"abc");
}

#[test]
fn upper_layers_win_and_links_stay_inside() {
    let long = "n".repeat(180);
    for format in ["gnu", "pax"] {
        let lower = gnu_tar(format, |root| {
            put(root, "disk/old.img", b"old");
            put(root, &format!("deep/{long}/{long}"), b"long");
            std::os::unix::fs::symlink("/../../deep", root.join("link")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", root.join("out")).unwrap();
            std::fs::hard_link(root.join("disk/old.img"), root.join("hard")).unwrap();
        });
        let upper = gnu_tar(format, |root| {
            put(root, "disk/.wh.old.img", b"");
            put(root, "disk/new.img", b"new");
        });
        let place = Place::with_layers(&[lower, upper]);
        let store = place.store();
        let read = |path: &str| store.file(&place.only(), path).map(|path| std::fs::read(path).unwrap());
        let disk = store.container_disk(&place.only(), None).unwrap();
        assert_eq!(std::fs::read(disk).unwrap(), b"new");
        assert_eq!(read(&format!("/link/{long}/{long}")).unwrap(), b"long");
        assert_eq!(read("/hard").unwrap(), b"old");
        for bad in ["/out", "/disk/old.img", "/disk", "/link"] {
            assert!(matches!(read(bad), Err(ImageError::NoSuchFile { .. })), "{bad}");
        }
    }
}

#[test]
fn changed_blobs_are_refused() {
    let tar = gnu_tar("gnu", |root| put(root, "disk/a.img", &[7; 4096]));
    let place = Place::with_layers(std::slice::from_ref(&tar));
    let name = digest_of(Sha256::digest(&tar).as_slice())[7..].to_owned();
    let path = place.layout().join("blobs/sha256").join(name);
    let at = tar.iter().position(|&byte| byte == 7).unwrap();
    let mut changed = tar.clone();
    changed[at] = 8;
    for bad in [&changed[..], &tar[..tar.len() - 1]] {
        std::fs::write(&path, bad).unwrap();
        let error = place.store().container_disk(&place.only(), None).unwrap_err();
        assert!(matches!(error, ImageError::Blob { .. }), "{error}");
        let cache = place.dir.path().join("cache");
        let files = std::fs::read_dir(cache)
            .unwrap()
            .flatten()
            .flat_map(|dir| std::fs::read_dir(dir.path()).unwrap());
        assert_eq!(files.count(), 0, "nothing unverified may stay");
    }
}

#[test]
fn hostile_layouts_are_errors() {
    let place = Place::with_layers(&[vec![1; 700]]);
    assert!(place.store().container_disk(&place.only(), None).is_err(), "a layer that is no archive");
    let bad_digests = ["sha256:../../../../etc/passwd", "md5:00", "", "sha256:"];
    for digest in bad_digests {
        place.write_index(&json!([{"digest": digest, "size": 5, "mediaType": model::MANIFEST}]));
        assert!(place.store().container_disk(&place.only(), None).is_err(), "{digest}");
    }
    let own = json!({"schemaVersion": 2, "manifests": []});
    let nested = place.blob(own.to_string().as_bytes(), model::INDEX);
    place.write_index(&json!([nested]));
    assert!(place.store().container_disk(&place.only(), None).is_err(), "an empty index");
    let huge = json!({"digest": format!("sha256:{}", "0".repeat(64)), "size": u64::MAX});
    place.write_index(&json!([huge]));
    assert!(place.store().container_disk(&place.only(), None).is_err(), "a size that is not the file's");
    place.write_index(&json!("x"));
    assert!(matches!(place.store().container_disk(&place.only(), None), Err(ImageError::Layout { .. })));
}

#[test]
fn the_image_for_this_machine_is_chosen_from_an_index() {
    let place = Place::new();
    let mut manifests = vec![];
    for (architecture, contents) in [("arm64", &b"arm"[..]), ("amd64", b"amd")] {
        let layer = gnu_tar("gnu", |root| put(root, "disk/a", contents));
        let layer = place.blob(&layer, model::LAYER);
        let manifest =
            json!({"schemaVersion": 2, "config": place.blob(b"{}", model::CONFIG), "layers": [layer]});
        let mut manifest = place.blob(manifest.to_string().as_bytes(), model::MANIFEST);
        manifest["platform"] = json!({"architecture": architecture, "os": "linux"});
        manifests.push(manifest);
    }
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    let mut nested = place.blob(index.to_string().as_bytes(), model::INDEX);
    nested["annotations"] = json!({model::REF_NAME: "docker.io/x/y:v1"});
    place.write_index(&json!([nested]));
    let found = place.store().container_disk(&place.reference("v1"), None).unwrap();
    assert_eq!(std::fs::read(found).unwrap(), b"amd");
}

#[test]
fn a_directory_serves_as_an_image() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "disk/a.img", b"x");
    std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).unwrap();
    std::os::unix::fs::symlink("/disk", dir.path().join("in")).unwrap();
    let store = Store::new(None, dir.path().join("cache"));
    let rootfs = Reference::Rootfs { dir: dir.path().to_owned() };
    assert!(store.container_disk(&rootfs, None).unwrap().ends_with("disk/a.img"));
    assert!(store.file(&rootfs, "in/../in/a.img").unwrap().ends_with("disk/a.img"));
    assert!(store.file(&rootfs, "../../../../etc/passwd").is_err());
    assert!(store.file(&rootfs, "out").is_err());
    assert!(matches!(store.file(&Reference::parse("x").unwrap(), "y"), Err(ImageError::NoStore { .. })));
}

#[test]
fn layers_may_be_packed_with_zstd() {
    let place = Place::new();
    let tar = gnu_tar("gnu", |root| put(root, "disk/a.img", &[7; 100_000]));
    let packed = zstd::stream::encode_all(&tar[..], 3).unwrap();
    let layer = place.blob(&packed, "application/vnd.oci.image.layer.v1.tar+zstd");
    let manifest = json!({"schemaVersion": 2, "config": place.blob(b"{}", model::CONFIG), "layers": [layer]});
    place.write_index(&json!([place.blob(manifest.to_string().as_bytes(), model::MANIFEST)]));
    let found = place.store().container_disk(&place.only(), None).unwrap();
    assert!(std::fs::read(found).unwrap() == [7; 100_000]);
}
