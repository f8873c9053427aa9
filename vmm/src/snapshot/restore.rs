//! Machines out of snapshots.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use arch::layout::GENERATION_ID;
use devices::GuestRam;
use net::MacAddress;
use vm_memory::GuestAddress;

use super::SnapshotError;
use super::directory::{Snapshot, name};
use super::fetch::{RemoteLink, fetch};
use super::identity::{Renewal, renew};
use super::layers::check_in_place;
use super::layout::Layout;
use super::manifest::{DiskRecord, KeptDisk, is_plain_name};
use super::shelf::LocalLink;
use super::verify::{Checking, Unchecked};
use crate::agent::Awakening;
use crate::demand::{Before, Demand, Link, Presence};
use crate::kvm::Hypervisor;
use crate::machine::{BuildError, MachineState, PassedTime, map_memory, map_memory_file, seen_by};
use crate::migration::transport::Route;
use crate::plan::{Backing, BindingPlan, DevicePlan, DiskPlan, DiskSource, Plan, Storage, TapSource};
use crate::state::{Arrival, Moment};

/// Snapshots that one may add to, one to the other.
const CHAIN: usize = 64;

/// How a machine is brought back.
#[derive(Clone, Debug, Default)]
pub struct RestoreOptions {
    /// It gets this name.
    pub name: Option<String>,
    /// It gets a new identity; by itself, if it gets another name.
    pub new_identity: Option<bool>,
    /// Hardware addresses of network cards, by the names of their networks.
    pub macs: Vec<(String, MacAddress)>,
    /// Where disks are now.
    pub disks: Vec<(String, PathBuf)>,
    /// What network cards are on now, by the names of their networks.
    pub taps: Vec<(String, TapSource)>,
    /// How its memory comes, if that was said: mapped, or on demand from elsewhere.
    pub memory: Option<MemoryChoice>,
    /// When memory is checked that is mapped.
    pub checking: Checking,
    /// Disks that stayed where they were may have been written to.
    pub changed_disks: bool,
    /// It stays paused.
    pub paused: bool,
    /// What the guest sees of the time since the snapshot.
    pub passed: PassedTime,
    /// The next snapshot is to add to this one.
    pub tracks: bool,
}

/// How the memory of a machine comes out of a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryChoice {
    /// The file is mapped: the kernel reads what the guest touches. Nothing is checked.
    #[default]
    Mapped,
    /// All of it is read, and checked, before the guest goes on.
    Eager,
    /// What the guest touches is read and checked first, then the rest, until the snapshot is not needed any more.
    Demand,
}

impl FromStr for MemoryChoice {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text {
            "mapped" => Ok(Self::Mapped),
            "eager" => Ok(Self::Eager),
            "demand" => Ok(Self::Demand),
            _ => Err("it is mapped, eager or demand"),
        }
    }
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
    /// What its guest needs of its agent.
    pub awakening: Awakening,
    /// Memory that is to be checked while it runs.
    pub unchecked: Option<Unchecked>,
    /// What has come of the snapshot, if it is served elsewhere.
    pub fetched: Option<FetchedFiles>,
}

/// Reads the snapshot at `path` and checks that it can run here; nothing but memory is taken of the host.
///
/// # Errors
/// It is damaged, or does not fit this host.
pub fn restore(path: &Path, options: &RestoreOptions) -> Result<Restored, SnapshotError> {
    bring_back(&Snapshot::open(path)?, None, options)
}

/// A snapshot whose files have come here, and whose memory is served elsewhere. Dropped, it is gone.
#[derive(Debug)]
pub struct Fetched {
    snapshot: Snapshot,
    files: FetchedFiles,
    route: Route,
}

/// The directory of such files. Dropped, it is gone: it can be had again, and without its memory it is of no use to anybody.
#[derive(Debug)]
pub struct FetchedFiles(Option<PathBuf>);

impl FetchedFiles {
    /// Leaves it where it is: its machine has run with it.
    pub fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for FetchedFiles {
    fn drop(&mut self) {
        if let Some(directory) = self.0.take() {
            // What is left is refused, and said to be there, when it is to come again.
            let _ = fs::remove_dir_all(directory);
        }
    }
}

impl Fetched {
    /// Has the files of the snapshot that is served at the end of `route` come into the directory `into`, where there must be
    /// nothing.
    ///
    /// # Errors
    /// They do not come, or are damaged. Nothing is left of them.
    pub fn fetch(route: Route, into: &Path) -> Result<Self, SnapshotError> {
        let snapshot = fetch(&route, into)?;
        Ok(Self { files: FetchedFiles(Some(snapshot.path.clone())), snapshot, route })
    }

    /// As [`restore`]; the memory comes on demand.
    ///
    /// # Errors
    /// It is damaged, or does not fit this host. Nothing is left of what has come.
    pub fn restore(self, options: &RestoreOptions) -> Result<Restored, SnapshotError> {
        let Self { snapshot, files, route } = self;
        let link = RemoteLink { route, id: snapshot.manifest.id.clone() };
        let restored = bring_back(&snapshot, Some(Box::new(link)), options)?;
        Ok(Restored { fetched: Some(files), ..restored })
    }
}

/// Brings a machine back, with its memory from `far` if that is not here.
fn bring_back(
    snapshot: &Snapshot,
    far: Option<Box<dyn Link>>,
    options: &RestoreOptions,
) -> Result<Restored, SnapshotError> {
    // Checked, because somebody reads the file again.
    snapshot.contents(name::MACHINE)?;
    let state = snapshot.state()?;
    check_host(snapshot, &state)?;
    let mut plan = plan(snapshot, options)?;
    let was = &snapshot.manifest.plan.name;
    let all = options.new_identity.unwrap_or(plan.name != *was);
    let identity = renew(&mut plan, was, &Renewal { all, macs: &options.macs })?;
    let awakening = Awakening { thaw: Some(snapshot.manifest.thaw_after()), identity };
    let choice = options.memory.unwrap_or_default();
    // What is copied, or comes on demand, is checked on its way.
    let is_mapped = choice == MemoryChoice::Mapped && plan.memory.backing == Backing::Anonymous;
    let is_checked = !is_mapped || far.is_some() || options.checking == Checking::Never;
    let unchecked = (!is_checked).then(|| Unchecked::of(snapshot)).transpose()?;
    let unchecked = match unchecked {
        Some(memory) if options.checking == Checking::Before => {
            memory.check(&AtomicBool::new(false))?;
            None
        }
        memory => memory,
    };
    let (ram, demand) = match (far, choice) {
        (Some(link), _) => on_demand(&plan, link, ELSEWHERE).map(|(ram, demand)| (ram, Some(demand)))?,
        (None, MemoryChoice::Demand) => {
            let link = Box::new(LocalLink::new(snapshot));
            on_demand(&plan, link, HERE).map(|(ram, demand)| (ram, Some(demand)))?
        }
        (None, MemoryChoice::Mapped | MemoryChoice::Eager) => (memory(snapshot, &plan, is_mapped)?, None),
    };
    let (passed, id) = (options.passed, snapshot.manifest.id.clone());
    let presence = Presence::of(demand.as_ref());
    let moment = Moment { paused: options.paused, demand };
    let arrival = Arrival::new(ram, moment, move |machine| {
        machine.load(&state, passed, &presence)?;
        Ok(machine.change_generation()?)
    });
    let arrival = if options.tracks { arrival.tracked(id) } else { arrival };
    Ok(Restored {
        plan,
        object: snapshot.path.join(name::MACHINE),
        arrival,
        awakening,
        unchecked,
        fetched: None,
    })
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
    let Some(first) = state.vcpus.first() else { return Ok(()) };
    let guest = seen_by(first, &snapshot.manifest.plan.cpu);
    let offer = hypervisor.offer_to(&guest).map_err(BuildError::from)?;
    offer.fits(&guest).map_err(|misfit| SnapshotError::Host(misfit.to_string()))
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
    let taps = options.taps.iter().map(|(network, _)| ("tap", network));
    let macs = options.macs.iter().map(|(network, _)| ("mac", network));
    for (option, network) in taps.chain(macs) {
        let has_card = plan
            .functions
            .iter()
            .any(|function| matches!(&function.device, DevicePlan::Nic(nic) if nic.network == *network));
        // A tap may be for a card that is to come.
        let may_come = option == "tap" && !plan.ports.is_empty();
        if !has_card && !may_come {
            return Err(SnapshotError::Usage(format!("--{option}: the machine has no card on {network:?}")));
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
    let check = |storage: &Storage| match options.changed_disks {
        true => Ok(()),
        false => check_in_place(record, storage),
    };
    match &record.contents {
        KeptDisk::InPlace { .. } => match &plan.source {
            DiskSource::Storage(storage) => check(storage),
            _ => Ok(()),
        },
        KeptDisk::Below { file, .. } => {
            check(file)?;
            plan.source = DiskSource::Ephemeral(file.clone());
            Ok(())
        }
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

/// Those that a snapshot adds to: the one that it adds to first, and so on.
pub(super) fn ancestors(snapshot: &Snapshot) -> Result<Vec<Snapshot>, SnapshotError> {
    let mut all: Vec<Snapshot> = Vec::new();
    while let Some(parent) = all.last().unwrap_or(snapshot).parent()? {
        all.push(parent);
        if all.len() > CHAIN {
            return Err(
                snapshot.damaged(format!("it is the last of more than {CHAIN} that add to each other"))
            );
        }
    }
    Ok(all)
}

/// What to do about memory that does not come on demand, of a snapshot on this host and of one elsewhere.
pub(super) const HERE: &str = "use --memory eager";
pub(super) const ELSEWHERE: &str = "copy the directory that is served to this host, and restore that";

/// Memory that comes by way of `link` when it is touched; `instead` says what to do if it is of a kind that does not.
pub(super) fn on_demand(
    plan: &Plan,
    link: Box<dyn Link>,
    instead: &str,
) -> Result<(GuestRam, Demand), SnapshotError> {
    /// How long a page may take that this process needs itself.
    const FETCH: Duration = Duration::from_secs(30);
    if !plan.memory.backing.comes_on_demand() {
        return Err(SnapshotError::Usage(format!(
            "the machine's memory cannot come on demand: it is in huge pages of 1 GiB, which come whole or not at all: {instead}"
        )));
    }
    let ram = map_memory(&plan.memory)?;
    let demand = Demand::begin(&ram, Before::Untouched, link)?;
    // The thread that owns the machine writes there, and is not to wait in a fault.
    demand.fetch(GuestAddress(GENERATION_ID), FETCH)?;
    Ok((ram, demand))
}

/// The machine's memory, as it was: that of the first snapshot of the chain, mapped or copied, with the pages of all later ones.
fn memory(snapshot: &Snapshot, plan: &Plan, is_mapped: bool) -> Result<GuestRam, SnapshotError> {
    let before = ancestors(snapshot)?;
    let layout = Layout::of(&plan.memory.ram);
    let (first, between) =
        before.split_last().map_or((snapshot, [].as_slice()), |(first, between)| (first, between));
    let saved = first.memory()?;
    let ram = if is_mapped {
        map_memory_file(&plan.memory, &saved.file)?
    } else {
        let ram = map_memory(&plan.memory)?;
        saved.copy_to(&layout, &ram)?;
        ram
    };
    let added = between.iter().rev().chain((!before.is_empty()).then_some(snapshot));
    for snapshot in added {
        snapshot.memory()?.copy_to(&layout, &ram)?;
    }
    Ok(ram)
}
