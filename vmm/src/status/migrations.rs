//! Migrations of the machine as objects: KubeVirt's VirtualMachineInstanceMigrations, with the status that it gives them
//! (`pkg/virt-controller/watch/migration/migration.go`).

use std::sync::Arc;

use spec::api::{Condition, MigrationPhaseTransition, MigrationState, VirtualMachineInstanceMigration};

use super::{Board, StatusKeeper, clock};

/// Migrations that are over and kept, as KubeVirt keeps five of each machine.
const KEPT: usize = 5;
/// Label by which migrations of a machine are found.
const OF_MACHINE: &str = "kubevirt.io/vmi-name";
/// Condition of one that is to be broken off.
const ABORT_REQUESTED: &str = "migrationAbortRequested";

/// How far a migration is, in KubeVirt's words and order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MigrationPhase {
    /// It is to begin.
    Pending,
    /// The destination is looked for.
    Scheduling,
    /// It was found.
    Scheduled,
    /// It prepares itself.
    PreparingTarget,
    /// It takes the machine.
    TargetReady,
    /// The machine is copied, or handed over.
    Running,
    /// The machine has moved.
    Succeeded,
    /// It stays.
    Failed,
}

impl MigrationPhase {
    const ALL: [Self; 8] = [
        Self::Pending,
        Self::Scheduling,
        Self::Scheduled,
        Self::PreparingTarget,
        Self::TargetReady,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
    ];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Scheduling => "Scheduling",
            Self::Scheduled => "Scheduled",
            Self::PreparingTarget => "PreparingTarget",
            Self::TargetReady => "TargetReady",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// The phase of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.word() == word)
    }

    /// Whether it is over.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// What came of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Added,
    /// It is another one than before.
    Modified,
    /// It is gone.
    Deleted,
}

/// A migration as it was from one change to the next.
#[derive(Debug)]
pub struct PublishedMigration {
    /// Its resource version, among those of the machine.
    pub version: u64,
    /// What came of it.
    pub change: Change,
    /// The object.
    pub object: VirtualMachineInstanceMigration,
    /// The same as JSON.
    pub text: Arc<str>,
}

impl PublishedMigration {
    fn new(mut object: VirtualMachineInstanceMigration, change: Change, version: u64) -> Arc<Self> {
        object.metadata.resource_version = version.to_string();
        // Text, numbers and lists always have a JSON form.
        let text = serde_json::to_string(&object).unwrap_or_default();
        Arc::new(Self { version, change, object, text: text.into() })
    }
}

/// How far `migration` is.
pub fn phase_of(migration: &VirtualMachineInstanceMigration) -> MigrationPhase {
    let phase = migration.status.as_ref().and_then(|status| MigrationPhase::of(&status.phase));
    phase.unwrap_or(MigrationPhase::Pending)
}

/// All migrations of the machine that are known, the oldest first. At most the last one is on its way.
#[derive(Debug, Default)]
pub(super) struct Migrations {
    objects: Vec<VirtualMachineInstanceMigration>,
}

/// What is to be published: an object, and what came of it.
pub(super) type News = Vec<(VirtualMachineInstanceMigration, Change)>;

impl Migrations {
    /// A migration begins. Whoever asked for it has given it a name and an ID; `namespace` is the machine's.
    pub(super) fn begin(&mut self, mut object: VirtualMachineInstanceMigration, namespace: &str) -> News {
        let metadata = &mut object.metadata;
        namespace.clone_into(&mut metadata.namespace);
        metadata.creation_timestamp = Some(clock::now());
        metadata.labels.insert(OF_MACHINE.into(), object.spec.vmi_name.clone());
        object.status = None;
        enter(&mut object, MigrationPhase::Pending);
        let mut news = Vec::new();
        // Whoever orders it once more means the same object; those that are there are over.
        if let Some(at) = self.objects.iter().position(|known| known.metadata.name == object.metadata.name) {
            news.push((self.objects.remove(at), Change::Deleted));
        }
        while self.objects.len() >= KEPT {
            news.push((self.objects.remove(0), Change::Deleted));
        }
        self.objects.push(object.clone());
        news.push((object, Change::Added));
        news
    }

    /// The one that is on its way has come to `phase`; all phases before are behind it. `state` is the machine's own account.
    pub(super) fn reach(&mut self, phase: MigrationPhase, state: Option<&MigrationState>) -> News {
        let Some(object) = self.current() else { return Vec::new() };
        let before = phase_of(object);
        if before >= phase {
            return Vec::new();
        }
        let between = MigrationPhase::ALL.into_iter().filter(|step| {
            // A failure does not go through what it never came to.
            *step > before && (*step == phase || *step < phase && !phase.is_final())
        });
        between.for_each(|step| enter(object, step));
        if let (Some(status), Some(state)) = (&mut object.status, state) {
            status.migration_state = Some(state.clone());
        }
        let changed = object.clone();
        let is_gone = phase.is_final() && changed.metadata.deletion_timestamp.is_some();
        if is_gone {
            self.objects.pop();
            return vec![(changed.clone(), Change::Modified), (changed, Change::Deleted)];
        }
        vec![(changed, Change::Modified)]
    }

    /// The one that is on its way is to be broken off.
    pub(super) fn request_abort(&mut self) -> News {
        let Some(object) = self.current() else { return Vec::new() };
        request_abort(object);
        vec![(object.clone(), Change::Modified)]
    }

    /// Removes the migration `name`; one that is on its way, when that is over. `None` if there is none of that name.
    pub(super) fn delete(&mut self, name: &str) -> Option<(Deleted, News)> {
        let at = self.objects.iter().position(|object| object.metadata.name == name)?;
        let object = self.objects.get_mut(at)?;
        if phase_of(object).is_final() {
            let object = self.objects.remove(at);
            return Some((Deleted::Gone, vec![(object, Change::Deleted)]));
        }
        object.metadata.deletion_timestamp.get_or_insert_with(clock::now);
        request_abort(object);
        Some((Deleted::Aborts, vec![(object.clone(), Change::Modified)]))
    }

    /// The one that is on its way.
    fn current(&mut self) -> Option<&mut VirtualMachineInstanceMigration> {
        self.objects.last_mut().filter(|object| !phase_of(object).is_final())
    }
}

/// What became of a migration that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// It is gone.
    Gone,
    /// It goes when it has been broken off, or has come to its end.
    Aborts,
}

/// Notes that `object` has come to `phase`.
pub fn enter(object: &mut VirtualMachineInstanceMigration, phase: MigrationPhase) {
    let status = object.status.get_or_insert_default();
    status.phase = phase.word().into();
    status.phase_transition_timestamps.push(MigrationPhaseTransition {
        phase: phase.word().into(),
        phase_transition_timestamp: Some(clock::now()),
    });
}

fn request_abort(object: &mut VirtualMachineInstanceMigration) {
    let conditions = &mut object.status.get_or_insert_default().conditions;
    if conditions.iter().all(|condition| condition.r#type != ABORT_REQUESTED) {
        let now = clock::now();
        conditions.push(Condition {
            last_probe_time: Some(now.clone()),
            last_transition_time: Some(now),
            status: "True".into(),
            r#type: ABORT_REQUESTED.into(),
            ..Condition::default()
        });
    }
}

impl StatusKeeper {
    /// A migration begins.
    pub fn migration_begins(&mut self, object: VirtualMachineInstanceMigration) {
        self.change_migrations(|all, vmi, _| ((), all.begin(object, vmi.namespace())));
    }

    /// The migration that is on its way has come so far. What the machine's own status says of it is its own, too.
    pub fn migration_reaches(&mut self, phase: MigrationPhase) {
        self.change_migrations(|all, _, status| ((), all.reach(phase, status.migration_state.as_ref())));
    }

    /// The migration that is on its way is to be broken off.
    pub fn migration_is_to_end(&mut self) {
        self.change_migrations(|all, _, _| ((), all.request_abort()));
    }

    /// Removes the migration `name`, if there is one; one that is on its way goes when it is over.
    pub fn delete_migration(&mut self, name: &str) -> Option<Deleted> {
        self.change_migrations(|all, _, _| match all.delete(name) {
            Some((deleted, news)) => (Some(deleted), news),
            None => (None, Vec::new()),
        })
    }
}

/// Publishes news under versions after `version`; the last version used.
pub(super) fn publish(board: &Board, news: News, mut version: u64) -> u64 {
    for (object, change) in news {
        version += 1;
        board.show_migration(PublishedMigration::new(object, change, version));
    }
    version
}

#[cfg(test)]
mod tests {
    use spec::api::{ObjectMeta, VirtualMachineInstanceMigrationSpec};

    use super::*;

    fn named(name: &str) -> VirtualMachineInstanceMigration {
        VirtualMachineInstanceMigration {
            metadata: ObjectMeta { name: name.into(), ..ObjectMeta::default() },
            spec: VirtualMachineInstanceMigrationSpec { vmi_name: "vm".into(), ..Default::default() },
            ..Default::default()
        }
    }

    fn phases(object: &VirtualMachineInstanceMigration) -> Vec<&str> {
        let seen = &object.status.as_ref().unwrap().phase_transition_timestamps;
        seen.iter().map(|seen| seen.phase.as_str()).collect()
    }

    #[test]
    fn a_migration_goes_through_all_phases_that_it_comes_to() {
        let mut all = Migrations::default();
        let (begun, change) = all.begin(named("a"), "ns").remove(0);
        assert_eq!((begun.metadata.namespace.as_str(), change), ("ns", Change::Added));
        assert_eq!(begun.metadata.labels[OF_MACHINE], "vm");
        all.reach(MigrationPhase::Scheduling, None);
        assert!(all.reach(MigrationPhase::Scheduling, None).is_empty(), "nothing new");
        all.reach(MigrationPhase::Running, None);
        let state = MigrationState { completed: true, ..MigrationState::default() };
        let (done, _) = all.reach(MigrationPhase::Succeeded, Some(&state)).remove(0);
        let wanted =
            ["Pending", "Scheduling", "Scheduled", "PreparingTarget", "TargetReady", "Running", "Succeeded"];
        assert_eq!(phases(&done), wanted);
        assert!(done.status.unwrap().migration_state.unwrap().completed);
        assert!(all.reach(MigrationPhase::Failed, None).is_empty(), "what is over is over");
    }

    #[test]
    fn one_that_fails_early_never_ran() {
        let mut all = Migrations::default();
        all.begin(named("a"), "ns");
        all.reach(MigrationPhase::Scheduling, None);
        let (failed, _) = all.reach(MigrationPhase::Failed, None).remove(0);
        assert_eq!(phases(&failed), ["Pending", "Scheduling", "Failed"]);
    }

    #[test]
    fn one_on_its_way_is_removed_when_it_is_over() {
        let mut all = Migrations::default();
        all.begin(named("a"), "ns");
        assert!(all.delete("b").is_none());
        let (deleted, news) = all.delete("a").unwrap();
        assert_eq!(deleted, Deleted::Aborts);
        let conditions = &news[0].0.status.as_ref().unwrap().conditions;
        assert_eq!((conditions.len(), conditions[0].r#type.as_str()), (1, ABORT_REQUESTED));
        assert_eq!(all.delete("a").unwrap().1[0].0.status.as_ref().unwrap().conditions.len(), 1);
        let changes: Vec<_> =
            all.reach(MigrationPhase::Failed, None).iter().map(|(_, change)| *change).collect();
        assert_eq!(changes, [Change::Modified, Change::Deleted]);
        assert!(all.delete("a").is_none());
    }

    #[test]
    fn one_that_is_ordered_again_takes_the_place_of_the_one_that_is_over() {
        let mut all = Migrations::default();
        all.begin(named("a"), "ns");
        all.reach(MigrationPhase::Failed, None);
        let changes: Vec<_> = all.begin(named("a"), "ns").iter().map(|(_, change)| *change).collect();
        assert_eq!(changes, [Change::Deleted, Change::Added]);
        assert_eq!(all.delete("a").unwrap().0, Deleted::Aborts, "it is on its way");
    }

    #[test]
    fn only_so_many_are_kept() {
        let mut all = Migrations::default();
        for number in 0..KEPT + 2 {
            let news = all.begin(named(&number.to_string()), "ns");
            assert_eq!(news.len(), 1 + usize::from(number >= KEPT));
            all.reach(MigrationPhase::Failed, None);
        }
        assert!(all.delete("1").is_none());
        assert_eq!(all.delete("2").unwrap().0, Deleted::Gone);
    }
}
