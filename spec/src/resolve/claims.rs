//! Claims: an image, a device, or an empty folder that gets an image of the claim's size.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::images::{QCOW2, RAW, bases, is_below};
use super::references::Reference;
use super::{Claim, Search, Unfound, plain_name, within};
use crate::admit::Object;
use crate::api::{DataVolumeOrigin, DataVolumeSpec, PersistentVolumeClaimSpec, Quantity};

/// KubeVirt makes disks of whole mebibytes.
const UNIT: u64 = 1 << 20;
/// What CDI takes a file system to need for itself, in hundredths of what is left (its default `filesystemOverhead`).
const OVERHEAD: u64 = 6;

/// What is at a path.
enum Found {
    Storage(Claim),
    /// A folder that may get an image.
    Empty(PathBuf),
    /// More than one image.
    Several(PathBuf),
    /// What lay below an image that is not there.
    Bases {
        folder: PathBuf,
        one: String,
    },
    Nothing,
}

impl Search<'_> {
    /// The storage of a claim, or what to do about it.
    pub(super) fn claim(&self, reference: &Reference) -> Result<Claim, Unfound> {
        let named = self.named_folder(&reference.name);
        let mounted = self.mounted_folder(&reference.folder);
        let mut empty = None;
        for folder in [named.as_deref(), mounted.as_deref()].into_iter().flatten() {
            match look(folder) {
                Found::Storage(claim) => return Ok(claim),
                Found::Empty(folder) => empty = empty.or(Some(folder)),
                Found::Several(folder) => {
                    return Err(Unfound::Bad(format!(
                        "the claim {:?} has both {RAW} and {QCOW2} in {}: keep one",
                        reference.name,
                        folder.display()
                    )));
                }
                Found::Bases { folder, one } => {
                    return Err(Unfound::Bad(format!(
                        "the claim {:?} has bases of {QCOW2} ({one}) and no {QCOW2} in {}: put it back; a base alone is an \
                         older state of the disk",
                        reference.name,
                        folder.display()
                    )));
                }
                Found::Nothing => {}
            }
        }
        if let Some(device) = self.pod_device(&reference.folder) {
            return Ok(device);
        }
        // Storage that is asked for is there once it is claimed, as in a cluster.
        let is_folder = self.places.volumes.as_deref().is_some_and(Path::is_dir);
        let folder =
            empty.or_else(|| named.filter(|named| is_folder && fs::symlink_metadata(named).is_err()));
        match (folder, self.size(&reference.name)) {
            (Some(folder), Some(size)) => {
                Ok(Claim::New { image: folder.join(RAW), bytes: size.map_err(Unfound::Bad)? })
            }
            _ => Err(Unfound::Absent(self.absent(&reference.name))),
        }
    }

    fn named_folder(&self, name: &str) -> Option<PathBuf> {
        Some(self.places.volumes.as_ref()?.join(plain_name(name)?))
    }

    fn mounted_folder(&self, volume: &str) -> Option<PathBuf> {
        Some(self.places.pod.as_ref()?.join("vmi-disks").join(plain_name(volume)?))
    }

    fn pod_device(&self, volume: &str) -> Option<Claim> {
        self.places.pod.as_ref()?;
        match look(&Path::new("/dev").join(plain_name(volume)?)) {
            Found::Storage(device @ Claim::Device(_)) => Some(device),
            _ => None,
        }
    }

    fn absent(&self, name: &str) -> String {
        format!(
            "the claim {name:?} is not there{}: put {name}/{RAW} (raw), {name}/{QCOW2}, or a link to a block device \
             named {name} into --volumes; or give its PersistentVolumeClaim or blank DataVolume, and it is made",
            within(self.places.volumes.as_ref())
        )
    }

    /// The size of the image that a claim among the given objects gets; `None` if there is no such object.
    fn size(&self, name: &str) -> Option<Result<u64, String>> {
        let namespace = &self.machine.metadata.namespace;
        let read = |kind| {
            let document = self.manifests.find(kind, namespace, name)?;
            Some(crate::admit(document, self.manifests).object)
        };
        if let Some(Object::PersistentVolumeClaim(claim)) = read("PersistentVolumeClaim") {
            return Some(of_claim(name, &claim.spec));
        }
        if let Some(Object::DataVolume(volume)) = read("DataVolume") {
            return Some(of_data_volume(name, &volume.spec));
        }
        self.manifests.within("VirtualMachine", namespace).find_map(|document| {
            let Object::VirtualMachine(vm, _) = crate::admit(document, self.manifests).object else {
                return None;
            };
            let mut templates = vm.spec.data_volume_templates.iter();
            let template = templates.find(|template| template.metadata.name == name)?;
            Some(of_data_volume(name, &template.spec))
        })
    }
}

fn of_claim(name: &str, spec: &PersistentVolumeClaimSpec) -> Result<u64, String> {
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Err(unfilled("PersistentVolumeClaim", name, "another object"));
    }
    whole(name, request(name, spec)?)
}

/// KubeVirt asks CDI for the image of a DataVolume: `storage` is the disk's size, of `pvc` the file system takes its part.
fn of_data_volume(name: &str, spec: &DataVolumeSpec) -> Result<u64, String> {
    let origin = spec.source.as_ref().map(|source| &source.from);
    if !matches!(origin, Some(DataVolumeOrigin::Blank(_))) {
        let from = origin.and_then(DataVolumeOrigin::key).unwrap_or("another object");
        return Err(unfilled("DataVolume", name, from));
    }
    match (&spec.storage, &spec.pvc) {
        (Some(storage), _) => whole(name, request(name, storage)?),
        (None, Some(pvc)) => {
            let claimed = u128::from(request(name, pvc)?);
            let usable = (claimed * 100).div_ceil(u128::from(100 + OVERHEAD));
            whole(name, u64::try_from(usable).unwrap_or(u64::MAX))
        }
        (None, None) => Err(format!("the DataVolume {name:?} does not say how large it is")),
    }
}

fn unfilled(kind: &str, name: &str, from: &str) -> String {
    format!(
        "the {kind} {name:?} is filled from {from}, which kubevmm does not do: put the image as {name}/{RAW} (raw) or \
         {name}/{QCOW2} into --volumes"
    )
}

fn request(name: &str, spec: &PersistentVolumeClaimSpec) -> Result<u64, String> {
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!(
            "the claim {name:?} is a block device: put a link to one, named {name}, into --volumes"
        ));
    }
    let request = spec.resources.as_ref().and_then(|resources| resources.requests.get("storage"));
    let bytes = request.and_then(Quantity::bytes);
    bytes.ok_or_else(|| {
        format!("the claim {name:?} does not say how large it is (resources.requests.storage)")
    })
}

fn whole(name: &str, bytes: u64) -> Result<u64, String> {
    match bytes / UNIT * UNIT {
        0 => Err(format!("the claim {name:?} is smaller than 1 MiB, too small for a disk")),
        whole => Ok(whole),
    }
}

fn look(path: &Path) -> Found {
    let Ok(metadata) = fs::metadata(path) else { return Found::Nothing };
    if !metadata.is_dir() {
        let is_device = metadata.file_type().is_block_device();
        return if is_device { Found::Storage(Claim::Device(path.to_owned())) } else { Found::Nothing };
    }
    let image = |name: &str| Some(path.join(name)).filter(|image| image.is_file());
    match (image(RAW), image(QCOW2)) {
        (Some(_), Some(qcow2)) if is_below(path) => Found::Storage(Claim::Qcow2(qcow2)),
        (Some(_), Some(_)) => Found::Several(path.to_owned()),
        (Some(raw), None) => Found::Storage(Claim::File(raw)),
        (None, Some(qcow2)) => Found::Storage(Claim::Qcow2(qcow2)),
        (None, None) => match bases(path).next() {
            Some((one, _)) => Found::Bases { folder: path.to_owned(), one },
            None => Found::Empty(path.to_owned()),
        },
    }
}
