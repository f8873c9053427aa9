//! Taking snapshots.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::SnapshotError;
use super::copy::MemoryCopy;
use super::directory::{NewSnapshot, Snapshot, name};
use super::freeze::{Freezing, Frozen, Quiet, freeze, indication};
use super::manifest::{DiskRecord, FrozenBefore, Manifest, Parent, VERSION};
use super::overlay::Overlays;
use super::{disks, paths};
use crate::agent::AgentHandle;
use crate::plan::Plan;
use crate::state::{ExitReason, Hold, Order, Refusal, Release, Requests, Saved};
use crate::status::rfc3339;
use crate::sys::line;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The directory to be made.
    pub directory: PathBuf,
    /// The snapshot that it only adds to.
    pub incremental_of: Option<PathBuf>,
    /// The machine is not to go on.
    pub stops: bool,
    /// What the guest writes afterwards is to be known, so that another snapshot can add to this one.
    pub tracks: bool,
    /// What becomes of disks that are not gone with the machine.
    pub disks: Disks,
    /// The guest's file systems are to be frozen meanwhile.
    pub freezing: Freezing,
}

/// What becomes of the disks that are not gone with the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disks {
    /// The machine goes on with them.
    #[default]
    InPlace,
    /// They are copied.
    Copied,
    /// They stay as they are, and the machine goes on in overlays.
    Overlaid,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The directory.
    pub directory: PathBuf,
    /// How long the guest stood still.
    pub pause: Duration,
    /// Bytes of memory in it.
    pub memory: u64,
    /// How it was taken, in KubeVirt's words.
    pub indications: Vec<String>,
}

/// Takes a snapshot; returns when it is durable. For a thread of its own. `agent` reaches the guest's agent.
///
/// # Errors
/// Nothing is left of the snapshot, and the machine goes on.
pub fn take(requests: &Requests, agent: Option<&AgentHandle>, wish: &Wish) -> Result<Taken, SnapshotError> {
    let new = NewSnapshot::create(&wish.directory)?;
    let base = wish.incremental_of.as_deref().map(Snapshot::open).transpose()?;
    let glance = Order::wait(|order| requests.look(order))?;
    let mut memory = MemoryCopy::begin(&new, &glance, base.as_ref())?;
    memory.run_ahead(&new)?;
    // Late, for the guest cannot write until they are thawed.
    let Quiet { frozen, before, how } = freeze(agent, wish.freezing)?;
    let hold: Hold = Order::wait(|order| requests.save(order))?;
    if !Arc::ptr_eq(&glance.ram, &hold.saved().ram) {
        return Err(Refusal::conflict("the guest was reset while it was being saved").into());
    }
    memory.complete(&new)?;
    let mut taking = Taking { new, memory, id: line::random_uuid(), disks: Vec::new(), how, before };
    taking.keep_state(hold.saved())?;
    let overlays = match wish.disks {
        Disks::Overlaid => Overlays::make(hold.saved(), &taking.id)?,
        Disks::InPlace | Disks::Copied => Overlays::default(),
    };
    taking.keep_disks(hold.saved(), wish.disks, &overlays)?;
    hold.disks_moved(overlays.take_over()?);
    let (reader, id) = (taking.memory.take_reader(), taking.id.clone());
    if wish.stops {
        // As long as it is not durable, the machine may have to go on.
        let (plan, pause) = (hold.saved().plan.clone(), hold.saved().stopped.elapsed());
        let taken = taking.write(plan, pause, base.as_ref())?;
        frozen.into_iter().for_each(Frozen::forget);
        hold.release(Release::End(ExitReason::Saved { directory: taken.directory.clone() }));
        return Ok(taken);
    }
    if let Some(reader) = reader.filter(|_| wish.tracks) {
        glance.tracking.begin(id, reader);
    }
    let taken = taking.go_on(hold, frozen, base.as_ref());
    if taken.is_err() {
        glance.tracking.forget();
    }
    taken
}

/// A snapshot whose memory is complete.
struct Taking {
    new: NewSnapshot,
    memory: MemoryCopy,
    id: String,
    disks: Vec<DiskRecord>,
    /// How its file systems were frozen, or not.
    how: &'static str,
    /// Somebody else had frozen them before.
    before: Option<FrozenBefore>,
}

impl Taking {
    fn keep_state(&mut self, saved: &Saved) -> Result<(), SnapshotError> {
        let state =
            serde_json::to_vec(&saved.state).map_err(|error| SnapshotError::Usage(error.to_string()))?;
        self.new.add(name::STATE, &state)?;
        self.new.add(name::MACHINE, saved.object.as_bytes())
    }

    fn keep_disks(&mut self, saved: &Saved, wish: Disks, overlays: &Overlays) -> Result<(), SnapshotError> {
        let copies_all = wish == Disks::Copied;
        for (name, disk) in &saved.disks {
            if let Some(record) = overlays.record(name) {
                self.disks.push(record);
                continue;
            }
            let function = saved.plan.functions.iter().find(|function| function.name == *name);
            if let Some(function) = function {
                self.disks.extend(disks::keep(&mut self.new, function, disk.as_ref(), copies_all)?);
            }
        }
        Ok(())
    }

    /// Lets the machine go on, then makes the snapshot durable.
    fn go_on(
        self,
        hold: Hold,
        frozen: Option<Frozen<'_>>,
        base: Option<&Snapshot>,
    ) -> Result<Taken, SnapshotError> {
        let pause = hold.saved().stopped.elapsed();
        let plan = hold.saved().plan.clone();
        hold.release(Release::GoOn);
        drop(frozen);
        self.write(plan, pause, base)
    }

    /// Makes the snapshot durable.
    fn write(
        mut self,
        mut plan: Plan,
        pause: Duration,
        base: Option<&Snapshot>,
    ) -> Result<Taken, SnapshotError> {
        let index = self.memory.finish(&mut self.new)?;
        paths::whole(&mut plan);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let indications = vec![indication::ONLINE.to_owned(), self.how.to_owned()];
        let manifest = Manifest {
            version: VERSION,
            id: self.id,
            parent: base.map(|base| Parent { id: base.manifest.id.clone(), path: base.path.clone() }),
            created: rfc3339(since.as_secs()),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: line::read("/proc/sys/kernel/osrelease"),
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            indications: indications.clone(),
            frozen_before: self.before,
            plan,
            disks: self.disks,
        };
        let text = serde_json::to_vec_pretty(&manifest);
        let text = text.map_err(|error| SnapshotError::Usage(error.to_string()))?;
        self.new.add(name::MANIFEST, &text)?;
        Ok(Taken { directory: self.new.finish()?, pause, memory: index.bytes(), indications })
    }
}
