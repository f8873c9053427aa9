//! Taking snapshots.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::SnapshotError;
use super::copy::MemoryCopy;
use super::directory::{NewSnapshot, Snapshot, name};
use super::manifest::{DiskRecord, Manifest, Parent, VERSION};
use super::{disks, paths};
use crate::plan::Plan;
use crate::state::{ExitReason, Hold, Order, Refusal, RefusalKind, Release, Requests, Saved};
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
    /// All disks are copied, not only those that are gone with the machine.
    pub copies_disks: bool,
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
}

/// Takes a snapshot; returns when it is durable. For a thread of its own.
///
/// # Errors
/// Nothing is left of the snapshot, and the machine goes on.
pub fn take(requests: &Requests, wish: &Wish) -> Result<Taken, SnapshotError> {
    let new = NewSnapshot::create(&wish.directory)?;
    let base = wish.incremental_of.as_deref().map(Snapshot::open).transpose()?;
    let glance = wait(|order| requests.look(order))?;
    let mut memory = MemoryCopy::begin(&new, &glance, base.as_ref())?;
    memory.run_ahead(&new)?;
    let hold: Hold = wait(|order| requests.save(order))?;
    if !Arc::ptr_eq(&glance.ram, &hold.saved().ram) {
        return Err(Refusal::conflict("the guest was reset while it was being saved").into());
    }
    memory.complete(&new)?;
    let mut taking = Taking { new, memory, id: line::random_uuid(), disks: Vec::new() };
    taking.keep_state(hold.saved())?;
    taking.keep_disks(hold.saved(), wish.copies_disks)?;
    let (reader, id) = (taking.memory.take_reader(), taking.id.clone());
    if wish.stops {
        // As long as it is not durable, the machine may have to go on.
        let taken = taking.finish(hold.saved(), base.as_ref())?;
        hold.release(Release::End(ExitReason::Saved { directory: taken.directory.clone() }));
        return Ok(taken);
    }
    if let Some(reader) = reader.filter(|_| wish.tracks) {
        glance.tracking.begin(id, reader);
    }
    let taken = taking.go_on(hold, base.as_ref());
    if taken.is_err() {
        glance.tracking.forget();
    }
    taken
}

/// Asks the machine's owner, and waits for what it says.
fn wait<T: Send + 'static>(ask: impl FnOnce(Order<T>)) -> Result<T, Refusal> {
    let (sender, answer) = mpsc::channel();
    ask(Order::new(move |result| {
        // Nobody waits any more if this fails.
        let _ = sender.send(result);
    }));
    answer.recv().unwrap_or_else(|_| Err(Refusal::new(RefusalKind::Unavailable, "the machine has ended")))
}

/// A snapshot whose memory is complete.
struct Taking {
    new: NewSnapshot,
    memory: MemoryCopy,
    id: String,
    disks: Vec<DiskRecord>,
}

impl Taking {
    fn keep_state(&mut self, saved: &Saved) -> Result<(), SnapshotError> {
        let state =
            serde_json::to_vec(&saved.state).map_err(|error| SnapshotError::Usage(error.to_string()))?;
        self.new.add(name::STATE, &state)?;
        self.new.add(name::MACHINE, saved.object.as_bytes())
    }

    fn keep_disks(&mut self, saved: &Saved, copies_all: bool) -> Result<(), SnapshotError> {
        for (name, disk) in &saved.disks {
            let function = saved.plan.functions.iter().find(|function| function.name == *name);
            if let Some(function) = function {
                self.disks.extend(disks::keep(&mut self.new, function, disk, copies_all)?);
            }
        }
        Ok(())
    }

    /// Lets the machine go on, then makes the snapshot durable.
    fn go_on(self, hold: Hold, base: Option<&Snapshot>) -> Result<Taken, SnapshotError> {
        let pause = hold.saved().stopped.elapsed();
        let plan = hold.saved().plan.clone();
        hold.release(Release::GoOn);
        self.write(plan, pause, base)
    }

    fn finish(self, saved: &Saved, base: Option<&Snapshot>) -> Result<Taken, SnapshotError> {
        self.write(saved.plan.clone(), saved.stopped.elapsed(), base)
    }

    fn write(
        mut self,
        mut plan: Plan,
        pause: Duration,
        base: Option<&Snapshot>,
    ) -> Result<Taken, SnapshotError> {
        let index = self.memory.finish(&mut self.new)?;
        paths::whole(&mut plan);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let manifest = Manifest {
            version: VERSION,
            id: self.id,
            parent: base.map(|base| Parent { id: base.manifest.id.clone(), path: base.path.clone() }),
            created: rfc3339(since.as_secs()),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: line::read("/proc/sys/kernel/osrelease"),
            pause_ms: u64::try_from(pause.as_millis()).unwrap_or(u64::MAX),
            plan,
            disks: self.disks,
        };
        let text = serde_json::to_vec_pretty(&manifest);
        let text = text.map_err(|error| SnapshotError::Usage(error.to_string()))?;
        self.new.add(name::MANIFEST, &text)?;
        Ok(Taken { directory: self.new.finish()?, pause, memory: index.bytes() })
    }
}
