//! Machines out of snapshots.

use std::fs::File;
use std::path::{Path, PathBuf};

use arch::cpuid::HostCpu;
use devices::GuestRam;

use super::directory::{Snapshot, name};
use super::index::Index;
use super::layout::Layout;
use super::manifest::{DiskRecord, KeptDisk, is_plain_name};
use super::memory::copy_in;
use super::{SnapshotError, disks};
use crate::kvm::Hypervisor;
use crate::machine::{BuildError, MachineState, PassedTime, map_memory, map_memory_file};
use crate::plan::{Backing, BindingPlan, DevicePlan, DiskPlan, DiskSource, Plan, Storage, TapSource};
use crate::state::Arrival;

/// Snapshots that one may add to, one to the other.
const CHAIN: usize = 64;

/// How a machine is brought back.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// It gets this name.
    pub name: Option<String>,
    /// Where disks are now.
    pub disks: Vec<(String, PathBuf)>,
    /// What network cards are on now, by the names of their networks.
    pub taps: Vec<(String, TapSource)>,
    /// All memory is read, and checked, before the guest goes on.
    pub eager: bool,
    /// Disks that stayed where they were may have been written to.
    pub changed_disks: bool,
    /// It stays paused.
    pub paused: bool,
    /// What the guest sees of the time since the snapshot.
    pub passed: PassedTime,
    /// The next snapshot is to add to this one.
    pub tracks: bool,
}

/// A machine that waits to be built.
#[derive(Debug)]
pub struct Restored {
    /// Its plan.
    pub plan: Plan,
    /// The file of its VirtualMachineInstance.
    pub object: PathBuf,
    /// Its memory and state.
    pub arrival: Arrival,
}

/// Reads the snapshot at `path` and checks that it can run here; nothing but memory is taken of the host.
///
/// # Errors
/// It is damaged, or does not fit this host.
pub fn restore(path: &Path, options: &RestoreOptions) -> Result<Restored, SnapshotError> {
    let snapshot = Snapshot::open(path)?;
    // Checked, because somebody reads the file again.
    snapshot.contents(name::MACHINE)?;
    let state = snapshot.state()?;
    check_host(&snapshot, &state)?;
    let plan = plan(&snapshot, options)?;
    let ram = memory(&snapshot, &plan, options.eager)?;
    let (passed, id) = (options.passed, snapshot.manifest.id.clone());
    let arrival = Arrival::new(ram, options.paused, move |machine| {
        machine.load(&state, passed)?;
        Ok(machine.change_generation()?)
    });
    let arrival = if options.tracks { arrival.tracked(id) } else { arrival };
    Ok(Restored { plan, object: snapshot.path.join(name::MACHINE), arrival })
}

/// Whether this host has what the machine needs.
fn check_host(snapshot: &Snapshot, state: &MachineState) -> Result<(), SnapshotError> {
    let hypervisor = Hypervisor::open().map_err(BuildError::from)?;
    let (wanted, most) = (snapshot.manifest.plan.cpu.topology.vcpus(), hypervisor.max_vcpus());
    if usize::try_from(wanted).is_ok_and(|wanted| wanted > most) {
        return Err(SnapshotError::Host(format!(
            "it has {wanted} vCPUs, this host's KVM runs {most} at most"
        )));
    }
    if Hypervisor::limitation().is_some() {
        // Guests see the host's own processor there, whatever they are to see.
        return Ok(());
    }
    let here = HostCpu::new(&hypervisor.supported_cpuid().map_err(BuildError::from)?);
    let leaves = state.vcpus.first().map(|vcpu| vcpu.cpuid.iter().map(|leaf| leaf.0).collect::<Vec<_>>());
    let there = HostCpu::new(&leaves.unwrap_or_default());
    let missing = here.missing_for(&there);
    if !missing.is_empty() {
        return Err(SnapshotError::Host(format!(
            "its processor has {}, this one has not",
            missing.join(", ")
        )));
    }
    Ok(())
}

/// The plan of the machine that is to run here.
fn plan(snapshot: &Snapshot, options: &RestoreOptions) -> Result<Plan, SnapshotError> {
    let mut plan = snapshot.manifest.plan.clone();
    plan.starts_paused = false;
    // The guest has them, and the plan has not their values.
    plan.credentials.clear();
    if let Some(name) = &options.name {
        plan.name.clone_from(name);
    }
    for (name, _) in &options.disks {
        let is_known = snapshot.manifest.disks.iter().any(|disk| disk.name == *name);
        if !is_known {
            return Err(SnapshotError::Usage(format!("--disk: the machine has no disk {name:?}")));
        }
    }
    for (network, _) in &options.taps {
        let has_card = plan
            .functions
            .iter()
            .any(|function| matches!(&function.device, DevicePlan::Nic(nic) if nic.network == *network));
        if !has_card {
            return Err(SnapshotError::Usage(format!("--tap: the machine has no card on {network:?}")));
        }
    }
    for function in &mut plan.functions {
        match &mut function.device {
            DevicePlan::Disk(disk) => place_disk(&function.name, disk, snapshot, options)?,
            DevicePlan::Nic(nic) => {
                let tap = options.taps.iter().find(|(network, _)| *network == nic.network);
                if let Some((_, tap)) = tap {
                    nic.binding = match tap {
                        TapSource::Interface(name) => BindingPlan::Interface { name: name.clone() },
                        TapSource::Files(descriptors) => {
                            BindingPlan::Files { descriptors: descriptors.clone() }
                        }
                    };
                }
            }
            _ => {}
        }
    }
    Ok(plan)
}

fn place_disk(
    name: &str,
    plan: &mut DiskPlan,
    snapshot: &Snapshot,
    options: &RestoreOptions,
) -> Result<(), SnapshotError> {
    let record = snapshot.manifest.disks.iter().find(|disk| disk.name == name);
    let record = record.ok_or_else(|| snapshot.damaged(format!("it says nothing of the disk {name}")))?;
    if let Some((_, path)) = options.disks.iter().find(|(wanted, _)| wanted == name) {
        plan.source = DiskSource::Storage(storage(path, record)?);
        return Ok(());
    }
    match &record.contents {
        KeptDisk::InPlace { modified } if !options.changed_disks => {
            disks::check_in_place(name, &plan.source, *modified)
        }
        KeptDisk::InPlace { .. } => Ok(()),
        KeptDisk::Copied { file } => {
            if !is_plain_name(file) || snapshot.sums.get(file).is_none() {
                return Err(snapshot.damaged(format!("it has no copy of the disk {name}")));
            }
            let copy = Storage::Raw(snapshot.path.join(file));
            // What the guest writes goes elsewhere: many machines may come of one snapshot.
            plan.source =
                if plan.read_only { DiskSource::Storage(copy) } else { DiskSource::Ephemeral(copy) };
            Ok(())
        }
    }
}

/// Storage of the command line: its name tells its format, as with claims.
fn storage(path: &Path, record: &DiskRecord) -> Result<Storage, SnapshotError> {
    let fail = |why: String| SnapshotError::Disk { name: record.name.clone(), why };
    let path = std::path::absolute(path).map_err(|error| fail(error.to_string()))?;
    let found = path.metadata().map_err(|error| fail(format!("{}: {error}", path.display())))?;
    if !found.is_file() {
        return Ok(Storage::Device(path));
    }
    if path.extension().is_some_and(|extension| extension == "qcow2") {
        return Ok(Storage::Qcow2(path));
    }
    if found.len() != record.bytes {
        let why = format!("{} has {} bytes, the guest knows {}", path.display(), found.len(), record.bytes);
        return Err(fail(why));
    }
    Ok(Storage::Raw(path))
}

/// The machine's memory, as it was: that of the first snapshot of the chain with the pages of all later ones.
fn memory(snapshot: &Snapshot, plan: &Plan, eager: bool) -> Result<GuestRam, SnapshotError> {
    let mut later = Vec::new();
    let mut base = snapshot.parent()?;
    while let Some(parent) = base.as_ref().map(Snapshot::parent).transpose()?.flatten() {
        later.extend(base.replace(parent));
        if later.len() > CHAIN {
            return Err(
                snapshot.damaged(format!("it is the last of more than {CHAIN} that add to each other"))
            );
        }
    }
    let layout = Layout::of(&plan.memory.ram);
    let first = base.as_ref().unwrap_or(snapshot);
    let (file, index) = first.memory()?;
    let is_mapped = !eager && plan.memory.backing == Backing::Anonymous;
    let ram = if is_mapped {
        map_memory_file(&plan.memory, &file)?
    } else {
        let ram = map_memory(&plan.memory)?;
        copy(first, (&file, &index), &layout, &ram)?;
        ram
    };
    let added = later.iter().rev().chain(base.is_some().then_some(snapshot));
    for snapshot in added {
        let (file, index) = snapshot.memory()?;
        copy(snapshot, (&file, &index), &layout, &ram)?;
    }
    Ok(ram)
}

/// Copies all pages of a snapshot, and checks them.
fn copy(
    snapshot: &Snapshot,
    (file, index): (&File, &Index),
    layout: &Layout,
    ram: &GuestRam,
) -> Result<(), SnapshotError> {
    for extent in &index.0 {
        let crc = copy_in(file, layout, ram, *extent);
        let crc = crc.map_err(SnapshotError::file("read", &snapshot.path.join(name::MEMORY)))?;
        if crc != extent.crc {
            return Err(snapshot.damaged(format!("its memory was altered at {:#x}", extent.offset)));
        }
    }
    Ok(())
}
