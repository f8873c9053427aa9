//! Disks that stay as they are at the moment of a snapshot, while their machine goes on in overlays.
//!
//! In the claim's folder the image gets the name of a base, and the overlay that of the image, so that whoever opens the claim next
//! finds the newest state. At no moment is there a folder in which the state cannot be told: the base has both names until the overlay
//! has its own (`spec::resolve::images`).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use block::{Disk, Identity, MarkedDisk, NewOverlay};
use devices::say;
use serde_json::Value;
use spec::resolve::images::{QCOW2, RAW, base_name};

use super::SnapshotError;
use super::disks::path_of;
use super::layers::layers;
use super::manifest::{DiskRecord, KeptDisk, Layer};
use crate::plan::{DevicePlan, DiskPlan, DiskSource, Storage};
use crate::state::Saved;

/// The overlays of a machine that stands still. Dropped, nothing of them is left.
#[derive(Default)]
pub(super) struct Overlays(Vec<Overlay>);

struct Overlay {
    name: String,
    place: Place,
    disk: Arc<MarkedDisk>,
    new: Arc<dyn Disk>,
    bytes: u64,
    /// The base and what is below it.
    layers: Vec<Layer>,
}

impl Overlays {
    /// Makes an overlay for each disk of storage that the guest may write; `id` is the snapshot's.
    pub(super) fn make(saved: &Saved, id: &str) -> Result<Self, SnapshotError> {
        let mut all = Vec::new();
        for (name, disk) in &saved.disks {
            let planned = saved.plan.functions.iter().find(|function| function.name == *name);
            let Some(DevicePlan::Disk(plan)) = planned.map(|function| &function.device) else { continue };
            let DiskSource::Storage(storage) = &plan.source else { continue };
            if plan.read_only {
                continue;
            }
            let fail = |why: String| SnapshotError::Disk { name: name.clone(), why };
            if saved.is_moving {
                return Err(fail("nothing can be laid over it while the machine is being moved".into()));
            }
            check(plan, storage, is_of_claim(saved, name)).map_err(|why| {
                fail(format!("{why}: nothing can be laid over it; have it copied with --copy-disks"))
            })?;
            let path = std::path::absolute(path_of(storage)).map_err(|error| fail(error.to_string()))?;
            let (place, new) = Place::make(&path, id, disk).map_err(|error| fail(devices::chain(&*error)))?;
            let layers = layers(&place.base_storage()).map_err(|error| fail(devices::chain(&error)))?;
            let bytes = disk.info().size_bytes;
            all.push(Overlay { name: name.clone(), place, disk: Arc::clone(disk), new, bytes, layers });
        }
        Ok(Self(all))
    }

    /// Where the contents of the disk called `name` are from now on, if there is an overlay over it.
    pub(super) fn record(&self, name: &str) -> Option<DiskRecord> {
        let overlay = self.0.iter().find(|overlay| overlay.name == name)?;
        // Former programs look at this one alone.
        let modified = overlay.layers.first().map(|base| base.modified);
        Some(DiskRecord {
            name: name.to_owned(),
            bytes: overlay.bytes,
            contents: KeptDisk::Below { file: overlay.place.base_storage(), modified },
            layers: overlay.layers.clone(),
        })
    }

    /// Has all disks go on in their overlays, or none. Says what they are then.
    pub(super) fn take_over(mut self) -> Result<Vec<(String, Storage)>, SnapshotError> {
        for overlay in &mut self.0 {
            let named = overlay.place.named.clone();
            overlay.place.take_over().map_err(SnapshotError::file("given its name", &named))?;
        }
        let mut all = Vec::new();
        for overlay in &mut self.0 {
            overlay.place.step = Step::Kept;
            let base = overlay.disk.exchange(Arc::clone(&overlay.new));
            if let Err(error) = base.lend() {
                // It is right all the same: others have to wait until this process ends.
                say!("kubevmm: disk {}: {}", overlay.name, devices::chain(&error));
            }
            all.push((overlay.name.clone(), Storage::Qcow2(overlay.place.named.clone())));
        }
        Ok(all)
    }
}

/// Whether something can lie over a disk.
fn check(plan: &DiskPlan, storage: &Storage, is_of_claim: bool) -> Result<(), &'static str> {
    if matches!(storage, Storage::Device(_)) {
        return Err("it is a block device");
    }
    if plan.shareable {
        return Err("others write to it, too");
    }
    // A manifest names a host disk's file, and it is raw.
    if is_of_claim { Ok(()) } else { Err("it is no claim") }
}

/// Whether a disk's volume is a claim.
fn is_of_claim(saved: &Saved, name: &str) -> bool {
    let object: Value = serde_json::from_str(&saved.object).unwrap_or_default();
    let volumes = object["spec"]["volumes"].as_array();
    let volume = volumes.and_then(|all| all.iter().find(|volume| volume["name"] == name));
    volume
        .is_some_and(|volume| volume["persistentVolumeClaim"].is_object() || volume["dataVolume"].is_object())
}

/// How far an overlay is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It has a hidden name, and its base has both of its own.
    Made,
    /// It has its name.
    Named,
    /// The base has lost its old name, if that was another one.
    Alone,
    /// It stays.
    Kept,
}

/// An overlay in its folder. Dropped before it is kept, the folder is as it was.
struct Place {
    folder: PathBuf,
    /// What the image was called.
    image: PathBuf,
    /// What it is called below the overlay.
    base: PathBuf,
    /// What the overlay is called until it has its name.
    hidden: PathBuf,
    /// The overlay's name.
    named: PathBuf,
    step: Step,
}

impl Place {
    /// Makes an overlay over `disk`, which is the image at `path`.
    fn make(
        path: &Path,
        id: &str,
        disk: &Arc<MarkedDisk>,
    ) -> Result<(Self, Arc<dyn Disk>), Box<dyn std::error::Error>> {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let (Some(base), Some(folder)) = (base_name(name, id), path.parent()) else {
            return Err(format!("its file is not called {RAW} or {QCOW2}").into());
        };
        let file = fs::symlink_metadata(path)?;
        let is_open = Identity::File { device: file.dev(), inode: file.ino() };
        if disk.host_file().map(|file| file.identity()).transpose()? != Some(is_open) {
            return Err(format!("{} is not the file that the machine has open", path.display()).into());
        }
        disk.sync()?;
        let (hidden, named) = (folder.join(format!(".disk.{id}.qcow2")), folder.join(QCOW2));
        let new = disk.overlay(&NewOverlay { at: &hidden, named: &named, base: &base })?;
        let base = folder.join(base);
        let linked = alike(&hidden, &file).and_then(|()| fs::hard_link(path, &base));
        if let Err(error) = linked {
            // The first error counts.
            let _ = fs::remove_file(&hidden);
            return Err(error.into());
        }
        let (folder, image) = (folder.to_owned(), path.to_owned());
        Ok((Self { folder, image, base, hidden, named, step: Step::Made }, new))
    }

    /// What the base is.
    fn base_storage(&self) -> Storage {
        if self.has_one_name() { Storage::Qcow2(self.base.clone()) } else { Storage::Raw(self.base.clone()) }
    }

    /// Whether image and overlay are called the same.
    fn has_one_name(&self) -> bool {
        self.image == self.named
    }

    fn take_over(&mut self) -> io::Result<()> {
        // The base's new name first: the overlay is worth nothing without.
        self.sync()?;
        if !self.has_one_name() && fs::symlink_metadata(&self.named).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        fs::rename(&self.hidden, &self.named)?;
        self.step = Step::Named;
        self.sync()?;
        if !self.has_one_name() {
            fs::remove_file(&self.image)?;
            self.step = Step::Alone;
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Deed::Sync(&self.folder).perform()
    }

    fn undo(&self) -> io::Result<()> {
        self.way_back().into_iter().try_for_each(Deed::perform)
    }

    /// What makes the folder what it was. After each deed the state can be told, and is the guest's.
    fn way_back(&self) -> Vec<Deed<'_>> {
        let (base, image, sync) = (&*self.base, &*self.image, Deed::Sync(&self.folder));
        match self.step {
            Step::Kept => Vec::new(),
            Step::Made => vec![Deed::Remove(&self.hidden), Deed::Remove(base), sync],
            Step::Named if self.has_one_name() => vec![Deed::Rename(base, image), sync],
            Step::Named => vec![Deed::Remove(&self.named), sync, Deed::Remove(base), sync],
            // With both names the base is below the overlay until that is gone.
            Step::Alone => {
                vec![Deed::Link(base, image), sync, Deed::Remove(&self.named), sync, Deed::Remove(base), sync]
            }
        }
    }
}

/// Something that is done in a folder.
#[derive(Clone, Copy, Debug)]
enum Deed<'a> {
    /// A file gets another name, too.
    Link(&'a Path, &'a Path),
    /// A file gets the name of another, which is gone then.
    Rename(&'a Path, &'a Path),
    /// A name is taken away.
    Remove(&'a Path),
    /// What was done is made durable, before what comes.
    Sync(&'a Path),
}

impl Deed<'_> {
    fn perform(self) -> io::Result<()> {
        match self {
            Self::Link(file, name) => fs::hard_link(file, name),
            Self::Rename(file, name) => fs::rename(file, name),
            Self::Remove(name) => fs::remove_file(name),
            Self::Sync(folder) => File::open(folder)?.sync_all(),
        }
    }
}

/// Lets those have a new file who may have the one that it takes the place of. It was made durable when it was made; so is this, before
/// it has that place.
fn alike(path: &Path, old: &fs::Metadata) -> io::Result<()> {
    let file = File::open(path)?;
    let new = file.metadata()?;
    let is_others = (new.uid(), new.gid()) != (old.uid(), old.gid());
    if is_others {
        fchown(&file, Some(old.uid()), Some(old.gid()))?;
    }
    // Another owner may have taken rights away.
    if is_others || new.mode() != old.mode() {
        file.set_permissions(old.permissions())?;
        file.sync_all()?;
    }
    Ok(())
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            say!("kubevmm: {} could not be put back as it was: {error}", self.folder.display());
        }
    }
}

#[cfg(test)]
#[path = "overlay_tests.rs"]
mod tests;
