//! Plans that can be opened from any working directory.

use std::path::{Path, PathBuf};

use crate::plan::{DevicePlan, DiskSource, FileSource, Plan, Storage};

/// References to directories begin so.
const DIRECTORIES: [&str; 2] = ["rootfs:", "oci:"];

/// Gives all files of `plan` their whole paths.
pub(super) fn whole(plan: &mut Plan) {
    let files = [Some(&mut plan.kernel.kernel), plan.kernel.initrd.as_mut()];
    for file in files.into_iter().flatten() {
        match file {
            FileSource::Path(path) => lengthen(path),
            FileSource::Image { image, .. } => lengthen_reference(image),
        }
    }
    for function in &mut plan.functions {
        let DevicePlan::Disk(disk) = &mut function.device else { continue };
        match &mut disk.source {
            DiskSource::Storage(storage) | DiskSource::Ephemeral(storage) => match storage {
                Storage::Raw(path)
                | Storage::Qcow2(path)
                | Storage::Device(path)
                | Storage::RawOrNew { path, .. } => lengthen(path),
            },
            DiskSource::ContainerDisk { image, .. } => lengthen_reference(image),
            DiskSource::Empty(_) | DiskSource::Iso { .. } => {}
        }
    }
}

fn lengthen(path: &mut PathBuf) {
    // Only an empty path has none, or a process whose working directory is gone: it keeps what it has.
    if let Ok(whole) = std::path::absolute(&path) {
        *path = whole;
    }
}

fn lengthen_reference(reference: &mut String) {
    let directory = DIRECTORIES.iter().find_map(|kind| Some((*kind, reference.strip_prefix(kind)?)));
    let Some((kind, directory)) = directory else { return };
    if let Some(whole) = std::path::absolute(Path::new(directory)).ok().as_deref().and_then(Path::to_str) {
        *reference = format!("{kind}{whole}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_to_directories_are_made_whole_and_others_left_alone() {
        let here = std::env::current_dir().unwrap();
        let whole = |text: &str| {
            let mut text = text.to_owned();
            lengthen_reference(&mut text);
            text
        };
        assert_eq!(whole("rootfs:a/b"), format!("rootfs:{}/a/b", here.display()));
        assert_eq!(whole("oci:a:tag"), format!("oci:{}/a:tag", here.display()));
        assert_eq!(whole("oci:/a:tag"), "oci:/a:tag");
        assert_eq!(whole("quay.io/containerdisks/x:1"), "quay.io/containerdisks/x:1");
        let mut path = PathBuf::from("disk.img");
        lengthen(&mut path);
        assert_eq!(path, here.join("disk.img"));
    }
}
