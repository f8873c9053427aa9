//! Migrations of a fleet's machines: VirtualMachineInstanceMigrations of its manifests and of its API, carried out by the machines'
//! own processes.
//!
//! One thread begins them and asks how far they are; nobody else waits for a machine. What it knows is in a file of the fleet's
//! folder, so that a supervisor which comes later moves nothing twice.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use devices::{chain, say};
use serde_json::{Value, json};
use spec::Object;
use spec::Verdict;
use spec::api::{MigrationPolicy, MigrationState, VirtualMachineInstanceMigration};

use super::Key;
use crate::client::{ClientError, Machine};
use crate::migration::{by_policies, connect_url};
use crate::status::{MigrationPhase, phase_of};
use crate::sys::whole;

/// File of the fleet's folder with all of them.
const FILE: &str = "migrations.json";
/// How often it is looked how far they are.
const LOOK: Duration = Duration::from_millis(300);
/// How many a fleet has at most; the oldest that are over go first.
const MOST: usize = 256;
/// Why one has failed of which nobody can tell any more.
const GONE: &str = "the machine is gone, and with it what became of this";

/// A fleet's migrations, for everyone to look at and to ask for. Clones are the same.
#[derive(Clone, Debug)]
pub struct Moves {
    known: Arc<Mutex<Known>>,
    to: Sender<Wish>,
}

/// What is known of a fleet's migrations, and the file that says so.
#[derive(Debug)]
struct Known {
    all: Vec<VirtualMachineInstanceMigration>,
    file: PathBuf,
}

impl Known {
    /// Writes it down, in one step.
    fn save(&self) {
        let partial = self.file.with_extension("partial");
        let text = serde_json::to_vec(&self.all).unwrap_or_default();
        if let Err(error) = whole::replace(&self.file, &partial, &text) {
            say!("kubevmm: the fleet's migrations cannot be written down: {error}");
        }
    }
}

#[derive(Debug)]
enum Wish {
    /// There is another one.
    Look,
    /// This one is of no interest any more.
    Forget(Key),
}

/// What the manifests say of migrations.
#[derive(Debug, Default)]
pub struct Ordered {
    /// Orders, without an address or with one.
    pub migrations: Vec<VirtualMachineInstanceMigration>,
    /// How machines are to be moved.
    pub policies: Vec<MigrationPolicy>,
}

impl Ordered {
    /// That of admitted manifests.
    pub fn of(verdicts: &[Verdict]) -> Self {
        let mut ordered = Self::default();
        for verdict in verdicts {
            match &verdict.object {
                Object::Migration(migration) => ordered.migrations.push((**migration).clone()),
                Object::MigrationPolicy(policy) => ordered.policies.push((**policy).clone()),
                _ => {}
            }
        }
        ordered
    }
}

/// Why a migration is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTaken {
    /// There is one of this name.
    #[error("there is a migration of this name")]
    Exists,
    /// Its machine is on its way already.
    #[error("in-flight migration detected. Another one of this machine is on its way")]
    InFlight,
    /// There are too many.
    #[error("the fleet has too many migrations: remove some")]
    TooMany,
}

impl Moves {
    /// Begins what is ordered, and what an earlier supervisor left in `folder`, on a thread of its own. Machines are found below
    /// `runtime`.
    ///
    /// # Errors
    /// The host has no thread left.
    pub fn begin(folder: &Path, runtime: PathBuf, ordered: Ordered) -> io::Result<Self> {
        let file = folder.join(FILE);
        let all: Vec<VirtualMachineInstanceMigration> =
            fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let (to, from) = mpsc::channel();
        let moves = Self { known: Arc::new(Mutex::new(Known { all, file })), to };
        let mover = Mover { known: Arc::clone(&moves.known), policies: ordered.policies, runtime };
        for mut migration in ordered.migrations {
            // One that is known has been begun already.
            if moves.find(&key(&migration)).is_none() {
                name(&mut migration);
                // What another one of this name came to, which the manifest was had from, is not this one's.
                migration.status = None;
                moves.lock().all.push(migration);
            }
        }
        // Whoever comes after this supervisor knows them by the same IDs.
        moves.lock().save();
        thread::Builder::new().name("moves".into()).stack_size(512 << 10).spawn(move || mover.run(&from))?;
        Ok(moves)
    }

    /// All of them, the oldest first.
    pub fn all(&self) -> Vec<VirtualMachineInstanceMigration> {
        self.lock().all.clone()
    }

    /// The one of this name.
    pub fn find(&self, wanted: &Key) -> Option<VirtualMachineInstanceMigration> {
        self.lock().all.iter().find(|migration| key(migration) == *wanted).cloned()
    }

    /// Whether it is still to be found out what became of a migration of this machine, which has begun.
    pub fn looks_at(&self, machine: &Key) -> bool {
        let is_its = |migration: &&VirtualMachineInstanceMigration| {
            migration.namespace() == machine.namespace && migration.spec.vmi_name == machine.name
        };
        let known = self.lock();
        known
            .all
            .iter()
            .filter(is_its)
            .any(|migration| has_begun(migration) && !phase_of(migration).is_final())
    }

    /// Takes another one, and writes it down; it begins when its machine runs.
    ///
    /// # Errors
    /// There is one of that name, or of that machine.
    pub fn add(&self, migration: VirtualMachineInstanceMigration) -> Result<(), NotTaken> {
        let mut known = self.lock();
        let all = &mut known.all;
        if all.iter().any(|other| key(other) == key(&migration)) {
            return Err(NotTaken::Exists);
        }
        let is_same = |other: &VirtualMachineInstanceMigration| {
            other.namespace() == migration.namespace() && other.spec.vmi_name == migration.spec.vmi_name
        };
        if all.iter().any(|other| is_same(other) && !phase_of(other).is_final()) {
            return Err(NotTaken::InFlight);
        }
        if all.len() >= MOST {
            let over = all.iter().position(|other| phase_of(other).is_final()).ok_or(NotTaken::TooMany)?;
            all.remove(over);
        }
        all.push(migration);
        // Whoever is told that it was taken need not ask for it again of another supervisor.
        known.save();
        drop(known);
        // The mover listens for as long as there is anybody who could ask.
        let _ = self.to.send(Wish::Look);
        Ok(())
    }

    /// Removes one, and breaks it off if it is on its way; false if there is none of that name.
    pub fn forget(&self, wanted: &Key) -> bool {
        self.find(wanted).is_some() && self.to.send(Wish::Forget(wanted.clone())).is_ok()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(migration: &VirtualMachineInstanceMigration) -> Key {
    Key { namespace: migration.namespace().to_owned(), name: migration.metadata.name.clone() }
}

/// Whether its machine's process was asked for it, or was about to be.
fn has_begun(migration: &VirtualMachineInstanceMigration) -> bool {
    migration.status.is_some()
}

/// Whether it is not known what its machine's process said to that.
fn is_asked(migration: &VirtualMachineInstanceMigration) -> bool {
    has_begun(migration) && phase_of(migration) == MigrationPhase::Pending
}

/// Gives one of the manifests an ID and its phase.
fn name(migration: &mut VirtualMachineInstanceMigration) {
    let object = serde_json::to_value(&*migration).unwrap_or_default();
    // It was admitted before, and a host without random numbers leaves it without an ID.
    if let Ok(named) = crate::migration::admit(object) {
        *migration = named;
    }
}

/// What carries migrations out.
struct Mover {
    known: Arc<Mutex<Known>>,
    policies: Vec<MigrationPolicy>,
    runtime: PathBuf,
}

impl Mover {
    fn run(&self, from: &Receiver<Wish>) {
        loop {
            let open: Vec<_> =
                self.all().into_iter().filter(|migration| !phase_of(migration).is_final()).collect();
            for migration in &open {
                self.look_after(migration);
            }
            let wish = if open.is_empty() {
                from.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                from.recv_timeout(LOOK)
            };
            match wish {
                Ok(Wish::Look) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Wish::Forget(wanted)) => self.forget(&wanted),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn all(&self) -> Vec<VirtualMachineInstanceMigration> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).all.clone()
    }

    /// Begins it if it has not begun, or finds out how far it is.
    fn look_after(&self, migration: &VirtualMachineInstanceMigration) {
        let machine = Machine::find(&self.runtime, migration.namespace(), &migration.spec.vmi_name);
        let now = match (machine, has_begun(migration)) {
            (Ok(machine), true) if is_asked(migration) => self.ask_again(&machine, migration),
            (Ok(machine), false) => self.start(&machine, migration),
            (Ok(machine), true) => progress(&machine, migration),
            // One that is not there yet may come.
            (Err(_), false) => None,
            (Err(_), true) => Some(with_phase(migration, MigrationPhase::Failed, GONE)),
        };
        if let Some(now) = now.filter(|now| now != migration) {
            self.change(now);
        }
    }

    /// An earlier supervisor was about to ask the machine's process for it, and did so perhaps; what is known of it then.
    fn ask_again(
        &self,
        machine: &Machine,
        migration: &VirtualMachineInstanceMigration,
    ) -> Option<VirtualMachineInstanceMigration> {
        let is_its_own =
            |object: &VirtualMachineInstanceMigration| object.metadata.uid == migration.metadata.uid;
        match machine.ask("GET", &path(migration), "") {
            Ok(answer) => {
                answer.json().ok().and_then(|object| serde_json::from_value(object).ok()).filter(is_its_own)
            }
            Err(ClientError::Refused { code: 404, .. }) => self.start(machine, migration),
            // What it has said last tells.
            Err(ClientError::Ended(_)) => progress(machine, migration),
            Err(_) => None,
        }
    }

    /// Has the machine's process move it, once it runs; what is known of it then.
    fn start(
        &self,
        machine: &Machine,
        migration: &VirtualMachineInstanceMigration,
    ) -> Option<VirtualMachineInstanceMigration> {
        let object = machine.object().ok().filter(|object| object["status"]["phase"] == "Running")?;
        if !machine.runs() {
            return None;
        }
        let order = self.order(migration, machine, &object);
        // Written down before: a supervisor that comes after this one finds out what came of it, and asks for nothing twice.
        let migration = match is_asked(migration) {
            true => migration,
            false => &with_phase(migration, MigrationPhase::Pending, ""),
        };
        self.change(migration.clone());
        let asked = order.and_then(|body| {
            let answer = machine.ask("PUT", &machine.vm_subresource("migrate"), &body);
            answer.map_err(|error| chain(&error))
        });
        Some(match asked {
            Ok(_) => {
                say!("kubevmm: {machine} is being moved, as {} orders", key(migration));
                with_phase(migration, MigrationPhase::Scheduling, "")
            }
            Err(why) => {
                say!("kubevmm: {machine} is not moved, as {} orders: {why}", key(migration));
                with_phase(migration, MigrationPhase::Failed, &why)
            }
        })
    }

    /// The request by which a machine's process moves it.
    fn order(
        &self,
        migration: &VirtualMachineInstanceMigration,
        machine: &Machine,
        object: &Value,
    ) -> Result<String, String> {
        let url = migration.spec.send_to.as_ref().map(|to| to.connect_url.as_str()).unwrap_or_default();
        if url.is_empty() {
            return Err("spec.sendTo.connectURL does not say where to".into());
        }
        let address = connect_url(url).map_err(|error| error.to_string())?;
        let mut body = by_policies(&self.policies, object, &machine.namespace);
        body.insert("address".into(), address.to_string().into());
        body.insert("migration".into(), json!(migration));
        Ok(Value::Object(body).to_string())
    }

    /// Breaks one off, and forgets it.
    fn forget(&self, wanted: &Key) {
        let known = self.all().into_iter().find(|migration| key(migration) == *wanted);
        let Some(migration) = known else { return };
        if has_begun(&migration) && !phase_of(&migration).is_final() {
            let machine = Machine::find(&self.runtime, migration.namespace(), &migration.spec.vmi_name);
            let path = path(&migration);
            // One that has ended, or does not know it, has nothing to break off.
            let _ = machine.map(|machine| machine.ask("DELETE", &path, ""));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.all.retain(|migration| key(migration) != *wanted);
        known.save();
    }

    fn change(&self, now: VirtualMachineInstanceMigration) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.all.iter_mut().find(|known| key(known) == key(&now)) {
            *known = now;
        }
        known.save();
    }
}

/// Path of the object at its machine's process.
fn path(migration: &VirtualMachineInstanceMigration) -> String {
    let Key { namespace, name } = key(migration);
    format!("/apis/kubevirt.io/v1/namespaces/{namespace}/virtualmachineinstancemigrations/{name}")
}

/// How far one is that was begun; `None` if nobody can tell now.
fn progress(
    machine: &Machine,
    migration: &VirtualMachineInstanceMigration,
) -> Option<VirtualMachineInstanceMigration> {
    match machine.ask("GET", &path(migration), "") {
        Ok(answer) => answer.json().ok().and_then(|object| serde_json::from_value(object).ok()),
        // What its process has said last.
        Err(ClientError::Ended(_) | ClientError::Refused { code: 404, .. }) => {
            let object = match machine.object() {
                Ok(object) => object,
                Err(ClientError::Ended(_)) => {
                    return Some(with_phase(migration, MigrationPhase::Failed, GONE));
                }
                Err(_) => return None,
            };
            let state: MigrationState =
                serde_json::from_value(object["status"]["migrationState"].clone()).unwrap_or_default();
            let is_its_own = state.migration_uid == migration.metadata.uid;
            Some(match (is_its_own, state.completed && !state.failed) {
                (true, true) => ended(migration, MigrationPhase::Succeeded, state),
                (true, false) if state.completed => ended(migration, MigrationPhase::Failed, state),
                _ => with_phase(migration, MigrationPhase::Failed, "the machine's process has ended"),
            })
        }
        Err(_) => None,
    }
}

fn ended(
    migration: &VirtualMachineInstanceMigration,
    phase: MigrationPhase,
    state: MigrationState,
) -> VirtualMachineInstanceMigration {
    let mut migration = with_phase(migration, phase, "");
    migration.status.get_or_insert_default().migration_state = Some(state);
    migration
}

/// The same at this phase; `why` it failed, if it did.
fn with_phase(
    migration: &VirtualMachineInstanceMigration,
    phase: MigrationPhase,
    why: &str,
) -> VirtualMachineInstanceMigration {
    let mut migration = migration.clone();
    crate::status::enter(&mut migration, phase);
    if !why.is_empty() {
        let state = MigrationState {
            completed: true,
            failed: true,
            failure_reason: why.to_owned(),
            ..MigrationState::default()
        };
        migration.status.get_or_insert_default().migration_state = Some(state);
    }
    migration
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
