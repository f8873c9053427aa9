//! Whether the container images of a machine are in the local store.

use std::path::PathBuf;

use devices::chain;
use image::{Reference, Store};
use spec::api::{VirtualMachineInstance, VolumeSource};
use spec::resolve::Missing;

use super::args::Args;

/// The images that are not there, in the order of the manifest; nothing is unpacked. They are looked for where the
/// command line names the store: without one, registry names lead nowhere, and `run` says so when it opens them.
pub(super) fn missing(machine: &VirtualMachineInstance, args: &Args) -> Vec<Missing> {
    let Some(images) = args.path("images") else { return Vec::new() };
    // Nothing is taken out of images here, so that the cache is of no use.
    let store = Store::new(Some(images), PathBuf::new());
    let kernel = machine.spec.domain.firmware.as_ref().and_then(|firmware| firmware.kernel_boot.as_ref());
    let kernel = kernel.and_then(|boot| boot.container.as_ref()).filter(|_| !args.has("kernel"));
    let kernel = kernel.map(|container| {
        ("spec.domain.firmware.kernelBoot.container.image".to_owned(), container.image.as_str())
    });
    let disks = machine.spec.volumes.iter().enumerate().filter_map(|(index, volume)| match &volume.source {
        VolumeSource::ContainerDisk(disk) => {
            Some((format!("spec.volumes[{index}].containerDisk.image"), disk.image.as_str()))
        }
        _ => None,
    });
    let named = kernel.into_iter().chain(disks).filter(|(_, image)| !image.is_empty());
    named.filter_map(|(path, image)| Some(Missing { path, message: fault(&store, image)? })).collect()
}

fn fault(store: &Store, image: &str) -> Option<String> {
    match Reference::parse(image) {
        Err(error) => Some(chain(&error)),
        Ok(reference) => store.look(&reference).err().map(|error| chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::commands::find;
    use spec::Manifests;

    #[test]
    fn images_that_are_not_there_are_named_at_their_fields() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("rootfs");
        std::fs::create_dir(&there).unwrap();
        let text = format!(
            "apiVersion: kubevirt.io/v1\nkind: VirtualMachineInstance\nmetadata: {{name: a}}\nspec:\n  domain:\n    \
             memory: {{guest: 1Gi}}\n    firmware: {{kernelBoot: {{container: {{image: 'quay.io/a/b', kernelPath: /k}}}}}}\n    \
             devices: {{}}\n  volumes:\n  - {{name: r, containerDisk: {{image: 'rootfs:{}'}}}}\n  \
             - {{name: o, containerDisk: {{image: 'oci:/nowhere'}}}}\n",
            there.display()
        );
        let manifests = Manifests::parse("a.yaml", &text).unwrap();
        let verdict = spec::admit(&manifests.documents[0], &manifests);
        let machine = verdict.machine().unwrap();
        let missing = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
            let args = Args::parse(find("run").unwrap(), &arguments).unwrap();
            super::missing(machine, &args).into_iter().map(|missing| missing.path).collect::<Vec<_>>()
        };
        let store = folder.path().to_str().unwrap();
        let (kernel, disk) =
            ("spec.domain.firmware.kernelBoot.container.image", "spec.volumes[1].containerDisk.image");
        assert_eq!(missing(&["--images", store]), [kernel, disk]);
        assert_eq!(missing(&["--images", store, "--kernel", "k"]), [disk]);
        assert_eq!(missing(&[]), [] as [&str; 0]);
    }
}
